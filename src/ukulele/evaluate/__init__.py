"""From tables of row statistics to estimates, verdicts and the particulars of a report."""

from __future__ import annotations

from ukulele.evaluate.details import details, mistakes
from ukulele.evaluate.estimates import compare, decisive, estimates, plain, slices

__all__ = ["compare", "decisive", "details", "estimates", "mistakes", "plain", "slices"]
