"""Metrics of many resamples at once: counts (draws, n) to values (draws,), the same as one by one but for rounding.

What is a function of sums over rows becomes one product of matrices; ranks are sorted once, not in every draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"
Value: TypeAlias = Callable[[Floats, Floats], float]
Values: TypeAlias = Callable[[Floats, Floats], Floats]
Columns: TypeAlias = Callable[[Floats], Floats]

DENSE = 64  # classes up to which a column of ones and zeros for each is quicker than counting


def known(values: Values, table: Floats, counts: Floats) -> Floats:
    """The values on the rows that have a true value; NaN where none was drawn."""
    missing = np.isnan(table[:, 0])
    if missing.any():
        table, counts = table[~missing], counts[:, ~missing]
    there = counts.any(1)
    found = np.full(len(counts), np.nan)
    if there.any():
        found[there] = values(table, counts if there.all() else counts[there])
    return found


def one_by_one(value: Value, table: Floats, counts: Floats) -> Floats:
    """Where there is no quicker way."""
    return np.array([value(table, drawn) for drawn in counts])


def mean_of(column: Columns, table: Floats, counts: Floats) -> Floats:
    """The mean of a column that is made of the table."""
    return np.asarray(counts @ column(table) / counts.sum(1))


def root_mean_of(column: Columns, table: Floats, counts: Floats) -> Floats:
    """The root of the mean of a column that is made of the table."""
    return np.asarray(np.sqrt(mean_of(column, table, counts)))


def mean_ratio(above: Floats, below: Floats) -> Floats:
    """In each draw, the mean of the ratios (draws, k) that are defined."""
    defined = below > 0
    ratios = np.divide(above, below, out=np.zeros_like(above), where=defined)
    times = defined.sum(1)
    return np.asarray(np.divide(ratios.sum(1), times, out=np.full(len(above), np.nan), where=times > 0))


def per_class(classes: int, table: Floats, counts: Floats) -> tuple[Floats, Floats, Floats]:
    """In each draw and class: right answers, true rows, answers."""
    truth, answer = (np.equal.outer(table[:, column], np.arange(classes)) for column in (0, 1))
    right, true, given = (counts @ marks.astype(np.float64) for marks in (truth & answer, truth, answer))
    return right, true, given


def balanced_accuracy(classes: int, table: Floats, counts: Floats) -> Floats:
    """The mean recall of the classes that are there."""
    right, true, _ = per_class(classes, table, counts)
    return mean_ratio(right, true)


def macro_f1(classes: int, table: Floats, counts: Floats) -> Floats:
    """The mean F1 of the classes that are there or given."""
    right, true, given = per_class(classes, table, counts)
    return mean_ratio(2 * right, true + given)


def label_f1(labels: int, micro: bool, table: Floats, counts: Floats) -> Floats:
    """F1 over all labels, or the mean of the labels' own."""
    truth, answer = table[:, 1 : 1 + labels], table[:, 1 + labels : 1 + 2 * labels]
    right, either = truth * answer, truth + answer
    if micro:
        right, either = right.sum(1, keepdims=True), either.sum(1, keepdims=True)
    return mean_ratio(2 * counts @ right, counts @ either)


def roc_auc(classes: int, ranks: int, table: Floats, counts: Floats) -> Floats:
    """The area of the second class of two, else the mean over the classes; `ranks` is the first column of ranks."""
    labels = enumerate([1] if classes == 2 else range(classes))
    return _mean_area(((table[:, 0] == label, table[:, ranks + column]) for column, label in labels), counts)


def label_roc_auc(labels: int, table: Floats, counts: Floats) -> Floats:
    """The mean area over the labels that some rows have and others lack."""
    return _mean_area(((table[:, 1 + label] > 0, table[:, 1 + 2 * labels + label]) for label in range(labels)), counts)


def _mean_area(sides: Iterable[tuple[NDArray[np.bool_], Floats]], counts: Floats) -> Floats:
    """The mean of areas, each of which rows are right, and how high each row is scored."""
    total = counts.sum(1)
    areas, times = np.zeros(len(counts)), np.zeros(len(counts))
    for right, scores in sides:
        order = np.argsort(scores, kind="stable")
        ordered, mine, drawn = scores[order], np.flatnonzero(right[order]), counts[:, order]
        upto = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(drawn, 1)], 1)
        first, last = (np.searchsorted(ordered, ordered[mine], side) for side in ("left", "right"))
        weights = drawn[:, mine]
        positive = weights.sum(1)
        pairs = np.einsum("di,di->d", weights, (upto[:, first] + upto[:, last]) / 2) - positive**2 / 2
        some = positive * (total - positive)
        areas += np.divide(pairs, some, out=np.zeros(len(counts)), where=some > 0)
        times += some > 0
    return np.asarray(np.divide(areas, times, out=np.full(len(counts), np.nan), where=times > 0))


def binned_gap(bins: int, confidence: Floats, right: Floats, counts: Floats) -> Floats:
    """The calibration error."""
    places = np.minimum((confidence * bins).astype(np.intp), bins - 1)
    gaps = np.equal.outer(places, np.arange(bins)) * (confidence - right)[:, None]
    return np.asarray(np.abs(counts @ gaps).sum(1) / counts.sum(1))


def label_binned_gap(bins: int, labels: int, table: Floats, counts: Floats) -> Floats:
    """The calibration error over all labels of all rows: how far the share that has a label is from its probability."""
    truth, sure = table[:, 1 : 1 + labels], table[:, 1 + 2 * labels : 1 + 3 * labels]
    places = np.minimum((sure * bins).astype(np.intp), bins - 1) + bins * np.arange(len(table))[:, None]
    gaps = np.bincount(places.ravel(), (sure - truth).ravel(), bins * len(table)).reshape(-1, bins)
    return np.asarray(np.abs(counts @ gaps).sum(1) / (labels * counts.sum(1)))
