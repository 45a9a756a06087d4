"""From tables of row statistics to estimates, verdicts and the particulars of a report."""

from __future__ import annotations

from ukulele.evaluate.conformal import LEAST, coverage, reach, sets, strangeness
from ukulele.evaluate.details import details, mistakes
from ukulele.evaluate.estimates import compare, decisive, estimates, left_out, plain, slices
from ukulele.evaluate.grouped import Groups
from ukulele.evaluate.seeds import compare_seeds, over_seeds
from ukulele.evaluate.several import Compared, Grouping, change, delta_m, delta_m_seeds, grouping, in_words
from ukulele.evaluate.tests import holm

__all__ = [
    "LEAST",
    "Compared",
    "Grouping",
    "Groups",
    "change",
    "compare",
    "compare_seeds",
    "coverage",
    "decisive",
    "delta_m",
    "delta_m_seeds",
    "details",
    "estimates",
    "grouping",
    "holm",
    "in_words",
    "left_out",
    "mistakes",
    "over_seeds",
    "plain",
    "reach",
    "sets",
    "slices",
    "strangeness",
]
