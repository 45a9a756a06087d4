"""A learning curve from probes on nested subsets of features that are stored, and what more labels would bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ukulele import evaluate
from ukulele.diagnose.curve import LEVEL, between, fit_curve, rows_for
from ukulele.loop.probing import pick, probe_search, probe_targets
from ukulele.loop.truth import Numbers
from ukulele.tools.bootstrap import resamples, together
from ukulele.tools.bootstrap import values as many
from ukulele.tools.probe import Score, Search, by_strength, held_out, stratified_folds
from ukulele.trial.context import Context
from ukulele.trial.drawing import outputs, spread_rows
from ukulele.trial.evidence import Floats, as_asked, constant, gains_over, learns, probed, tabled
from ukulele.trial.outcome import Outcome
from ukulele.types import Metric, Task

POINTS = 10  # sizes at most: from the largest down, each by a factor of √2
QUICK = 6  # sizes of a quick curve, each by a factor of 2
SMALLEST = 8  # rows
FOLDS, INNER, DRAWS = 5, 3, 200
ANSWERS, QUICK_ANSWERS = 150_000, 1500  # rows times outputs up to which every fold is scored
MANY = 10_000  # rows up to which a run measures a curve
LEARNT = 2000  # rows that show whether anything is learnt
WORK = 4_000_000  # rows times features times outputs, up to which it does
SMALL = 0.01  # of a metric between 0 and 1: less is no gain worth labels; of one of which less is better
SMALL_SHARE = 0.02  # it is a share of its present value, which has a unit
AHEAD = (2, 4)  # times the rows
GAINS = (0.01, 0.02, 0.05)  # of a metric of which less is better, shares of its present value
STRENGTHS, QUICK_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0), (1e-2, 1e-1)


@dataclass(frozen=True)
class Curve:
    """Scores (higher is better) by the rows of the training subset, and their draws (draws, sizes)."""

    sizes: tuple[int, ...]
    scores: tuple[float, ...]
    draws: Floats
    learnt: bool | None  # whether some of the rows tell more than nothing; see `Held.learnt`
    rows: int  # labelled rows that there are
    scored: int  # on how many of them each score rests
    measured: int  # labelled rows that were looked at: all, or a sample


def measure(
    x: Tensor,
    task: Task,
    values: Sequence[Any],
    seed: int,
    groups: Numbers | None = None,
    clusters: Numbers | None = None,
    *,
    quick: bool = False,
) -> Curve:
    """Probes on nested subsets of the rows, each scored on the fold held out of it, so that every row is scored once.

    Parameters
    ----------
    x
        Features (n, d) of rows that all have a target.
    groups
        Numbers of the rows: a group is held out whole, and a subset is one of groups.
    clusters
        Of these groups those that `--group` names: the scored rows are drawn again by them.
    quick
        Half as many sizes, of many rows only a part is scored (a fold or some of the five), and whether anything is
        learnt is not asked.
    """
    y, weights, classes = probe_targets(task, values)
    spread = spread_rows(values, seed)
    order = torch.from_numpy(spread if groups is None else _by_group(spread, groups))
    fold = torch.empty(len(y), dtype=torch.long)
    fold[order] = torch.arange(len(y)) % FOLDS
    search = replace(probe_search(task, None, seed, groups), metric="log_loss")
    if groups is not None:
        fold = stratified_folds(y, FOLDS, seed, search.groups)
    room = (QUICK_ANSWERS if quick else ANSWERS) / (len(y) * outputs(task))
    folds = min(int(fold.max()) + 1, max(1, round(FOLDS * room)))
    search = replace(search, strengths=None if classes is None else QUICK_STRENGTHS if quick else STRENGTHS)
    held = [order[fold[order] == f] for f in range(folds)]
    rest = [order[fold[order] != f] for f in range(folds)]  # any beginning of it has its share of every class
    sizes = sizes_of(min(len(r) for r in rest), quick=quick)
    scored = torch.cat(held)
    answered = [values[i] for i in scored.tolist()]
    tables: list[Floats] = []
    for size in sizes:
        fits = []
        for train, test in zip(rest, held, strict=True):
            some, validation = train[:size], (x[test], y[test])
            given = None if weights is None else weights[some]
            within = search
            if len(held) == 1:  # no other fold tells which strength is best
                theirs = None if search.groups is None else search.groups[some]
                within = _chosen(x[some], y[some], classes, given, replace(search, groups=theirs))
            fits.append(by_strength(x[some], y[some], classes, validation, weights=given, search=within))
        tables.append(tabled(task, torch.cat(_unflattered(fits)), answered)[1])
    some = order[:LEARNT]
    bound, named = (None if of is None else of[some.numpy()] for of in (groups, clusters))
    learnt = None if quick else probed(x[some], task, [values[i] for i in some.tolist()], seed, bound, named).learnt
    drawn = None if clusters is None else clusters[scored.numpy()]
    return replace(curve_of(task.metrics[0], sizes, tables, len(y), drawn), learnt=learnt)


def _chosen(x: Tensor, y: Tensor, classes: int | None, weights: Tensor | None, search: Search) -> Search:
    """The search with the one strength that does best by cross-validation within some rows."""
    score, _ = held_out(x, y, classes, weights=weights, search=replace(search, folds=INNER))
    return replace(search, strengths=(score.strength,))


def _unflattered(fits: Sequence[tuple[Sequence[Score], Tensor]]) -> list[Tensor]:
    """Each fold's answers at the strength that does best on the other folds: never on the rows it is scored on."""
    losses = np.array([[score.loss * answers.shape[1] for score in scores] for scores, answers in fits])
    others = losses.sum(0) - losses if len(fits) > 1 else losses
    return [answers[int(best)] for (_, answers), best in zip(fits, others.argmin(1), strict=True)]


