"""Rows that are changed one by one as they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ukulele.types import Row, Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class MappedRows:
    """What `change` makes of each row, at the moment that it is touched.

    >>> from ukulele.types import Where
    >>> rows = MappedRows([Row(("tea",), {}, Where("a.csv", 2))], lambda row: replace(row, inputs=("a", *row.inputs)))
    >>> rows[0].inputs, len(rows)
    (('a', 'tea'), 1)
    """

    rows: Rows
    change: Callable[[Row], Row]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.change(self.rows[index])

    def __iter__(self) -> Iterator[Row]:
        return map(self.change, self.rows)

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Those of the rows behind."""
        return self.rows.groups

    @property
    def clusters(self) -> NDArray[np.int64] | None:
        """Those of the rows behind."""
        return self.rows.clusters

    def take(self, indices: Sequence[int]) -> MappedRows:
        """The rows at `indices`, in that order, still changed when touched."""
        return replace(self, rows=self.rows.take(indices))

    def column(self, name: str) -> list[Any]:
        """One column of the source for every row, as it is there."""
        return self.rows.column(name)
