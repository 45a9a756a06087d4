"""Parallel files: train.en and train.de, line for line the same in two languages or more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from ukulele.data.arrays import integers, strings
from ukulele.data.frame import BATCH
from ukulele.data.reader import Batch, Reader
from ukulele.errors import DataError
from ukulele.tools.encodings import encoding
from ukulele.types import BadRow

Sides: TypeAlias = "Mapping[str, Path]"
ENDING = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z]{2,8})*|src|tgt|source|target")
OTHERS = frozenset(
    {"md", "txt", "csv", "tsv", "json", "yaml", "yml", "gz", "zip", "tar", "bz2", "xz", "py", "sh", "log"}
)


def find(folder: Path) -> dict[str, Sides]:
    """Files of one name with several languages for an ending: by name, and then by ending.

    A folder with "train.en", "train.de" and "README.md" has {"train": {"de": …, "en": …}}. Where one name has several
    endings, names with one alone are there, too.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        ending = path.suffix.removeprefix(".")
        if path.is_file() and ENDING.fullmatch(ending) and ending.lower() not in OTHERS and path.name[0] != ".":
            found.setdefault(path.stem, {})[ending] = path
    return {**found} if any(len(sides) > 1 for sides in found.values()) else {}


def read_parallel(sides: Sides) -> Reader:
    """Files that belong together as a column each.

    Raises
    ------
    DataError
        If they do not have as many lines.
    """
    counts = {ending: _lines(path) for ending, path in sides.items()}
    if len(set(counts.values())) > 1:
        told = " and ".join(f"{sides[ending]} has {count:,} lines" for ending, count in counts.items())
        raise DataError(
            f"parallel files must have as many lines: {told}.",
            hint="Line n of one is the translation of line n of the other; find where they part.",
        )
    return Reader({ending: pa.string() for ending in sides}, partial(_batches, sides))


def name_of(sides: Sides) -> str:
    """All of them in one name, as a shell would spell them out: "data/train.{de,en}"."""
    first = next(iter(sides.values()))
    return str(first.with_name(f"{first.stem}.{{{','.join(sides)}}}"))


def _lines(path: Path) -> int:
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            count, last = count + block.count(b"\n"), block[-1:]
    return count + (last != b"\n")


def _batches(sides: Sides, bad: list[BadRow]) -> Iterator[Batch]:
    del bad  # a line that is empty is found later, with all other empty cells
    files = [path.open(encoding=encoding(path), errors="replace", newline="\n") for path in sides.values()]
    try:
        at = 1
        while any(chunks := [list(islice(file, BATCH)) for file in files]):
            cells = [strings([line.rstrip("\r\n") for line in chunk]) for chunk in chunks]
            size = len(chunks[0])
            yield Batch(dict(zip(sides, cells, strict=True)), integers(np.arange(at, at + size)))
            at += size
    finally:
        for file in files:
            file.close()
