"""One candidate tried, from its name to its answers; what can be asked of it, and candidates beside each other."""
