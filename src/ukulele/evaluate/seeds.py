"""Several seeds of one plan on the same test rows: numbers and verdicts that know of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ukulele.evaluate.grouped import Groups, within
from ukulele.evaluate.tests import ALPHA, RESAMPLED, p_of_draws
from ukulele.tools.bootstrap import around, draws_for, resamples, together
from ukulele.tools.bootstrap import values as many
from ukulele.types import Estimate, Metric, Verdict

Tables = Sequence[NDArray[np.float64]]


def over_seeds(
    metrics: Mapping[str, Sequence[Metric]], tables: Tables, groups: ArrayLike | None = None
) -> dict[str, Estimate]:
    """The mean of each metric over seeds, with a 95 % interval by hierarchical bootstrap: seeds and rows are drawn.

    Parameters
    ----------
    metrics
        By name, the metric as each seed has it.
    tables
        Row statistics (n, k) of the same rows, of each seed.
    groups
        Of each row (n,) its group, whose rows are drawn together; None: each row is by itself.

    Returns
    -------
    dict
        By metric; one that is not defined for each seed is left out.
    """
    known, rows = _known(tables, tables[0]), Groups.of(groups, ~np.isnan(tables[0][:, 0]))
    found = {}
    for name, of in metrics.items():
        value = _value(of, known)
        if not np.isnan(value):
            low, high = around(_drawn(of, known, rows), value)
            if rows.codes is not None:
                low, high = within(of[0], *rows.widened(value, low, high))
            method = _method(len(known), _draws(known), rows)
            found[name] = Estimate(value, low, high, len(known[0]), method, rows.count)
    return found


def compare_seeds(
    metric: Metric, ours: Tables, theirs: Tables, against: str, groups: ArrayLike | None = None
) -> Verdict:
    """Whether the mean over our seeds is better than another model on the same rows; as `compare`.

    `theirs` is one table, or one for each of our seeds; the same seeds are then drawn of both.
    """
    if len(theirs) not in {1, len(ours)}:
        raise ValueError(f"{len(theirs)} tables against {len(ours)} seeds: one is expected, or one a seed")
    by = ours[0]
    rows = Groups.of(groups, ~np.isnan(by[:, 0]))
    mine, other = _known(ours, by), _known(theirs, by)
    sign = 1.0 if metric.higher_is_better else -1.0
    value = sign * (_value([metric] * len(mine), mine) - _value([metric] * len(other), other))
    n, draws = len(mine[0]), _draws(mine)
    if np.isnan(value):
        return Verdict(
            "inconclusive", against, metric.name, Estimate(0.0, 0.0, 0.0, n, "the metric is not defined on these rows")
        )
    gap = sign * (_drawn([metric] * len(mine), mine, rows) - _drawn([metric] * len(other), other, rows, draws))
    low, high = rows.widened(value, *around(gap, value))
    p = rows.p(p_of_draws(gap))
    outcome: Literal["helped", "hurt", "inconclusive"] = "inconclusive"
    if p < ALPHA:
        outcome = "helped" if low > 0 else "hurt" if high < 0 else "inconclusive"
    gained = Estimate(value, low, high, n, f"paired, {_method(len(mine), draws, rows)}", rows.count)
    return Verdict(outcome, against, metric.name, gained, p, f"{RESAMPLED} over seeds and {rows.unit}")


def _known(tables: Tables, by: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The rows that have a true value, each column in one piece."""
    return [np.asfortranarray(table[~np.isnan(by[:, 0])]) for table in tables]


def _draws(tables: Tables) -> int:
    return draws_for(2 * sum(table.size for table in tables))


def _value(metrics: Sequence[Metric], tables: Tables) -> float:
    ones = np.ones(len(tables[0]))
    return float(np.mean([metric.value(table, ones) for metric, table in zip(metrics, tables, strict=True)]))


def _drawn(metrics: Sequence[Metric], tables: Tables, groups: Groups, draws: int | None = None) -> NDArray[np.float64]:
    """The mean over drawn seeds on drawn rows, for each draw; the same rows for every model that is asked so."""
    n, draws = len(tables[0]), draws or _draws(tables)
    parts = [
        np.stack([many(metric, table, counts) for metric, table in zip(metrics, tables, strict=True)])
        for counts in together(resamples(n, draws, groups=groups.codes), n)
    ]
    return mean_of_drawn(np.concatenate(parts, 1))


def mean_of_drawn(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over seeds drawn with replacement (draws,), values (seeds, draws); always the same seeds."""
    picked = np.random.default_rng(1).integers(0, len(values), values.shape)
    means: NDArray[np.float64] = np.take_along_axis(values, picked, 0).mean(0)
    return means


def _method(seeds: int, draws: int, groups: Groups) -> str:
    over = f"hierarchical percentile bootstrap over seeds and {groups.said}"
    return f"mean of {seeds} seeds, {over}, {draws:,} draws, 95 %"
