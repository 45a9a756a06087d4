"""Which pre-trained model to transfer: every candidate sees some rows, frozen, and the scores of all are fused.

Many candidates, many rows or a short budget: successive halving. All begin on few rows; the better half goes on to
twice as many, with those that a round does not tell apart. What a round stored, and what runs stored, is never computed
again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ukulele import evaluate, rank
from ukulele.errors import ModelError, UkuleleError
from ukulele.events import Progress, Said
from ukulele.loop.truth import Numbers
from ukulele.rank import Scores
from ukulele.tools.bootstrap import draws_for, resamples, together
from ukulele.tools.bootstrap import values as many
from ukulele.trial.context import Context
from ukulele.trial.drawing import A_CLASS, enough, sample
from ukulele.trial.evidence import (
    AVERAGE,
    Floats,
    Held,
    Seen,
    clearly_best,
    learns,
    load,
    probed,
    refuse_unprobed,
    stage_scores,
    through,
)
from ukulele.trial.glimpse import Clock, Glimpse, Limits, glimpse
from ukulele.trial.neighbourhood import nearest, source_scores
from ukulele.types import Model, Task

FEW = 6  # candidates that all see every row, where those are few
ALL_ROWS = 20_000  # up to which every row may be seen
FIRST_ROWS, MOST_ROWS = 500, 5000  # of the first round, more where classes are many; and of a sample
LEAST_ROWS = 40  # of a round, however short the budget
WEIGHTS: Mapping[str, float] = {
    "probe": 1.0, "kNN": 0.5, "LogME": 0.25, "H-score": 0.25, "LEEP": 0.125, "NCE": 0.125, "prior": 0.125,
}  # fmt: skip
HALF = 0.5
NOT_LOOKED_AT = "not looked at", "time was up"
OVER = 1.1  # times the time that was meant, beyond which it is said
TIED = 1e-9  # regrets that differ by less are the same


@dataclass
class Candidacy:
    """A candidate on its way through the rounds. `tables` are row statistics by task and score, of the last round."""

    name: str
    status: str = "ranked"  # or "dropped", "refused", "over the limit", "not looked at"
    why: str = ""
    rows: int = 0
    about: Glimpse | None = None
    layer: str = ""
    layers: list[dict[str, Any]] = field(default_factory=list)
    average: tuple[float, float] | None = None  # of texts: a probe's gain on the average of all layers, and its error
    held: dict[str, Held] = field(default_factory=dict)
    near: dict[str, dict[int, Floats]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    fused: float = math.nan
    regret: float = math.nan
    seconds: float = 0.0
    loading: float = 0.0  # seconds of it, each time
    cost: float = 0.0  # seconds a row beside it: at first of the pass and as much again, then as a round had it


@dataclass(frozen=True)
class Ranking:
    """The candidates, best first, those that were not ranked last."""

    candidates: tuple[Candidacy, ...]
    rounds: tuple[dict[str, Any], ...]
    tasks: Mapping[str, Task]
    seconds: float
    limit: float | None = None  # of the seconds

    @property
    def best(self) -> Candidacy:
        """The one to choose."""
        return self.candidates[0]

    @property
    def ranked(self) -> list[Candidacy]:
        """Those that have scores."""
        return [one for one in self.candidates if one.held]


def rank_models(names: Sequence[str], context: Context, limits: Limits | None = None) -> Ranking:
    """Rank pre-trained models by how well they are going to transfer to the training rows. Trains none of them.

    Parameters
    ----------
    names
        As `--model` takes them.
    context
        The data, the tasks, and the cache that runs read, too.
    limits
        What an answer may cost, and the seconds that ranking may take.

    Raises
    ------
    ModelError
        If no candidate can be used.
    """
    refuse_unprobed(context)
    limits = limits or Limits()
    clock = Clock(limits.budget, context.engine.agree)
    candidates = [Candidacy(name) for name in dict.fromkeys(names)]
    running = _seen_once(candidates, context, limits, clock)
    if not running:
        reasons = "\n- ".join(f"{one.name}: {one.why}" for one in candidates)
        raise ModelError(f"no candidate can be used:\n- {reasons}", hint="`uke models` lists what is here.")
    found, rounds = _in_rounds(running, context, limits, clock)
    out = [one for one in candidates if one.status != "ranked"]
    return Ranking((*found, *out), tuple(rounds), context.tasks, clock.passed, limits.budget)


# ---------------------------------------------------------------- rounds


def _seen_once(candidates: Sequence[Candidacy], context: Context, limits: Limits, clock: Clock) -> list[Candidacy]:
    """Those that can be loaded and are within the limits, timed on a few rows, in half of the time: a round has to load
    them again.
    """
    running: list[Candidacy] = []
    for number, one in enumerate(candidates):
        if running and clock.left < HALF * (limits.budget or 0):
            one.status, one.why = NOT_LOOKED_AT
            continue
        began = time.perf_counter()
        try:
            model = _loaded(one.name, context)
            one.loading = time.perf_counter() - began
            one.about = glimpse(model, context)
            one.cost = one.about.seconds_a_row / HALF
        except UkuleleError as error:
            one.status, one.why = "refused", error.message
            context.hear(Said(f"{one.name}: {error.message}", "warning"))
            continue
        if over := limits.over(one.about):
            one.status, one.why = "over the limit", over
            continue
        running.append(one)
        context.hear(Progress("look", number + 1, len(candidates)))
    return running


def _in_rounds(
    running: Sequence[Candidacy], context: Context, limits: Limits, clock: Clock
) -> tuple[list[Candidacy], list[dict[str, Any]]]:
    """The candidates, best first, those that were dropped behind those of the last round; and the rounds."""
    order, ahead, dropped, rounds, rows = list(running), list(running), list[Candidacy](), list[dict[str, Any]](), 0
    for number, wanted in enumerate(schedule := _schedule(running, context, limits)):
        more = _affordable(wanted, ahead, context, clock, len(schedule) - number)
        if more <= rows:
            continue  # the same rows would say the same again
        scored = _round(ahead, more, context, clock)
        if rounds and len(scored) < len(ahead):
            context.hear(Said(f"time was up on {scored[0].rows:,} rows: the order is that of {order[0].rows:,}"))
            break
        for one in order[len(ahead) :]:
            one.status, one.why = "dropped", f"behind the better half on {one.rows:,} rows"
        dropped = order[len(ahead) :] + dropped
        order, rows = scored, more
        rounds.append({"rows": scored[0].rows, "models": [one.name for one in order]})
        ahead = order[: _kept(order, context)] if number + 1 < len(schedule) else order
    found = order + dropped
    for one in running:
        if one.name not in {scored.name for scored in found}:
            one.status, one.why = NOT_LOOKED_AT
    return found, rounds


def _loaded(name: str, context: Context) -> Model:
    """The model; of several, memory holds one at a time."""
    context.pristine.clear()
    return load(name, context)


def _schedule(running: Sequence[Candidacy], context: Context, limits: Limits) -> list[int]:
    """The rows of each round; more than there are means all."""
    every = len(context.data.splits["train"])
    last = every if every <= ALL_ROWS else MOST_ROWS
    cheap = limits.budget is None or last * sum(one.cost for one in running) < limits.budget
    rows = min(max(FIRST_ROWS, A_CLASS * _outputs(context)), MOST_ROWS)
    if cheap and (len(running) <= FEW or every <= rows):
        return [last]
    rounds, left = [], len(running)
    while left > 2 and rows < last:
        rounds.append(rows)
        rows, left = rows * 2, math.ceil(left * HALF)
    return [*rounds, last]


def _kept(running: Sequence[Candidacy], context: Context) -> int:
    """How many of them, best first, go on: the better half, and those that are tied with its last."""
    kept = half = max(2, math.ceil(len(running) * HALF))
    while kept < len(running) and running[kept].regret - running[kept - 1].regret < TIED:
        kept += 1
    if half < kept == len(running):
        context.hear(Said(f"{running[0].rows:,} rows do not tell these models apart: none is dropped"))
    return kept


def _affordable(rows: int, running: Sequence[Candidacy], context: Context, clock: Clock, rounds: int) -> int:
    """As many of the rows as the next of some rounds to come can see in its share of the time that is left."""
    left = clock.left / rounds
    if math.isinf(left):
        return rows
    cost, loading = sum(one.cost for one in running), sum(one.loading for one in running)
    most = (left - loading) / max(cost, 1e-9)
    fewest = min(len(context.data.splits["train"]), max(LEAST_ROWS, 2 * _outputs(context)))
    return rows if most >= rows else max(fewest, int(most))


def _outputs(context: Context) -> int:
    return max(len(target.labels) for target in context.data.targets)


def _rows(context: Context, rows: int) -> Numbers:
    """A sample in which classes keep their shares; a larger one holds every smaller one."""
    every = len(context.data.splits["train"])
    if rows >= every:
        return np.arange(every)
    return sample(context, rows)


def _round(running: Sequence[Candidacy], rows: int, context: Context, clock: Clock) -> list[Candidacy]:
    """The candidates on some rows, best first; those alone for which there was time, and one at least."""
    sample = _rows(context, rows)
    numbers = None if len(sample) == len(context.data.splits["train"]) else sample
    scored: list[Candidacy] = []
    for one in map(replace, running):  # copies: where there is no time for all, the round before stands
        if scored and clock.left < 0:
            break
        began = time.perf_counter()
        context.hear(Said(f"{one.name} on {len(sample):,} rows"))
        _score(one, through(_loaded(one.name, context), context, numbers), context)
        took = time.perf_counter() - began
        one.rows, one.seconds = len(sample), one.seconds + took
        one.cost = max(one.cost, (took - one.loading) / len(sample))
        scored.append(one)
    _fuse(scored)
    return sorted(scored, key=lambda one: (one.regret, -one.fused))


# ---------------------------------------------------------------- scores


def _score(one: Candidacy, seen: Seen, context: Context) -> None:
    """Everything that the features of a model say of the rows."""
    seed, tasks = context.options.seed, context.tasks
    scores = stage_scores(seen.stages, seen.truth, tasks, seed)
    one.layers = [{"stage": stage, **score} for stage, score in scores.items()]
    one.layer = clearly_best(scores, seen.last) or seen.last
    x = seen.stages[one.layer].float()
    whole = x if seen.average is None else seen.average  # of texts, scores without training like all layers better
    one.held, one.near, found = {}, {}, []
    for name, task in tasks.items():
        numbers, values = enough(seen.truth.numbers(name), task, seen.truth.values(name), seed)
        groups = seen.truth.groups(numbers)
        one.held[name] = probed(x[numbers], task, values, seed, groups, seen.truth.clusters(numbers))
        one.near[name] = nearest(whole[numbers], task, values, groups)
        found.append(source_scores(whole[numbers], task, values, seen.own, numbers))
    one.scores = {score: float(np.mean([scores[score] for scores in found])) for score in _common(found)}
    if seen.average is not None:
        mean = stage_scores({AVERAGE: seen.average}, seen.truth, tasks, seed)[AVERAGE]
        one.average = (mean["value"], mean["error"])
        one.layers.append({"stage": AVERAGE, **mean})
    if one.about is not None:
        one.scores["prior"] = rank.prior(one.about.parameters, one.about.source_task)


def _common(found: Sequence[Mapping[str, float]]) -> list[str]:
    return [score for score in found[0] if all(score in scores for scores in found)]


def _fuse(running: Sequence[Candidacy]) -> None:
    """Fused values and expected regrets, in the unit of the metric (the mean over tasks of it)."""
    probe = [_drawn(one, {name: held.table for name, held in one.held.items()}) for one in running]
    tables = [near for one in running for near in one.near.values()]
    ks = [k for k in tables[0] if all(k in near for near in tables)]  # a task with few rows has no large ones
    by_k = {k: [_drawn(one, {n: near[k] for n, near in one.near.items()}) for one in running] for k in ks}
    best = max(ks, key=lambda k: float(np.nanmean([value for value, _ in by_k[k]])))  # the same for all models
    fused_from = [_as_scores("probe", probe), _as_scores("kNN", by_k[best])]
    fused_from.sort(key=lambda scores: np.ptp(scores.values) == 0)  # the scale is that of one that tells them apart
    for one, (value, _), (near, _) in zip(running, probe, by_k[best], strict=True):
        one.scores |= {"probe": value, "kNN": near}
    for name in WEIGHTS:
        if name not in {"probe", "kNN"} and sum(name in one.scores for one in running) > 1:
            values = np.array([one.scores.get(name, math.nan) for one in running])
            fused_from.append(Scores(name, values, WEIGHTS[name]))
    fused = rank.fuse(fused_from)
    for one, value, regret in zip(running, fused.values, fused.regret, strict=True):
        one.fused, one.regret = float(value), float(regret)


def _as_scores(name: str, found: Sequence[tuple[float, Floats]]) -> Scores:
    drawn = [draws for _, draws in found]
    fewest = min(map(len, drawn))
    return Scores(
        name, np.array([value for value, _ in found]), WEIGHTS[name], np.stack([d[:fewest] for d in drawn], 1)
    )


def _drawn(one: Candidacy, tables: Mapping[str, Floats]) -> tuple[float, Floats]:
    """The metric, signed so that higher is better, on the rows and on resamples; the mean over tasks."""
    values, draws = [], []
    for name, table in tables.items():
        metric = one.held[name].task.metrics[0]
        sign = 1.0 if metric.higher_is_better else -1.0
        n = len(table)
        values.append(sign * metric.value(table, np.ones(n)))
        codes = evaluate.Groups.of(one.held[name].clusters).codes
        counts = together(resamples(n, draws_for(table.size), groups=codes), n)
        draws.append(sign * np.concatenate([many(metric, table, some) for some in counts]))
    fewest = min(map(len, draws))
    return float(np.mean(values)), np.mean([d[:fewest] for d in draws], axis=0)


# ---------------------------------------------------------------- as plain data


def plain(ranking: Ranking, context: Context) -> dict[str, Any]:
    """The ranking as plain JSON."""
    looks = 2 * sum(len(one.layers) for one in ranking.ranked)
    learnt = {name: _learnt(ranking, name, looks) for name in context.tasks}
    return {
        "data": context.data.name,
        "metric": {name: task.metrics[0].name for name, task in context.tasks.items()},
        "rows": len(context.data.splits["train"]),
        "chosen": ranking.best.name,
        "learnt": learnt,
        "models": [_plain(one, place) for place, one in enumerate(ranking.candidates, 1)],
        "rounds": list(ranking.rounds),
        "seconds": ranking.seconds,
        "limit_seconds": ranking.limit,
    }


def overrun(found: Mapping[str, Any]) -> str:
    """What is said where a ranking, as plain data, took clearly longer than it was meant to; else nothing.

    >>> overrun({"seconds": 75.3, "limit_seconds": 60.0}), overrun({"seconds": 61, "limit_seconds": 60})
    ('It took 75 s, 60 were meant.', '')
    """
    took, limit = found["seconds"], found["limit_seconds"]
    if limit is None or took <= OVER * limit:
        return ""
    took, limit = (f"{value:,.0f}" if value >= 10 else f"{value:.2g}" for value in (took, limit))
    return f"It took {took} s, {limit} were meant."


def _learnt(ranking: Ranking, name: str, looks: int) -> dict[str, Any]:
    """Whether any candidate tells more of a task than answering the same for every row; None: the rows cannot tell."""
    held = ranking.best.held[name]
    same = evaluate.decisive(held.task, held.plain, held.clusters)
    return {
        "something": learns([one.held[name].gains for one in ranking.ranked], looks),
        "same_for_all": None if same is None else asdict(same),
    }


def _plain(one: Candidacy, place: int) -> dict[str, Any]:
    about = asdict(one.about) if one.about else {}
    expected = {}
    for name, held in one.held.items():
        found = evaluate.decisive(held.task, held.table, held.clusters)
        if found is not None:
            expected[name] = asdict(
                replace(found, method=f"probe on {one.layer}, cross-validated on {one.rows:,} rows; {found.method}")
            )
    regret = one.regret if one.status == "ranked" else None  # those of other rounds are of other rows and models
    scored = {
        "rank": place, "expected": expected, "regret": regret, "fused": one.fused, "layer": one.layer,
        "layers": one.layers, "scores": {name: _finite(value) for name, value in one.scores.items()},
        "rows": one.rows, "seconds": one.seconds,
    }  # fmt: skip
    return {"model": one.name, "status": one.status, "why": one.why, **about, **(scored if one.held else {})}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
