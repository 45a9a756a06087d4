"""Data sets: read from anything, checked, split, and handed on as rows that are read when touched."""

from ukulele.data.boxes import write as convert
from ukulele.data.conversations import MESSAGES, in_words
from ukulele.data.entries import is_several, named
from ukulele.data.labelled import read_labelled
from ukulele.data.lines import has_header
from ukulele.data.listing import input_of, places, write_findings
from ukulele.data.options import ReadOptions
from ukulele.data.quarantine import listed_in, listing, write_quarantine
from ukulele.data.read import read, read_inputs, read_lines
from ukulele.data.several import mixed
from ukulele.data.store import FORMATS
from ukulele.data.stretches import COLUMN as TEXT
from ukulele.data.windows import replayed, windows

__all__ = [
    "FORMATS",
    "MESSAGES",
    "TEXT",
    "ReadOptions",
    "convert",
    "has_header",
    "in_words",
    "input_of",
    "is_several",
    "listed_in",
    "listing",
    "mixed",
    "named",
    "places",
    "read",
    "read_inputs",
    "read_labelled",
    "read_lines",
    "replayed",
    "windows",
    "write_findings",
    "write_quarantine",
]