def _by_group(order: Numbers, groups: Numbers) -> Numbers:
    """The rows group by group, each at the place of its first row.

    >>> _by_group(np.array([2, 0, 3, 1]), np.array([7, 8, 8, 7])).tolist()
    [2, 1, 0, 3]
    """
    _, first, group = np.unique(groups[order], return_index=True, return_inverse=True)
    return order[np.argsort(first[group], kind="stable")]


def curve_of(
    metric: Metric, sizes: Sequence[int], tables: Sequence[Floats], rows: int, clusters: Numbers | None = None
) -> Curve:
    """The curve of a metric: a table of row statistics for each size, all of the same scored rows."""
    scores = [_signed(metric, table) for table in tables]
    return Curve(tuple(sizes), tuple(scores), _draws(metric, tables, clusters), None, rows, len(tables[0]), rows)


def sizes_of(most: int, *, quick: bool = False) -> list[int]:
    """The rows of the subsets, 2^(k/2) apart from the largest down; 2^k where it is to be quick.

    >>> sizes_of(64), sizes_of(64, quick=True)
    ([8, 11, 16, 23, 32, 45, 64], [8, 16, 32, 64])
    """
    steps = [float(k) for k in range(QUICK)] if quick else [k / 2 for k in range(POINTS)]
    return sorted({size for k in steps if (size := round(most / 2**k)) >= min(SMALLEST, most)})


def _signed(metric: Metric, table: Floats) -> float:
    value = metric.value(table, np.ones(len(table)))
    return value if metric.higher_is_better else -value


def _draws(metric: Metric, tables: Sequence[Floats], clusters: Numbers | None) -> Floats:
    """The metric on resampled rows (draws, sizes), or clusters of them: the same rows for all sizes."""
    n, sign = len(tables[0]), 1.0 if metric.higher_is_better else -1.0
    counts = together(resamples(n, DRAWS, groups=evaluate.Groups.of(clusters).codes), n)
    parts = [[many(metric, table, some) for table in tables] for some in counts]
    found = sign * np.concatenate([np.stack(part, 1) for part in parts])
    return found[~np.isnan(found).any(1)]


def of_probe(probe: Outcome, context: Context) -> dict[str, Any]:
    """The curves of a run's tasks, on the features that its probe stands on; empty where that would take long."""
    found = {}
    for name, task in context.tasks.items():
        if name not in probe.held:
            continue
        numbers, values = context.truth("train").numbers(name), context.truth("train").values(name)
        if not cheap(len(values), probe.model.width, task):
            continue
        x = pick(probe.feed.design("train"), numbers)
        if not isinstance(x, Tensor):  # counted words: a control that was asked for as a model
            continue
        groups, clusters = context.truth("train").groups(numbers), context.truth("train").clusters(numbers)
        curve = measure(x.float(), task, values, context.options.seed, groups, clusters, quick=True)
        y, _, classes = probe_targets(task, values)  # the probe's own answers for rows held out of it
        gains = gains_over(constant(task, y, classes), as_asked(task, probe.held[name], values), y, clusters)
        curve = replace(curve, learnt=learns([gains]))
        found[name] = told(curve, task)
    return found


def cheap(rows: int, width: int, task: Task) -> bool:
    """Whether a curve takes no more than a moment beside a run."""
    return rows <= MANY and rows * min(rows, width) * outputs(task) <= WORK


# ---------------------------------------------------------------- what it says


