"""Metrics as functions of a table of row statistics and of how often each row counts.

All are exact when `counts` are the multiplicities of a resample: the value is that of the rows repeated so
often. Where a resample lacks what a metric needs (a class, any spread) the metric leaves that class out, and
is NaN only when nothing is left. A row whose first column is NaN has no true value and counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import itemgetter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ukulele.errors import PlanError
from ukulele.tasks import resampled
from ukulele.tasks.resampled import Value, Values
from ukulele.types import Metric

Floats: TypeAlias = "NDArray[np.float64]"

BINS = 15  # of the calibration error (Guo et al., 2017)
TRUTH, ANSWER, CONFIDENCE, LOSS, RANKS = 0, 1, 2, 3, 4  # columns of the table of `Classify`


def dense_ranks(values: Floats) -> Floats:
    """The rank of each value among the distinct ones, from 0; equal values share one.

    >>> dense_ranks(np.array([0.5, 0.1, 0.5, 0.9])).tolist()
    [1.0, 0.0, 1.0, 2.0]
    """
    return np.unique(values, return_inverse=True)[1].astype(np.float64)


def classification(classes: int, first: str) -> tuple[Metric, ...]:
    """The metrics of one class out of several, the deciding one in front."""
    values: dict[str, Value] = {
        "accuracy": _accuracy,
        "balanced_accuracy": partial(_balanced_accuracy, classes),
        "macro_f1": partial(_macro_f1, classes),
        "log_loss": partial(_mean, LOSS),
        "roc_auc": partial(_roc_auc, classes),
        "calibration_error": _calibration_error,
    }
    many: dict[str, Values] = {
        "accuracy": partial(resampled.mean_of, _right),
        "log_loss": partial(resampled.mean_of, itemgetter((slice(None), LOSS))),
        "roc_auc": partial(resampled.roc_auc, classes, RANKS),
        "calibration_error": _calibration_errors,
    }
    if classes <= resampled.DENSE:
        many["balanced_accuracy"] = partial(resampled.balanced_accuracy, classes)
        many["macro_f1"] = partial(resampled.macro_f1, classes)
    return _ordered(values, many, first, lower={"log_loss", "calibration_error"})


def multilabel(labels: int, first: str) -> tuple[Metric, ...]:
    """The metrics of any number of labels a row, the deciding one in front."""
    values: dict[str, Value] = {
        "micro_f1": partial(_label_f1, labels, True),
        "macro_f1": partial(_label_f1, labels, False),
        "subset_accuracy": partial(_subset_accuracy, labels),
        "log_loss": partial(_mean, 0),
        "roc_auc": partial(_of_one, partial(resampled.label_roc_auc, labels)),
        "calibration_error": partial(_of_one, partial(resampled.label_binned_gap, BINS, labels)),
    }
    many: dict[str, Values] = {
        "micro_f1": partial(resampled.label_f1, labels, True),
        "macro_f1": partial(resampled.label_f1, labels, False),
        "subset_accuracy": partial(resampled.mean_of, partial(_all_right, labels)),
        "log_loss": partial(resampled.mean_of, itemgetter((slice(None), 0))),
        "roc_auc": partial(resampled.label_roc_auc, labels),
        "calibration_error": partial(resampled.label_binned_gap, BINS, labels),
    }
    return _ordered(values, many, first, lower={"log_loss", "calibration_error"})


def regression(first: str) -> tuple[Metric, ...]:
    """The metrics of a number, the deciding one in front."""
    values: dict[str, Value] = {
        "r2": _r2,
        "rmse": _rmse,
        "mae": _mae,
        "pearson": _pearson,
        "spearman": _spearman,
    }
    many: dict[str, Values] = {
        "rmse": partial(resampled.root_mean_of, _squares),
        "mae": partial(resampled.mean_of, _distances),
    }
    return _ordered(values, many, first, lower={"rmse", "mae"})


def _ordered(
    values: Mapping[str, Value], many: Mapping[str, Values], first: str, lower: set[str]
) -> tuple[Metric, ...]:
    if first not in values:
        raise PlanError(
            f"unknown metric {first!r} for this kind of target.", hint=f"Choose one of: {', '.join(values)}."
        )
    names = [first, *(name for name in values if name != first)]
    return tuple(
        Metric(
            name,
            partial(_known, values[name]),
            name not in lower,
            name == "calibration_error",
            partial(resampled.known, many.get(name) or partial(resampled.one_by_one, values[name])),
        )
        for name in names
    )


def _known(value: Value, table: Floats, counts: Floats) -> float:
    """The value on the rows that have a true value."""
    missing = np.isnan(table[:, 0])
    if missing.any():
        table, counts = table[~missing], counts[~missing]
    return value(table, counts.astype(np.float64, copy=False)) if counts.any() else float("nan")


def _of_one(values: Values, table: Floats, counts: Floats) -> float:
    """Of one draw, where many at once are no other sum."""
    return float(values(table, counts[None])[0])


def _mean(column: int, table: Floats, counts: Floats) -> float:
    return float(counts @ table[:, column] / counts.sum())


def _ratio(above: Floats, below: Floats) -> float:
    """The mean of the ratios that are defined."""
    defined = below > 0
    return float(np.mean(above[defined] / below[defined])) if defined.any() else float("nan")


# ---------------------------------------------------------------- one class


def _accuracy(table: Floats, counts: Floats) -> float:
    return float(counts @ _right(table) / counts.sum())


def _right(table: Floats) -> Floats:
    return np.asarray(table[:, TRUTH] == table[:, ANSWER], np.float64)


def _hits(classes: int, table: Floats, counts: Floats) -> tuple[Floats, Floats, Floats]:
    """Per class: right answers, true rows, answers."""
    truth, answer = table[:, TRUTH].astype(np.intp), table[:, ANSWER].astype(np.intp)
    return (
        _count(truth, counts * (truth == answer), classes),
        _count(truth, counts, classes),
        _count(answer, counts, classes),
    )


def _count(numbers: NDArray[np.intp], weights: Floats, length: int) -> Floats:
    return np.asarray(np.bincount(numbers, weights, length), np.float64)


def _balanced_accuracy(classes: int, table: Floats, counts: Floats) -> float:
    right, truth, _ = _hits(classes, table, counts)
    return _ratio(right, truth)


def _macro_f1(classes: int, table: Floats, counts: Floats) -> float:
    right, truth, answers = _hits(classes, table, counts)
    return _ratio(2 * right, truth + answers)


def _roc_auc(classes: int, table: Floats, counts: Floats) -> float:
    """Of the second class where there are two, else the mean of one class against the rest.

    The table holds ranks, so no draw has to sort: the mid-ranks are a cumulative sum of counts.
    """
    truth = table[:, TRUTH]
    total = counts.sum()
    areas = []
    for column, label in enumerate([1] if classes == 2 else range(classes)):
        of_class = truth == label
        weights = counts[of_class]
        positive = weights.sum()
        if positive in (0, total):
            continue
        ranks = table[:, RANKS + column].astype(np.intp)
        here = np.bincount(ranks, counts)
        below = np.cumsum(here) - here / 2
        pairs = weights @ below[ranks[of_class]] - positive**2 / 2
        areas.append(pairs / (positive * (total - positive)))
    return float(np.mean(areas)) if areas else float("nan")


def _calibration_error(table: Floats, counts: Floats) -> float:
    confidence = table[:, CONFIDENCE]
    bins = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
    gaps = np.bincount(bins, counts * (confidence - (table[:, TRUTH] == table[:, ANSWER])), BINS)
    return float(np.abs(gaps).sum() / counts.sum())


def _calibration_errors(table: Floats, counts: Floats) -> Floats:
    return resampled.binned_gap(BINS, table[:, CONFIDENCE], _right(table), counts)


# ---------------------------------------------------------------- several labels


def _sides(labels: int, table: Floats) -> tuple[Floats, Floats]:
    return table[:, 1 : 1 + labels], table[:, 1 + labels : 1 + 2 * labels]


def _label_f1(labels: int, micro: bool, table: Floats, counts: Floats) -> float:
    truth, answer = _sides(labels, table)
    right, either = counts @ (truth * answer), counts @ (truth + answer)
    return _ratio(2 * right.sum(keepdims=True), either.sum(keepdims=True)) if micro else _ratio(2 * right, either)


def _subset_accuracy(labels: int, table: Floats, counts: Floats) -> float:
    truth, answer = _sides(labels, table)
    return float(counts @ (truth == answer).all(1) / counts.sum())


def _all_right(labels: int, table: Floats) -> Floats:
    truth, answer = _sides(labels, table)
    return np.asarray((truth == answer).all(1), np.float64)


# ---------------------------------------------------------------- a number


def _squares(table: Floats) -> Floats:
    return np.asarray((table[:, 0] - table[:, 1]) ** 2)


def _distances(table: Floats) -> Floats:
    return np.abs(table[:, 0] - table[:, 1])


def _rmse(table: Floats, counts: Floats) -> float:
    return float(np.sqrt(counts @ _squares(table) / counts.sum()))


def _mae(table: Floats, counts: Floats) -> float:
    return float(counts @ _distances(table) / counts.sum())


def _r2(table: Floats, counts: Floats) -> float:
    truth = table[:, 0]
    spread = counts @ (truth - counts @ truth / counts.sum()) ** 2
    return float(1 - counts @ (truth - table[:, 1]) ** 2 / spread) if spread > 0 else float("nan")


def _correlation(first: Floats, second: Floats, counts: Floats) -> float:
    """Pearson's; 0 where the answers are all the same, NaN where the true values are."""
    first, second = first - counts @ first / counts.sum(), second - counts @ second / counts.sum()
    one, two = counts @ first**2, counts @ second**2
    if one <= 0:
        return float("nan")
    return float(np.clip((counts * first) @ second / np.sqrt(one * two), -1, 1)) if two > 0 else 0.0


def _pearson(table: Floats, counts: Floats) -> float:
    return _correlation(table[:, 0], table[:, 1], counts)


def _spearman(table: Floats, counts: Floats) -> float:
    return _correlation(_midranks(table[:, 2], counts), _midranks(table[:, 3], counts), counts)


def _midranks(ranks: Floats, counts: Floats) -> Floats:
    """Mean ranks in the resample, from dense ranks in the whole."""
    places = ranks.astype(np.intp)
    here = np.bincount(places, counts)
    return np.asarray((np.cumsum(here) - here / 2)[places])
