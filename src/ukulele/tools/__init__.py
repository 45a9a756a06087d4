"""Small things without opinion: any part may import them."""
