"""Sets of answers that hold the truth with a stated probability: split conformal prediction.

After Vovk, Gammerman and Shafer, "Algorithmic learning in a random world" (2005); for classes the least ambiguous sets
of Sadinle, Lei and Wasserman (2019). What is promised holds on average over rows like those that calibrate, whatever
the model: of calibration and new rows in any order, the new one is as likely to stand in one place as in another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ukulele.types import Task

LEAST = 100  # rows that calibrate: with fewer the coverage of one calibration strays by more than 5 points
KINDS = frozenset({"classify", "multilabel", "regress"})

Floats = NDArray[np.float64]


def strangeness(task: Task, answers: Sequence[Any], values: Sequence[Any]) -> Floats:
    """How badly each true value fits its final answer (n,): what calibration rows are kept as.

    A class: 1 less its probability. Several labels: that of the worst label. A number: the distance.
    """
    labels: Sequence[str] = getattr(task, "labels", ())
    match task.kind:
        case "classify":
            numbering = {label: number for number, label in enumerate(labels)}
            rows = np.asarray(answers, np.float64).reshape(-1, len(labels))
            return 1 - rows[np.arange(len(rows)), [numbering[value] for value in values]]
        case "multilabel":
            marks = np.array([[label in value for label in labels] for value in values], bool).reshape(-1, len(labels))
            rows = np.asarray(answers, np.float64).reshape(-1, len(labels))
            return np.asarray(np.where(marks, 1 - rows, rows).max(1), np.float64)
        case _:
            return np.abs(np.asarray(answers, np.float64) - np.asarray(values, np.float64))


def reach(strange: Floats, level: float) -> float:
    """How strange a value may be to be in the set: the ceil((n + 1) level)-th smallest of n calibration rows.

    >>> reach(np.arange(99.0), 0.95), reach(np.arange(9.0), 0.95)
    (94.0, inf)
    """
    place = math.ceil((len(strange) + 1) * level - 1e-9)
    return float(np.sort(strange)[place - 1]) if place <= len(strange) else math.inf


def sets(task: Task, answers: Sequence[Any], reach: float) -> list[dict[str, Any]]:
    """What may be true of each row, as plain data.

    A class: `set`, the labels, and `abstained` unless it is one. Several labels: those `certain`, those `possible`
    besides, and `abstained` where a label is in doubt. A number: `low` and `high`.
    """
    labels = np.array(getattr(task, "labels", ()), dtype=object)
    match task.kind:
        case "classify":
            inside = 1 - np.asarray(answers, np.float64).reshape(-1, len(labels)) <= reach
            return [{"set": labels[row].tolist(), "abstained": bool(row.sum() != 1)} for row in inside]
        case "multilabel":
            rows = np.asarray(answers, np.float64).reshape(-1, len(labels))
            given, not_given = 1 - rows <= reach, rows <= reach
            return [
                {
                    "certain": labels[yes & ~no].tolist(),
                    "possible": labels[yes == no].tolist(),
                    "abstained": bool((yes == no).any()),
                }
                for yes, no in zip(given, not_given, strict=True)
            ]
        case _:
            return [{"low": float(answer) - reach, "high": float(answer) + reach} for answer in answers]


def coverage(strange: Floats, calibration: Floats, level: float, *, grouped: bool = False) -> dict[str, Any]:
    """How often the truth is in the set on rows that calibrated nothing.

    Returns
    -------
    dict
        `covered` (share), `n`, `calibration` (rows), `low` and `high`: where that share lies in 99 of 100 cases if all
        rows are alike (beta-binomial), and `inside`: whether it does. Rows that come in groups (`grouped`) are not in
        any order alike: these three are then None.
    """
    from scipy.stats import betabinom

    limit, n, m = reach(calibration, level), len(strange), len(calibration)
    share = float((strange <= limit).mean())
    found = {"level": level, "covered": share, "n": n, "calibration": m}
    if grouped:
        return {**found, "low": None, "high": None, "inside": None}
    place = min(math.ceil((m + 1) * level - 1e-9), m)
    low, high = betabinom.ppf([0.005, 0.995], n, place, m + 1 - place) / n
    return {**found, "low": float(low), "high": float(high), "inside": bool(low <= share <= high)}
