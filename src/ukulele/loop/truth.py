"""The true answers of a split: by task, which rows have one and what it is."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ukulele.types import Rows

Numbers = NDArray[np.int64]


class Truth:
    """Targets of rows, read in one go when first asked for. A row that lacks a task has None there."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._numbers: dict[str, Numbers] = {}

    @cached_property
    def _cells(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for row in self._rows:
            for task, value in row.targets.items():
                found.setdefault(task, []).append(value)
        return found

    def cells(self, task: str) -> list[Any]:
        """The target of every row, None where there is none."""
        return self._cells.get(task, [])

    def numbers(self, task: str) -> Numbers:
        """The numbers of the rows that have a target."""
        if task not in self._numbers:
            self._numbers[task] = np.array([i for i, v in enumerate(self.cells(task)) if v is not None], np.int64)
        return self._numbers[task]

    @cached_property
    def _groups(self) -> Numbers | None:
        return self._rows.groups

    def groups(self, numbers: Numbers) -> Numbers | None:
        """The groups of some rows, which no fold takes apart; None where each row is by itself."""
        return None if self._groups is None else self._groups[numbers]

    @cached_property
    def _clusters(self) -> Numbers | None:
        return self._rows.clusters

    def clusters(self, numbers: Numbers | None = None) -> Numbers | None:
        """The groups of some rows, or of all, that `--group` names: what intervals are drawn of; None without any."""
        return self._clusters if self._clusters is None or numbers is None else self._clusters[numbers]

    def values(self, task: str) -> list[Any]:
        """The targets of those rows."""
        cells = self.cells(task)
        return [cells[i] for i in self.numbers(task)]

    def classes(self, task: str) -> list[Numbers]:
        """The rows of each class, by its first row."""
        numbers, values = self.numbers(task), self.values(task)
        found: dict[Any, list[int]] = {}
        for number, value in zip(numbers.tolist(), values, strict=True):
            found.setdefault(value, []).append(number)
        return [np.array(rows, np.int64) for rows in found.values()]

    def having(self, tasks: Iterable[str]) -> Numbers:
        """The rows that have any of some tasks."""
        found = [self.numbers(task) for task in tasks]
        return found[0] if len(found) == 1 else np.unique(np.concatenate([np.empty(0, np.int64), *found]))

    def strata(self, tasks: Iterable[str]) -> list[Numbers]:
        """Those rows by the rarest task that each has: drawn in shares, no task is missing for long."""
        found = sorted((self.numbers(task) for task in tasks), key=len)
        taken = np.zeros(len(self._rows), bool)
        strata = []
        for numbers in found:
            strata.append(numbers[~taken[numbers]])
            taken[numbers] = True
        return [numbers for numbers in strata if len(numbers)]
