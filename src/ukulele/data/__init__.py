"""Data sets: read from anything, checked, split, and handed on as rows that are read when touched."""

from ukulele.data.options import ReadOptions
from ukulele.data.quarantine import write_quarantine
from ukulele.data.read import read, read_inputs, read_labelled

__all__ = ["ReadOptions", "read", "read_inputs", "read_labelled", "write_quarantine"]
