"""Numbers with intervals, and whether one model is better than another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ukulele.evaluate.tests import ALPHA, EXACT, RESAMPLED, binomial, mcnemar, p_of_draws, unseen
from ukulele.tools.bootstrap import around, deflated, draws_for, resamples, together
from ukulele.tools.bootstrap import values as many
from ukulele.types import Estimate, Metric, Task, Verdict

ENOUGH = 5  # right rows, and wrong ones, from which resamples show how an accuracy might have come out
SHARES = frozenset(
    {
        "balanced_accuracy",
        "macro_f1",
        "micro_f1",
        "subset_accuracy",
        "exact_match",
        "roc_auc",
        "precision",
        "recall",
        "f1",
    }
)
SLICES = 50  # the most frequent values of a column that get figures of their own


def estimates(task: Task, table: NDArray[np.float64]) -> dict[str, Estimate]:
    """Every metric of a task with its 95 % interval, by percentile bootstrap over rows.

    Where few rows are wrong, or few right, resamples see too little of what might have been: of three right answers all
    have three. The interval of an accuracy is then exact, and so is that of other shares where no resample differs.

    Parameters
    ----------
    task
        Gives the metrics.
    table
        Row statistics (n, k) from `Task.table`; a row whose first column is NaN has no true value.

    Returns
    -------
    dict
        By metric, the deciding one first. A metric that is not defined on these rows is left out: the ROC-AUC
        of a single class.
    """
    return _estimates(task.metrics, table)


def decisive(task: Task, table: NDArray[np.float64]) -> Estimate | None:
    """The metric that decides, alone; None where it is not defined on these rows."""
    return _estimates(task.metrics[:1], table).get(task.metrics[0].name)


def _estimates(metrics: Sequence[Metric], table: NDArray[np.float64]) -> dict[str, Estimate]:
    table = _known(table, table)
    ones = np.ones(len(table))
    values = {metric: metric.value(table, ones) for metric in metrics}
    defined = [metric for metric, value in values.items() if not np.isnan(value)]
    draws = draws_for(table.size)
    if not defined:
        return {}
    n = len(table)
    parts = [[many(metric, table, counts) for metric in defined] for counts in together(resamples(n, draws), n)]
    found = {}
    for metric, column in zip(defined, np.concatenate(parts, 1), strict=True):
        found[metric.name] = _exact(metric, table, column) or _around(metric, values[metric], column, len(table))
    return found


def _exact(metric: Metric, table: NDArray[np.float64], drawn: NDArray[np.float64]) -> Estimate | None:
    """A share with its exact interval, where resampling tells little; else None."""
    n = len(table)
    if metric.name == "accuracy":
        right = int((table[:, 0] == table[:, 1]).sum())
        if min(right, n - right) >= ENOUGH:
            return None
    elif metric.name in SHARES and drawn.min() == drawn.max() and drawn[0] in {0.0, 1.0}:
        right = n * int(drawn[0])
    else:
        return None
    return Estimate(right / n, *binomial(right, n), n, "exact (Clopper, Pearson), 95 %")


def _around(metric: Metric, value: float, drawn: NDArray[np.float64], n: int) -> Estimate:
    """The value with its interval."""
    if metric.inflated:
        return Estimate(value, *deflated(drawn, value), n, f"{_method(len(drawn))}, less what resampling adds")
    return Estimate(value, *around(drawn, value), n, _method(len(drawn)))


def _known(table: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rows that have a true value, each column in one piece."""
    return np.asfortranarray(table[~np.isnan(by[:, 0])])


def _method(draws: int, paired: bool = False) -> str:
    return f"{'paired ' if paired else ''}percentile bootstrap over rows, {draws:,} draws, 95 %"


def compare(metric: Metric, ours: NDArray[np.float64], theirs: NDArray[np.float64], against: str) -> Verdict:
    """Whether our answers are better than theirs on the same rows, by paired bootstrap.

    Parameters
    ----------
    metric
        What decides. The difference is signed so that positive is better, also where lower values are.
    ours, theirs
        Row statistics (n, k) of the same rows in the same order.
    against
        The name of the other model.

    Returns
    -------
    Verdict
        "helped" or "hurt" where the 95 % interval of the difference excludes 0 and p is below .05, else
        "inconclusive". Of accuracies that few rows part, p is McNemar's, exact; else it is the bootstrap's.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"tables of different rows: {len(ours)} and {len(theirs)}")
    ours, theirs = _known(ours, ours), _known(theirs, ours)
    sign = 1.0 if metric.higher_is_better else -1.0

    def gap(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return sign * (many(metric, ours, counts) - many(metric, theirs, counts))

    n, draws = len(ours), draws_for(2 * ours.size)
    value = sign * (metric.value(ours, np.ones(n)) - metric.value(theirs, np.ones(n)))
    if np.isnan(value):
        return Verdict(
            "inconclusive", against, metric.name, Estimate(0.0, 0.0, 0.0, n, "the metric is not defined on these rows")
        )
    drawn = np.concatenate([gap(counts) for counts in together(resamples(n, draws), n)])
    low, high = around(drawn, value)
    if metric.name == "accuracy" and drawn.min() == drawn.max():  # no row parts them: how many more might?
        low, high = max(-1.0, value - unseen(n)), min(1.0, value + unseen(n))
    exact = mcnemar(ours[:, 0] == ours[:, 1], theirs[:, 0] == theirs[:, 1]) if metric.name == "accuracy" else None
    p, test = (p_of_draws(drawn), RESAMPLED) if exact is None else (exact, EXACT)
    outcome: Literal["helped", "hurt", "inconclusive"] = "inconclusive"
    if low > 0 and p < ALPHA:
        outcome = "helped"
    elif high < 0 and p < ALPHA:
        outcome = "hurt"
    return Verdict(outcome, against, metric.name, Estimate(value, low, high, n, _method(draws, paired=True)), p, test)


def slices(task: Task, table: NDArray[np.float64], values: Sequence[Any], column: str) -> list[dict[str, Any]]:
    """The metrics of each subgroup of the rows, as plain JSON, the largest first.

    Parameters
    ----------
    task, table
        As for `estimates`.
    values
        The group of each row (n,).
    column
        Where the groups come from, to be named.
    """
    groups = np.array(["(empty)" if value is None or value == "" else str(value) for value in values], dtype=object)
    common = Counter(groups.tolist()).most_common(SLICES)
    found = []
    for group, n in common:
        test = plain(estimates(task, table[groups == group]))
        found.append({"column": column, "value": group, "n": n, "test": test})
    return found


def plain(found: Mapping[str, Estimate]) -> dict[str, dict[str, Any]]:
    """Estimates as plain JSON."""
    return {name: asdict(estimate) for name, estimate in found.items()}
