"""Which stage's summary a probe should stand on: a probe on each tells."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ukulele.attempt import Context
from ukulele.events import Said
from ukulele.features import TAP
from ukulele.feed import Feed, pick, probe_search, probe_targets
from ukulele.tools.probe import Score, score_layers
from ukulele.types import Candidate

ROWS, FOLDS = 2000, 3  # enough to tell stages apart, and quick with many classes


def best_layer(candidate: Candidate, context: Context, ahead: int, spent: dict[str, float]) -> str | None:
    """The stage to stop at, or None for the last; an inner one must be better by more than two standard errors.

    The seconds that encoding and choosing took are put into `spent`.
    """
    scores = layer_scores(candidate, context, ahead, spent)
    last = list(scores)[-1]
    best = max(scores, key=lambda stage: float(scores[stage]["value"]))
    context.run.manifest["layers"] = [{"stage": stage, **score} for stage, score in scores.items()]
    clear = scores[best]["value"] - scores[last]["value"] > 2 * max(scores[best]["error"], scores[last]["error"])
    if best == last or not clear:
        return None
    context.hear(
        Said(f"the probe stands on {best}: {scores[best]['value']:.3f} there, {scores[last]['value']:.3f} at the end")
    )
    return best


def layer_scores(
    candidate: Candidate, context: Context, ahead: int, spent: dict[str, float]
) -> dict[str, dict[str, Any]]:
    """By stage, the cross-validated score of a probe on its summary, with a 95 % interval, on training rows."""
    began = time.perf_counter()
    model, _ = context.load(candidate)
    feed = Feed(
        model, {}, candidate.plan, context.tables(context.tasks), context.cache, context.engine, context.dtype,
        context.hear, model, context.run.decide, ahead=ahead, truths=context.truths,
    )  # fmt: skip
    source, truth = feed.pooled("train"), feed.truth("train")
    taps = source.stacks([field for field in source.fields if field.startswith(TAP)])
    encoded = time.perf_counter()
    found = []
    for name, task in context.tasks.items():
        y, weights, classes = probe_targets(task, truth.values(name))
        features = {field.removeprefix(TAP): pick(values, truth.numbers(name)) for field, values in taps.items()}
        search = replace(probe_search(task, None, context.options.seed), folds=FOLDS)
        found.append(score_layers(features, y, classes, weights=weights, search=search, rows=ROWS))
    spent |= {"encode": encoded - began, "choose layer": time.perf_counter() - encoded}
    return {stage: _shown([scores[stage] for scores in found]) for stage in found[0]}


def _shown(scores: Sequence[Score]) -> dict[str, Any]:
    """The mean over tasks, with its error."""
    value = sum(score.mean for score in scores) / len(scores)
    error = math.sqrt(sum(score.error**2 for score in scores)) / len(scores)
    return {"value": value, "error": error, "low": value - 1.96 * error, "high": value + 1.96 * error}
