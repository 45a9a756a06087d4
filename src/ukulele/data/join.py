"""Rows of several sources as one sequence, still read when touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ukulele.data.frame import Indices
from ukulele.errors import DataError
from ukulele.types import Row, Rows


@dataclass(frozen=True)
class JoinedRows:
    """Rows of some parts, one part behind the other, or any of them in any order.

    A row has all `tasks`: those that its part does not ask are None. Nothing is held but the index.
    """

    parts: tuple[Rows, ...]
    tasks: tuple[str, ...]
    index: Indices | None = None  # places in the parts laid end to end; None: all, in order

    @cached_property
    def starts(self) -> Indices:
        """The first place of each part, and the number of places in all."""
        return np.cumsum([0, *map(len, self.parts)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1]) if self.index is None else len(self.index)

    def __getitem__(self, index: int) -> Row:
        (place,) = self._places([range(len(self))[index]])
        owner = int(np.searchsorted(self.starts, place, side="right")) - 1
        return self._whole(self.parts[owner][int(place - self.starts[owner])])

    def __iter__(self) -> Iterator[Row]:
        if self.index is None:
            for part in self.parts:
                yield from map(self._whole, part)
            return
        owners = np.searchsorted(self.starts, self.index, side="right") - 1
        streams = [iter(part.take(local)) for part, _, local in self._owned(self.index, every=True)]  # type: ignore[arg-type]
        for owner in owners:  # each part reads ahead by itself
            yield self._whole(next(streams[owner]))

    @property
    def groups(self) -> Indices | None:
        """Those of the parts, told apart."""
        return self._apart([part.groups for part in self.parts])

    @property
    def clusters(self) -> Indices | None:
        """Those of the parts, told apart."""
        return self._apart([part.clusters for part in self.parts])

    def _apart(self, parts: Sequence[Indices | None]) -> Indices | None:
        if all(groups is None for groups in parts):
            return None
        found, after = [], 0
        for part, groups in zip(self.parts, parts, strict=True):
            own = np.arange(len(part)) if groups is None else groups
            found.append(own + after)
            after += int(own.max(initial=-1)) + 1
        return np.concatenate(found) if self.index is None else np.concatenate(found)[self.index]

    def take(self, indices: Sequence[int]) -> JoinedRows:
        """The rows at `indices`, in that order."""
        return JoinedRows(self.parts, self.tasks, self._places(indices))

    def column(self, name: str) -> list[Any]:
        """One column of the sources for every row; None for rows of a source without it.

        Raises
        ------
        DataError
            If no source has it.
        """
        places = np.arange(len(self)) if self.index is None else self.index
        cells: list[Any] = [None] * len(places)
        faults: list[DataError] = []
        for part, at, local in self._owned(places, every=True):
            try:
                column = part.take(local).column(name)  # type: ignore[arg-type]
            except DataError as error:
                faults.append(error)
                continue
            for i, cell in zip(at.tolist(), column, strict=True):
                cells[i] = cell
        if faults and len(faults) == len(self.parts):
            raise DataError(f"no source has a column {name!r}.", hint=faults[0].hint)
        return cells

    def _places(self, indices: Sequence[int]) -> Indices:
        """Places of the rows at `indices`, which may count from the end."""
        at, size = np.asarray(indices, np.int64), len(self)
        if len(at) and not (-size <= at.min() and at.max() < size):
            raise IndexError(f"there are {size} rows")
        at = np.where(at < 0, at + size, at)
        return at if self.index is None else self.index[at]

    def _owned(self, places: Indices, *, every: bool = False) -> Iterator[tuple[Rows, Indices, Indices]]:
        """Each part with which of `places` are its own, and where in it they lie; `every`: also parts without any."""
        owners = np.searchsorted(self.starts, places, side="right") - 1
        for owner, part in enumerate(self.parts):
            at = np.flatnonzero(owners == owner)
            if len(at) or every:
                yield part, at, places[at] - self.starts[owner]

    def _whole(self, row: Row) -> Row:
        return Row(row.inputs, {task: row.targets.get(task) for task in self.tasks}, row.where)
