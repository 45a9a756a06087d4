"""Rows whose answer goes into the model with the inputs, as models that write are taught."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ukulele.types import Row, Rows, with_answer


@dataclass(frozen=True)
class Taught:
    """The same rows; where the answer to a task is known, it stands behind the inputs."""

    rows: Rows
    task: str

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self._with(self.rows[index])

    def __iter__(self) -> Iterator[Row]:
        return map(self._with, self.rows)

    def take(self, indices: Sequence[int]) -> Taught:
        """The rows at `indices`, in that order."""
        return Taught(self.rows.take(indices), self.task)

    def column(self, name: str) -> list[Any]:
        """One column of the source for every row."""
        return self.rows.column(name)

    def _with(self, row: Row) -> Row:
        return replace(row, inputs=with_answer(row, self.task))
