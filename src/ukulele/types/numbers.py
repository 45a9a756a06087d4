"""Numbers that know how sure they are, verdicts and costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, how many rows it rests on, and how it was made.

    `groups` is how many groups (of `--group`) these rows are of; None where each is by itself.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    groups: int | None = None


@dataclass(frozen=True)
class Verdict:
    """Did it help, compared with `against`, on the same rows? `difference` is signed so that positive is better."""

    outcome: Literal["helped", "hurt", "inconclusive"]
    against: str
    metric: str
    difference: Estimate
    p: float | None = None  # two-sided, that there is no difference; None where it was not tested
    test: str = ""  # how it was tested
    p_adjusted: float | None = None  # for the number of comparisons (Holm)
    comparisons: int = 1


@dataclass(frozen=True)
class Cost:
    """What a candidate took."""

    seconds: float
    peak_memory_bytes: int
    trained_parameters: int
    total_parameters: int
    phases: tuple[tuple[str, float], ...] = ()  # (what, seconds)
    flops: float | None = None
