"""The table behind a data set: Arrow batches, mapped from disk, with the place each row came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ukulele.types import Where

FILE, LINE = "\x00file", "\x00line"
PROVENANCE = (pa.field(FILE, pa.int32()), pa.field(LINE, pa.int64()))
BATCH = 8192

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """Columns of strings, bytes or lists of strings. Line 0 means that the source has no lines."""

    batches: tuple[pa.RecordBatch, ...]
    files: tuple[str, ...]

    @cached_property
    def starts(self) -> Indices:
        """The first row of each batch, and the number of rows in all."""
        return np.cumsum([0, *(batch.num_rows for batch in self.batches)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @cached_property
    def fields(self) -> dict[str, pa.DataType]:
        """The columns of the source and their types."""
        return {f.name: f.type for f in self.batches[0].schema if f.name not in (FILE, LINE)} if self.batches else {}

    def chunked(self, name: str) -> pa.ChunkedArray:
        """A column, still on disk."""
        return pa.chunked_array([batch.column(name) for batch in self.batches], type=self.fields.get(name))

    def whole(self, name: str) -> NDArray[Any]:
        """A column of provenance as one array."""
        return np.concatenate([batch.column(name).to_numpy() for batch in self.batches])

    def take(self, names: Sequence[str], rows: Indices) -> list[list[Any]]:
        """Cells as Python values, column by column, of any rows in any order."""
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        if len(rows) and owners[0] == owners[-1] and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            batch, first = self.batches[owners[0]], int(rows[0] - self.starts[owners[0]])
            return [batch.column(name).slice(first, len(rows)).to_pylist() for name in names]
        columns: list[list[Any]] = [[None] * len(rows) for _ in names]
        for owner in np.unique(owners):
            places = np.flatnonzero(owners == owner)
            local = pa.array(rows[places] - self.starts[owner])
            for column, name in zip(columns, names, strict=True):
                values = self.batches[owner].column(name).take(local).to_pylist()
                for place, value in zip(places.tolist(), values, strict=True):
                    column[place] = value
        return columns

    def blocks(self, names: Sequence[str]) -> Iterator[tuple[int, list[list[Any]]]]:
        """All rows in stretches: the first row's index, and the cells as Python values, column by column."""
        for start, batch in zip(self.starts[:-1].tolist(), self.batches, strict=True):
            for first in range(0, batch.num_rows, BATCH):
                yield start + first, [batch.column(name).slice(first, BATCH).to_pylist() for name in names]

    def where(self, row: int) -> Where:
        """The place a row came from."""
        (file,), (line,) = self.take([FILE, LINE], np.array([row]))
        return Where(self.files[file], line or None)

    def select(self, rows: Indices) -> Frame:
        """Fewer rows, in memory: for tables that are small or already there."""
        table = pa.Table.from_batches(self.batches).take(pa.array(rows))
        return Frame(tuple(table.combine_chunks().to_batches()), self.files)
