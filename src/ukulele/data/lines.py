"""Files of one text a line, without a header."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ukulele.data.delimited import DELIMITERS
from ukulele.data.parallel import read_parallel
from ukulele.data.sources import Loaded
from ukulele.data.store import store
from ukulele.tools.encodings import encoding

LONGEST = 1 << 16  # letters of a header


def has_header(path: Path, columns: Collection[str]) -> bool:
    """Whether the first line of a file names one of `columns`: alone, or as a cell of a delimited header."""
    with path.open(encoding=encoding(path), errors="replace") as file:
        first = file.readline(LONGEST).strip()
    cells = {cell.strip().strip('"') for delimiter in DELIMITERS for cell in first.split(delimiter)}
    return not cells.isdisjoint(columns)


def load_lines(path: Path, column: str) -> Loaded:
    """Every line as a row of that one column."""
    stored = store(lambda: [read_parallel({column: path})], (str(path),), None, None)
    return Loaded(path.stem, stored.frame)
