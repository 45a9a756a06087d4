"""The story of a run, from data to record: `pipeline.py` tells it from top to bottom."""
