"""Tables of documents: each row is one, whole in one split, and nothing is asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ukulele.data.broken import broken
from ukulele.data.checks import Checked, check
from ukulele.data.frame import Frame, Indices, require
from ukulele.data.options import ReadOptions
from ukulele.data.rows import Shape
from ukulele.data.single import Usable, placed, usable
from ukulele.data.sources import Loaded
from ukulele.data.stretches import COLUMN, TextRows
from ukulele.types import Dataset, Finding, Rows, Split, Target, Where

SHARE = 0.05  # of the documents that are validation, and test


@dataclass(frozen=True)
class Cells:
    """The cells of a column, a document each, read where the table is mapped."""

    frame: Frame
    name: str

    def __len__(self) -> int:
        return len(self.frame)

    def content(self, number: int) -> Any:
        """A cell's bytes."""
        batch = int(np.searchsorted(self.frame.starts, number, side="right")) - 1
        cell = self.frame.batches[batch].column(self.name)[number - int(self.frame.starts[batch])]
        return np.frombuffer(cell.as_buffer(), np.uint8) if cell.is_valid else np.zeros(0, np.uint8)

    def where(self, number: int, line: int) -> Where:
        """The place of its row."""
        del line
        return self.frame.where(number)

    def column(self, name: str, numbers: Sequence[int]) -> list[Any]:
        """Another column of the table."""
        require(self.frame, name)
        return self.frame.take([name], np.asarray(numbers, np.int64))[0]


def read_table(loaded: Loaded, column: str, options: ReadOptions, cache: Path) -> Dataset:
    """A table as documents: those that are nearly the same, or of one group, are in one split.

    Raises
    ------
    DataError
        If there are too few documents to split, or too many bad rows.
    """
    shape = Shape((column,))
    shares = replace(options, validation=SHARE, test=SHARE)
    found, sides = placed(usable(loaded, shape, cache, options.max_bad), shares)
    splits, notes = sides.splits, sides.notes
    checked = Checked(loaded.frame, shape, splits, found.prints, {}, options.examples)
    findings = (*check(checked), *broken(loaded.frame, splits, options))
    asked = "Nothing is asked of a document; where each row asks for an answer, name its column with --target."
    return documents_of(found, splits, (asked, *loaded.notes, *notes), findings)


def documents_of(
    found: Usable, splits: Mapping[Split, Indices], notes: Sequence[str] = (), findings: Sequence[Finding] = ()
) -> Dataset:
    """Rows by split as documents, each of them whole."""
    loaded, (column,) = found.loaded, found.shape.inputs
    cells, sizes = Cells(loaded.frame, column), loaded.frame.sizes(column)
    rows: dict[Split, Rows] = {}
    for split, index in splits.items():
        ordered, ones = np.sort(index), np.ones(len(index), np.int64)
        rows[split] = TextRows(cells, np.stack([ordered, 0 * ones, sizes[ordered], ones, ones], 1))
    count, size = sum(map(len, splits.values())), sum(int(sizes[index].sum()) for index in splits.values())
    said = f"Plain text: {count:,} document{'s' * (count > 1)}, {size:,} bytes; each is a row of column {column!r}"
    target = Target(COLUMN, "generate", column="" if column == COLUMN else column, free=True)
    return Dataset(
        loaded.name, "text", (column,), (target,), rows, (f"{said}.", *notes), (*found.findings, *findings),
        found.set_aside,
    )  # fmt: skip
