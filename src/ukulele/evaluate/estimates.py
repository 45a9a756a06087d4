"""Numbers with intervals, and whether one model is better than another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ukulele.evaluate.grouped import Groups, within
from ukulele.evaluate.tests import ALPHA, binomial, p_of_pairs, unseen
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


def estimates(task: Task, table: NDArray[np.float64], groups: ArrayLike | None = None) -> dict[str, Estimate]:
    """Every metric of a task with its 95 % interval, by percentile bootstrap over rows, or over groups of them.

    Where few rows are wrong, or few right, resamples see too little of what might have been: of three right answers all
    have three. The interval of an accuracy is then exact, and so is that of other shares where no resample differs.
    Where rows come in groups it is the wider of the two, and of nothing but right answers that of so many groups.

    Parameters
    ----------
    task
        Gives the metrics.
    table
        Row statistics (n, k) from `Task.table`; a row whose first column is NaN has no true value.
    groups
        Of each row (n,) its group, whose rows are drawn together; None: each row is by itself.

    Returns
    -------
    dict
        By metric, the deciding one first. A metric that is not defined on these rows is left out: the ROC-AUC
        of a single class.
    """
    return _estimates(task.metrics, table, groups)


def decisive(task: Task, table: NDArray[np.float64], groups: ArrayLike | None = None) -> Estimate | None:
    """The metric that decides, alone; None where it is not defined on these rows."""
    return _estimates(task.metrics[:1], table, groups).get(task.metrics[0].name)


def _estimates(metrics: Sequence[Metric], table: NDArray[np.float64], named: ArrayLike | None) -> dict[str, Estimate]:
    groups, table = Groups.of(named, ~np.isnan(table[:, 0])), _known(table, table)
    ones = np.ones(len(table))
    values = {metric: metric.value(table, ones) for metric in metrics}
    defined = [metric for metric, value in values.items() if not np.isnan(value)]
    draws = draws_for(table.size)
    if not defined:
        return {}
    n = len(table)
    drawn = together(resamples(n, draws, groups=groups.codes), n)
    parts = [[many(metric, table, counts) for metric in defined] for counts in drawn]
    found = {}
    for metric, column in zip(defined, np.concatenate(parts, 1), strict=True):
        exact = _exact(metric, table, column, groups)
        found[metric.name] = exact or _around(metric, values[metric], column, table, groups)
    return found


def _exact(metric: Metric, table: NDArray[np.float64], drawn: NDArray[np.float64], groups: Groups) -> Estimate | None:
    """A share with its exact interval, where resampling tells little; else None."""
    n, trials = len(table), groups.trials(len(table))
    if metric.name == "accuracy":
        right = _right(table)
        if min(right, n - right) >= ENOUGH or (trials < n and 0 < right < n):
            return None
    elif metric.name in SHARES and drawn.min() == drawn.max() and drawn[0] in {0.0, 1.0}:
        right = n * int(drawn[0])
    else:
        return None
    of = "" if trials == n else f" of {trials:,} groups"
    interval = binomial(right * trials // n, trials)
    return Estimate(right / n, *interval, n, f"exact (Clopper, Pearson){of}, 95 %", groups.count)


def _right(table: NDArray[np.float64]) -> int:
    """How many rows of a table of classes are right."""
    return int((table[:, 0] == table[:, 1]).sum())


def _around(
    metric: Metric, value: float, drawn: NDArray[np.float64], table: NDArray[np.float64], groups: Groups
) -> Estimate:
    """The value with its interval."""
    n, method = len(table), _method(len(drawn), groups)
    low, high = deflated(drawn, value) if metric.inflated else around(drawn, value)
    if groups.codes is not None:
        low, high = within(metric, *groups.widened(value, low, high))
        if metric.name == "accuracy" and (low == high or min(_right(table), n - _right(table)) < ENOUGH):
            exact = binomial(_right(table), n)  # groups that are alike by chance, or few wrong rows
            low, high = min(low, exact[0]), max(high, exact[1])
    return Estimate(value, low, high, n, method + ", less what resampling adds" * metric.inflated, groups.count)


def _known(table: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rows that have a true value, each column in one piece."""
    return np.asfortranarray(table[~np.isnan(by[:, 0])])


