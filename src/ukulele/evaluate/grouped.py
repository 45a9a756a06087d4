"""Rows that come in groups, such as those of one speaker: what is drawn, and what so few groups can tell.

Rows of one group are alike, so groups and not rows are drawn (Field and Welsh, 2007, "Bootstrapping clustered data").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ukulele.tools.bootstrap import FEWEST_GROUPS
from ukulele.types import Metric

TAIL = 0.025  # on either side of an interval of 95 %
EVERY = 14  # groups up to which every assignment of signs is tried
FLIPS = 10_000  # drawn assignments of more
LEAST = {"r2": -math.inf, "pearson": -1.0, "spearman": -1.0}  # of a metric, else 0
MOST = {"bleu": 100.0, "chrf": 100.0}  # of a metric that is better the higher, else 1


@dataclass(frozen=True)
class Groups:
    """In which groups rows come.

    `codes` (n,) number them from 0; None where rows are drawn by themselves: each is a group, or all are one. `count`
    is how many there are; None where each row is one.
    """

    codes: NDArray[np.int64] | None = None
    count: int | None = None

    @classmethod
    def of(cls, groups: ArrayLike | None, known: NDArray[np.bool_] | None = None) -> Groups:
        """Those of the `known` rows, from any numbers or names (n,); None: each row is by itself.

        >>> Groups.of([7, 7, 3]).codes.tolist(), Groups.of(["a", "b"]), Groups.of([4, 4])
        ([1, 1, 0], Groups(codes=None, count=None), Groups(codes=None, count=1))
        """
        if groups is None:
            return cls()
        some = np.asarray(groups) if known is None else np.asarray(groups)[known]
        names, codes = np.unique(some, return_inverse=True)
        if len(names) == len(some):
            return cls()
        return cls(codes.astype(np.int64) if len(names) > 1 else None, len(names))

    @cached_property
    def stretch(self) -> float:
        """By how much an interval of draws is too narrow: the variance of draws of G groups is (G - 1) / G of what it
        should be, and the quantile that of Student's t with G - 1 degrees of freedom.
        """
        from scipy.stats import norm, t

        if self.codes is None or self.count is None:
            return 1.0
        g = self.count
        return float(t.isf(TAIL, g - 1) / norm.isf(TAIL) * math.sqrt(g / (g - 1)))

    @property
    def said(self) -> str:
        """What is drawn, in words.

        >>> Groups().said, Groups(None, 1).said, Groups.of([0, 0, 1, 2, 3, 4]).said
        ('rows', 'rows of one group', '5 groups of rows, widened by 58 %')
        """
        if self.codes is None:
            return "rows" if self.count is None else "rows of one group"
        wider = round(100 * (self.stretch - 1))
        return f"{self.count:,} groups of rows" + (f", widened by {wider} %" if wider else "")

    @property
    def unit(self) -> str:
        """The same in one word."""
        return "rows" if self.codes is None else "groups"

    def trials(self, rows: int) -> int:
        """How many draws there were of what is drawn: groups, or rows."""
        return rows if self.codes is None or self.count is None else self.count

    def widened(self, value: float, low: float, high: float) -> tuple[float, float]:
        """The interval of draws around a value, wide enough for so few groups."""
        if self.codes is None:
            return low, high
        return value - self.stretch * (value - low), value + self.stretch * (high - value)

    def p(self, p: float) -> float:
        """The p of draws, for so few groups: by Student's t, and never below what signs of groups could reach."""
        from scipy.stats import norm, t

        if self.count is None:
            return p
        if self.codes is None:
            return 1.0
        g = self.count
        quantile = norm.isf(p / 2) * math.sqrt((g - 1) / g)
        return max(float(min(1.0, 2 * t.sf(quantile, g - 1))), 2.0 ** (1 - g))

    @property
    def enough(self) -> bool:
        """Whether there are enough to tell two models apart at all."""
        return self.count is None or self.count >= FEWEST_GROUPS

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over the rows (n,) of each group."""
        return values if self.codes is None else np.bincount(self.codes, values).astype(np.float64)


def flipped(sums: NDArray[np.float64]) -> float:
    """Two-sided p that a sum over groups is 0: each group's part might as well have had the other sign.

    The permutation test of paired groups; exact where at most 14 of them are not 0, else by 10,000 draws.

    >>> flipped(np.array([3.0, 1, 2, 0, 4, 1, 5])), flipped(np.zeros(3)), flipped(np.array([1.0, 2.0, -3.0]))
    (0.03125, 1.0, 1.0)
    """
    parts = sums[sums != 0]
    if not len(parts):
        return 1.0
    if len(parts) <= EVERY:
        bits = np.arange(2 ** (len(parts) - 1))[:, None] >> np.arange(len(parts)) & 1  # the other half mirrors them
        return float((np.abs((1 - 2 * bits) @ parts) >= abs(parts.sum()) - 1e-9).mean())
    signs = np.random.default_rng(0).choice(np.array([-1.0, 1.0]), (FLIPS, len(parts)))
    return float((1 + (np.abs(signs @ parts) >= abs(parts.sum()) - 1e-9).sum()) / (1 + FLIPS))


def within(metric: Metric, low: float, high: float) -> tuple[float, float]:
    """An interval, no wider than a metric's values can be.

    >>> within(Metric("accuracy", lambda table, counts: 0.0), -0.1, 1.2)
    (0.0, 1.0)
    """
    most = MOST.get(metric.name, 1.0) if metric.higher_is_better else math.inf
    return max(low, LEAST.get(metric.name, 0.0)), min(high, most)
