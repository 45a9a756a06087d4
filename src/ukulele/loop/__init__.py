"""Training: rows to steps, losses to gradients, a plan to weights."""