def _method(draws: int, groups: Groups, paired: bool = False) -> str:
    return f"{'paired ' if paired else ''}percentile bootstrap over {groups.said}, {draws:,} draws, 95 %"


def compare(
    metric: Metric,
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    against: str,
    groups: ArrayLike | None = None,
) -> Verdict:
    """Whether our answers are better than theirs on the same rows, by paired bootstrap.

    Parameters
    ----------
    metric
        What decides. The difference is signed so that positive is better, also where lower values are.
    ours, theirs
        Row statistics (n, k) of the same rows in the same order.
    against
        The name of the other model.
    groups
        As for `estimates`; of fewer than six no model is called better.

    Returns
    -------
    Verdict
        "helped" or "hurt" where the 95 % interval of the difference excludes 0 and p is below .05, else
        "inconclusive". Of accuracies that few rows part, p is McNemar's, exact, and that of flipped signs where few
        groups do; else it is the bootstrap's.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"tables of different rows: {len(ours)} and {len(theirs)}")
    of = Groups.of(groups, ~np.isnan(ours[:, 0]))
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
    drawn = np.concatenate([gap(counts) for counts in together(resamples(n, draws, groups=of.codes), n)])
    low, high = of.widened(value, *around(drawn, value))
    if metric.name == "accuracy" and drawn.min() == drawn.max():  # no row parts them: how many more might?
        unlike = unseen(of.trials(n))
        low, high = max(-1.0, value - unlike), min(1.0, value + unlike)
    pairs = (ours[:, 0] == ours[:, 1], theirs[:, 0] == theirs[:, 1]) if metric.name == "accuracy" else None
    p, test = p_of_pairs(drawn, pairs, of)
    outcome: Literal["helped", "hurt", "inconclusive"] = "inconclusive"
    if low > 0 and p < ALPHA:
        outcome = "helped"
    elif high < 0 and p < ALPHA:
        outcome = "hurt"
    difference = Estimate(value, low, high, n, _method(draws, of, paired=True), of.count)
    return Verdict(outcome, against, metric.name, difference, p, test)


def slices(
    task: Task, table: NDArray[np.float64], values: Sequence[Any], column: str, groups: ArrayLike | None = None
) -> list[dict[str, Any]]:
    """The metrics of each subgroup of the rows, as plain JSON, the largest first; `left_out` says which have none.

    Parameters
    ----------
    task, table, groups
        As for `estimates`.
    values
        The subgroup of each row (n,).
    column
        Where the subgroups come from, to be named.
    """
    cells = _cells(values)
    common = Counter(cells.tolist()).most_common(SLICES)
    found = []
    for cell, n in common:
        mine = cells == cell
        test = plain(estimates(task, table[mine], None if groups is None else np.asarray(groups)[mine]))
        found.append({"column": column, "value": cell, "n": n, "test": test})
    return found


def left_out(values: Sequence[Any], column: str) -> dict[str, Any] | None:
    """How many subgroups are too many for figures of their own: of `values`, `shown` are, and the rest hold `rows`."""
    ranked = Counter(_cells(values).tolist()).most_common()
    rest = ranked[SLICES:]
    if not rest:
        return None
    return {"column": column, "values": len(ranked), "shown": SLICES, "rows": sum(n for _, n in rest)}


def _cells(values: Sequence[Any]) -> NDArray[np.object_]:
    return np.array(["(empty)" if value is None or value == "" else str(value) for value in values], dtype=object)


def plain(found: Mapping[str, Estimate]) -> dict[str, dict[str, Any]]:
    """Estimates as plain JSON."""
    return {name: asdict(estimate) for name, estimate in found.items()}
