"""How much of a target a column tells: by its values, by ranges of its numbers, or by what stands beside them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 32
MOSTLY = 0.5  # share of the cells that hold anything which must be numbers, for a column of numbers


@dataclass(frozen=True)
class Truth:
    """The answers of rows of train, and of those held out: codes of classes or of sets of labels, or numbers."""

    train: NDArray[Any]
    held: NDArray[Any]

    @property
    def number(self) -> bool:
        """Whether they are numbers."""
        return self.train.dtype.kind == "f"

    @cached_property
    def usual(self) -> Any:
        """The answer of what looks at no row: the mean, or the most frequent one."""
        return self.train.mean() if self.number else Counter(self.train.tolist()).most_common(1)[0][0]

    @cached_property
    def plain(self) -> float:
        """The share that it gets right; of numbers' variance, 0."""
        return 0.0 if self.number else float((self.held == self.usual).mean())

    @cached_property
    def _around(self) -> float:
        return float(((self.held - self.usual) ** 2).sum())

    def share(self, answers: Sequence[Any] | NDArray[Any]) -> float:
        """The share of held-out rows that are answered rightly; of numbers, that of their variance."""
        if not self.number:
            return float((np.asarray(answers) == self.held).mean())
        missed = float(((self.held - np.asarray(answers)) ** 2).sum())
        return max(0.0, 1 - missed / self._around) if self._around else 0.0


@dataclass(frozen=True)
class Column:
    """A column's cells on those rows."""

    train: list[Any]
    held: list[Any]

    @cached_property
    def numbers(self) -> tuple[Floats, Floats] | None:
        """The cells as numbers, NaN where one is none; None where most are none."""
        found = np.array([_number(cell) for cell in self.train])
        there = sum(cell not in {None, ""} for cell in self.train)
        if np.isfinite(found).sum() <= MOSTLY * max(there, 1):
            return None
        return found, np.array([_number(cell) for cell in self.held])

    def filled(self, truth: Truth) -> tuple[Column, Truth]:
        """The same on the rows that have something in it, or of a column of numbers a number; all where those are less
        than half. A column that tells the target tells it though some cells are empty.
        """
        if self.numbers is None:
            there = [np.array([cell not in {None, ""} for cell in cells]) for cells in (self.train, self.held)]
        else:
            there = [np.isfinite(numbers) for numbers in self.numbers]
        if min(some.mean() for some in there) < MOSTLY or all(some.all() for some in there):
            return self, truth
        train, held = (list(compress(*both)) for both in zip((self.train, self.held), there, strict=True))
        return Column(train, held), Truth(truth.train[there[0]], truth.held[there[1]])

    @cached_property
    def measured(self) -> bool:
        """Whether they are numbers with a fraction: measurements rather than names of groups."""
        if self.numbers is None:
            return False
        finite = self.numbers[0][np.isfinite(self.numbers[0])]
        return bool((finite != np.rint(finite)).any())

    @cached_property
    def ranging(self) -> bool:
        """Whether they are numbers of so many values that what lies between them is looked at."""
        if self.numbers is None:
            return False
        return len(np.unique(self.numbers[0][np.isfinite(self.numbers[0])])) > BINS


def told(column: Column, truth: Truth) -> float:
    """The share of the held-out rows, or of numbers' variance, that a column tells by its values; where it holds
    numbers of many values, by the range that they lie in, or by a line from one to the next.
    """
    if not column.ranging or column.numbers is None:
        return truth.share(_by_value(column.train, column.held, truth))
    train, held = column.numbers
    finite = np.isfinite(train)
    if not truth.number:
        edges = np.unique(np.quantile(train[finite], np.linspace(0, 1, BINS + 1)[1:-1]))
        return truth.share(_by_value(_ranges(edges, train, column.train), _ranges(edges, held, column.held), truth))
    keys, places = np.unique(train[finite], return_inverse=True)
    means = np.bincount(places, truth.train[finite]) / np.bincount(places)
    words = _by_value(column.train, column.held, truth)
    return truth.share(np.where(np.isfinite(held), np.interp(held, keys, means), words))


def told_by_value(column: Column, truth: Truth) -> float:
    """The same by the very values of the cells, whatever they hold."""
    return truth.share(_by_value(column.train, column.held, truth))


def told_by_neighbours(column: Column, truth: Truth) -> float:
    """The same by the nearest other numbers below and above each cell, what stands at its own left out; 0 where a
    column holds no numbers. As much as by the values, where these measure something; nothing, where they name groups.
    """
    if column.numbers is None:
        return 0.0
    train, held = column.numbers
    finite = np.isfinite(train)
    keys, places = np.unique(train[finite], return_inverse=True)
    if len(keys) < 3:
        return 0.0
    rows = [truth.train[finite][some] for some in np.split(np.argsort(places, kind="stable"), _ends(places))]
    below = np.searchsorted(keys, held) - 1
    above = np.searchsorted(keys, held, "right")
    answers = []
    for low, high, number in zip(below.tolist(), above.tolist(), held.tolist(), strict=True):
        near = [rows[at] for at in (low, high) if 0 <= at < len(keys)]
        if math.isfinite(number):
            seen = np.concatenate(near)
            answers.append(seen.mean() if truth.number else Counter(seen.tolist()).most_common(1)[0][0])
        else:
            answers.append(truth.usual)
    return truth.share(answers)


def _ends(places: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(np.bincount(places))[:-1]


def _ranges(edges: Floats, numbers: Floats, cells: Sequence[Any]) -> list[Hashable]:
    """The number of the range that each number lies in; other cells as they are."""
    at = np.searchsorted(edges, numbers).tolist()
    return [place if math.isfinite(one) else str(cell) for place, one, cell in zip(at, numbers, cells, strict=True)]


def _by_value(train: Sequence[Hashable], held: Sequence[Hashable], truth: Truth) -> list[Any]:
    """What the rows of train with the same value answer: their mean, or the most frequent answer."""
    usual = truth.usual
    if truth.number:
        numbers: dict[Hashable, int] = {}
        places = np.array([numbers.setdefault(value, len(numbers)) for value in train])
        means = (np.bincount(places, truth.train) / np.bincount(places)).tolist()
        return [means[numbers[value]] if value in numbers else usual for value in held]
    counts: defaultdict[Hashable, Counter[int]] = defaultdict(Counter)
    for value, code in zip(train, truth.train.tolist(), strict=True):
        counts[value][code] += 1
    return [counts[value].most_common(1)[0][0] if value in counts else usual for value in held]


def _number(cell: Any) -> float:
    try:
        found = float(cell)
    except (TypeError, ValueError):
        return math.nan
    return found if math.isfinite(found) else math.nan
