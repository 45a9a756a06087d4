"""The table behind a data set: Arrow batches, mapped from disk, with the place each row came from."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ukulele.data.arrays import integers, numbers
from ukulele.errors import DataError
from ukulele.types import Where

FILE, LINE = "\x00file", "\x00line"
PROVENANCE = (pa.field(FILE, pa.int32()), pa.field(LINE, pa.int64()))
BATCH = 8192
BYTES = 1 << 25  # of pictures and texts that are held in memory at a time

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
        return np.concatenate([numbers(batch.column(name)) for batch in self.batches if batch.num_rows])

    def gather(self, name: str, rows: Indices) -> pa.Array:
        """Cells of a column, of any rows in any order."""
        if not len(rows):
            return self.batches[0].column(name).slice(0, 0) if self.batches else pa.nulls(0)
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        if owners[0] == owners[-1] and (owners == owners[0]).all():
            local = rows - self.starts[owners[0]]
            column = self.batches[owners[0]].column(name)
            straight = local[-1] - local[0] == len(rows) - 1 and bool((np.diff(local) == 1).all())
            return column.slice(local[0], len(rows)) if straight else column.take(integers(local))
        order = np.argsort(owners, kind="stable")
        parts = [
            self.batches[owner].column(name).take(integers(rows[order][owners[order] == owner] - self.starts[owner]))
            for owner in np.unique(owners)
        ]
        return pa.concat_arrays(parts).take(integers(np.argsort(order)))

    def take(self, names: Sequence[str], rows: Indices) -> list[list[Any]]:
        """Cells as Python values, column by column, of any rows in any order."""
        return [self.gather(name, rows).to_pylist() for name in names]

    def blocks(self, names: Sequence[str]) -> Iterator[tuple[int, list[list[Any]]]]:
        """All rows in stretches: the first row's index, and the cells as Python values, column by column."""
        for start, batch in zip(self.starts[:-1].tolist(), self.batches, strict=True):
            for rows in self.stretches(names, np.arange(start, start + batch.num_rows)):
                first = int(rows[0])
                yield first, [batch.column(name).slice(first - start, len(rows)).to_pylist() for name in names]

    def stretches(
        self, names: Sequence[str], rows: Indices, most: int = BATCH, room: int | None = None
    ) -> Iterator[Indices]:
        """Rows in their order, some at a time: at most `most`, whose cells of texts or bytes in those columns are about
        `room` bytes (`BYTES`) together.
        """
        sized = [self.sizes(name)[rows] for name in names if self.fields.get(name) in (pa.string(), pa.binary())]
        sizes = sum(sized, np.zeros(len(rows), np.int64))
        ends, at, room = np.cumsum(sizes), 0, room or BYTES
        while at < len(rows):
            end = int(np.searchsorted(ends, ends[at] - sizes[at] + room, side="right"))
            stop = min(max(end, at + 1), at + most)
            yield rows[at:stop]
            at = stop

    def sizes(self, name: str) -> Indices:
        """The bytes of each cell of a column of texts or bytes."""
        if name not in self._sizes:
            found = [_lengths(batch.column(name)) for batch in self.batches]
            self._sizes[name] = np.concatenate([np.zeros(0, np.int64), *found])
        return self._sizes[name]

    @cached_property
    def _sizes(self) -> dict[str, Indices]:
        return {}

    @property
    def place(self) -> str:
        """The file behind it, or the folder of its files."""
        if len(self.files) < 2:
            return next(iter(self.files), "the data")
        here = Path(self.files[0]).exists()  # a data set of a library has names of splits, as in imdb[train]
        return os.path.commonpath(self.files) if here else self.files[0].partition("[")[0]

    def where(self, row: int) -> Where:
        """The place a row came from."""
        (file,), (line,) = self.take([FILE, LINE], np.array([row]))
        return Where(self.files[file], line or None)

    def select(self, rows: Indices) -> Frame:
        """Fewer rows, in memory: for tables that are small or already there."""
        table = pa.Table.from_batches(self.batches).take(integers(rows))
        return Frame(tuple(table.combine_chunks().to_batches()), self.files)


def _lengths(cells: pa.Array) -> Indices:
    return numbers(pc.binary_length(cells).fill_null(0)).astype(np.int64) if len(cells) else np.zeros(0, np.int64)


def require(frame: Frame, name: str) -> None:
    """Refuse a column that is not there, and name the nearest ones."""
    if name in frame.fields:
        return
    lower = {column.lower(): column for column in frame.fields}
    near = [lower[match] for match in difflib.get_close_matches(name.lower(), list(lower), 3, 0.5)]
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    place = "" if frame.place.startswith("<") else f"{frame.place}: "  # what is in memory has no name
    raise DataError(f"{place}there is no column {name!r}.", hint=f"{hint}The columns are: {', '.join(frame.fields)}.")