def told(
    curve: Curve, task: Task, gains: Sequence[float] | None = None, how: str = "with the probe alone"
) -> dict[str, Any]:
    """The curve, what is expected of more rows, and which is scarcer, labels or knowledge; plain JSON.

    Scores are in the metric's own unit and direction; gains are better where positive, and in that unit; see `_wanted`
    for those that are looked for by default. `how` says in the advice by what the scores were reached.
    """
    metric = task.metrics[0]
    sign = 1.0 if metric.higher_is_better else -1.0
    spread = np.quantile(curve.draws, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0) if len(curve.draws) else None
    points = []
    for at, (size, score) in enumerate(zip(curve.sizes, curve.scores, strict=True)):
        ends = {} if spread is None else _ends(sign, float(spread[0][at]), float(spread[1][at]))
        points.append({"rows": size, "value": sign * score, **ends})
    found: dict[str, Any] = {
        "metric": metric.name, "higher_is_better": metric.higher_is_better, "rows": curve.rows,
        "measured_rows": curve.measured, "level": LEVEL,
        "points": points, "no_further_gain": sign * curve.scores[-1], "learnt": curve.learnt,
    }  # fmt: skip
    fit = fit_curve(curve.sizes, curve.draws, curve.scores, 1.0 if metric.higher_is_better else 0.0, curve.scored)
    if fit is None:
        return {**found, "expected": [], "more": [], "advice": _too_few(curve)}
    n = curve.rows
    line = [n * 2 ** (k / 2) for k in range(5)]  # to four times the rows
    found["line"] = [{"rows": round(rows), **_turned(sign, between(fit.at(rows)))} for rows in line]
    found["expected"] = [
        {"rows": times * n, **_turned(sign, between(fit.at(times * n))), "gain": between(fit.at(times * n) - fit.at(n))}
        for times in AHEAD
    ]
    now = abs(float(np.median(fit.at(n))))
    found["more"] = [one | rows_for(fit, n, one["gain"]) for one in _wanted(gains, metric, now)]
    advice = _advice(found, now, metric, how)
    if curve.measured < n:
        advice["advice"] += f" The curve is measured on {curve.measured:,} of {n:,} rows."
    return {**found, **advice}


def _turned(sign: float, estimate: Mapping[str, float]) -> dict[str, float]:
    return {"value": sign * estimate["value"], **_ends(sign, estimate["low"], estimate["high"])}


def _ends(sign: float, low: float, high: float) -> dict[str, float]:
    low, high = sorted((sign * low, sign * high))
    return {"low": low, "high": high}


def _too_few(curve: Curve) -> str:
    return f"{curve.rows} labelled rows are too few for a curve: label more, and look again."


def _wanted(gains: Sequence[float] | None, metric: Metric, now: float) -> list[dict[str, float]]:
    """The gains that are looked for, in the metric's unit: those that were asked for, or else those of `GAINS`."""
    if gains is not None:
        return [{"gain": gain} for gain in gains]
    if metric.higher_is_better:
        return [{"gain": gain} for gain in GAINS]
    return [{"gain": share * now, "share": share} for share in GAINS if now > 0]


def figure(value: float) -> str:
    """A number that may have any unit, in about three digits.

    >>> figure(0.12), figure(23412.3), figure(0.00042), figure(-1e-12)
    ('0.120', '23,412', '0.00042', '0')
    """
    far = abs(value)
    if far < 0.1:
        return "0" if far < 1e-9 else f"{value:.2g}"
    return f"{value:,.{0 if far >= 1000 else 1 if far >= 10 else 3}f}"


def _advice(found: Mapping[str, Any], now: float, metric: Metric, how: str) -> dict[str, str]:
    """Which is the bottleneck: labels, the model, or neither clearly."""
    gain = found["expected"][-1]["gain"]
    small = SMALL if metric.higher_is_better else SMALL_SHARE * now
    rows = f"four times the labels ({4 * found['rows']:,} rows)"
    if metric.higher_is_better:
        change, (value, low, high) = "change", (f"{gain[end]:+.3f}" for end in ("value", "low", "high"))
    else:
        change, (value, low, high) = "lower", (figure(gain[end]) for end in ("value", "low", "high"))
    by = f"{value} ({low} to {high})"
    if found["learnt"] is False:
        text = (
            "The probe tells nothing of the target: neither labels nor a larger model are the first thing to look at."
        )
        return {"bottleneck": "nothing-learnt", "advice": text}
    if gain["low"] >= small:
        text = f"Labels: {rows} are expected to {change} {metric.name} by {by} {how}."
        return {"bottleneck": "labels", "advice": text}
    if gain["high"] < small:
        text = (
            f"The model: {rows} are expected to {change} {metric.name} by no more than {high}. Another "
            "model (uke choose), or training its stages (uke fit), has more to give."
        )
        return {"bottleneck": "model", "advice": text}
    text = f"Not clear: {rows} are expected to {change} {metric.name} by {by}; the interval holds much and little."
    return {"bottleneck": "unclear", "advice": text}
