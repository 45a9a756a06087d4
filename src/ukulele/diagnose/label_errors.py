"""Rows whose label is probably wrong: what a model that has not seen them says, held against what was given."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ukulele.tools.strays import strays
from ukulele.types import Finding

TIMES = 5.0  # as probable as the label another class must be for the label to be doubted
FAR = 5.0  # robust standard deviations from which a number is doubted
SHOWN = 20  # places that a finding names
MANY = 0.03  # share of doubted rows from which it is a warning
TOO_MANY = 0.15  # from which the probe is doubted rather than the labels: of ten well-known data sets 10 % are wrong at
# most (Northcutt, Athalye and Mueller, 2021, arXiv:2103.14749)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Suspect:
    """A row, what it is labelled, what it had better be, and how well its label fits: from 0 (not at all) to 1."""

    row: int
    given: Any
    suggested: Any
    score: float


def doubted_classes(
    given: NDArray[np.intp], probabilities: Floats, labels: Sequence[str], seen: NDArray[np.bool_] | None = None
) -> list[Suspect]:
    """Rows of one class each that confident learning doubts, the most doubtful first.

    Parameters
    ----------
    given
        The class of each row (n,).
    probabilities
        Of each class (n, classes), by models that have not seen the row.
    labels
        The names of the classes.
    seen
        Which rows are of a class that the model which answered has seen (n,); the others cannot be doubted.

    Notes
    -----
    A row is doubted where another class is `TIMES` as probable as its own, or where confident learning says so: the
    other class is more probable than it usually is among its own rows (Northcutt, Jiang and Chuang, "Confident
    learning", 2021, as cleanlab has it). The score is the own class's share of the two; it ranks flips to any class
    and flips to a similar one better than the own class's probability, or its margin, on the whole.
    """
    present = np.unique(given)
    if len(present) < 2:
        return []
    inside, rows = np.searchsorted(present, given), np.arange(len(given))
    known = np.maximum(probabilities[:, present], 1e-12)
    others = known.copy()
    others[rows, inside] = 0
    own, best = known[rows, inside], others.argmax(1)
    score = own / (own + others[rows, best])
    doubted = (score * (1 + TIMES) < 1) | (_confidently_wrong(inside, known) & (score < 0.5))
    found = np.flatnonzero(doubted if seen is None else doubted & seen)
    found = found[np.argsort(score[found], kind="stable")]
    return [
        Suspect(int(row), labels[given[row]], labels[present[best[row]]], float(f"{score[row]:.3g}")) for row in found
    ]


def _confidently_wrong(given: NDArray[np.intp], probabilities: Floats) -> NDArray[np.bool_]:
    """Rows off the diagonal of the confident joint."""
    from cleanlab.filter import find_label_issues

    shares = probabilities / probabilities.sum(1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with few rows
        return np.asarray(find_label_issues(given, shares, filter_by="confident_learning", n_jobs=1), bool)


def doubted_sets(given: NDArray[np.bool_], probabilities: Floats, labels: Sequence[str]) -> list[Suspect]:
    """Rows of any number of labels that confident learning doubts, label by label; the most doubtful first.

    Parameters
    ----------
    given, probabilities
        Which labels each row has (n, labels), and how probable each is.
    labels
        Their names.
    """
    wrong = np.zeros_like(given)
    for label in range(given.shape[1]):
        marks = given[:, label].astype(np.intp)
        if not 0 < marks.sum() < len(marks):
            continue
        two = np.stack([1 - probabilities[:, label], probabilities[:, label]], 1)
        wrong[:, label] = _confidently_wrong(marks, two)
    fits = np.where(given, probabilities, 1 - probabilities)
    wrong &= fits < 0.5
    score = np.where(wrong, fits, 1.0).min(1)
    rows = np.flatnonzero(wrong.any(1))
    rows = rows[np.argsort(score[rows], kind="stable")]
    names = np.array(labels, dtype=object)
    return [
        Suspect(
            int(row),
            tuple(names[given[row]].tolist()),
            tuple(names[given[row] ^ wrong[row]].tolist()),
            float(f"{score[row]:.3g}"),
        )
        for row in rows
    ]


def far_off(given: Floats) -> list[Suspect]:
    """Numbers so far from all others that their unit or their point is likely wrong, the furthest first; the median is
    what is suggested. A probe that was taught such numbers says little of the others.
    """
    return [Suspect(int(row), float(given[row]), float(np.median(given)), 0.0) for row in strays(given)]


def doubted_numbers(given: Floats, answers: Floats, far: float = FAR) -> list[Suspect]:
    """Numbers that lie much further from a held-out answer than others do, the furthest first.

    How far is told in robust standard deviations of the residuals: 1.4826 times their median absolute deviation. The
    score is the share of a normal distribution that lies further out.
    """
    from scipy.stats import norm

    residuals = given - answers
    centre = np.median(residuals)
    scale = 1.4826 * np.median(np.abs(residuals - centre))
    if not scale > 0:
        return []
    distance = np.abs(residuals - centre) / scale
    rows = np.flatnonzero(distance > far)
    rows = rows[np.argsort(-distance[rows], kind="stable")]
    return [
        Suspect(int(row), float(given[row]), float(answers[row]), float(f"{2 * norm.sf(distance[row]):.3g}"))
        for row in rows
    ]


def label_errors(task: str, doubted: Sequence[str], rows: int, file: str = "suspects.csv") -> list[Finding]:
    """A finding of labels that may be wrong; `doubted` says where and what, the most doubtful first."""
    if not doubted:
        return []
    share = len(doubted) / rows
    severity: Literal["info", "warning"] = "warning" if MANY < share <= TOO_MANY else "info"
    if share > TOO_MANY:
        said = (
            f"A probe that has not seen the row contradicts {len(doubted):,} of {rows:,} labels of {task!r} "
            f"({share:.1%}): more than are usually wrong, so most will be its own mistakes."
        )
        advice = f"Look at the first of {file} alone. A model that suits these rows better doubts fewer (uke choose)."
    else:
        said = (
            f"{len(doubted):,} of {rows:,} labels of {task!r} ({share:.1%}) may be wrong: a probe that has not seen "
            "the row says otherwise."
        )
        advice = (
            f"Look at them, the first ones first: all are in {file}. Some will be the model's mistakes. Mend or leave "
            "out the wrong ones and fit again."
        )
    evidence = {"task": task, "count": len(doubted), "rows": rows, "examples": list(doubted[:SHOWN])}
    return [Finding(severity, "label-errors", f"{said} The most doubtful: {doubted[0]}.", evidence, advice)]
