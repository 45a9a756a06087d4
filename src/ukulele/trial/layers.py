"""Which stage's summary a probe should stand on: a probe on each tells."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ukulele import features
from ukulele.events import Said
from ukulele.loop.feed import Feed
from ukulele.loop.truth import Numbers
from ukulele.trial.context import Context
from ukulele.trial.evidence import clearly_best, stage_scores
from ukulele.types import Candidate


def best_layer(candidate: Candidate, context: Context, ahead: int, spent: dict[str, float]) -> str | None:
    """The stage to stop at, or None for the last; an inner one must be better by more than two standard errors.

    The seconds that encoding and choosing took are put into `spent`. Where nothing can be held out, none are.
    """
    truth = context.truth("train")
    if not any(task.kind != "classify" or repeats(truth.classes(name)) for name, task in context.tasks.items()):
        context.hear(Said("the probe stands on the last stage: most classes have a single training row"))
        return None
    scores = layer_scores(candidate, context, ahead, spent)
    last = list(scores)[-1]
    best = clearly_best(scores, last)
    context.run.manifest["layers"] = [{"stage": stage, **score} for stage, score in scores.items()]
    if best is None:
        return None
    context.hear(
        Said(f"the probe stands on {best}: {scores[best]['value']:.3f} there, {scores[last]['value']:.3f} at the end")
    )
    return best


def repeats(classes: Sequence[Numbers]) -> bool:
    """Whether most rows have another of their class, so that one can be held out and still be learned.

    >>> import numpy as np
    >>> repeats([np.array([0, 1]), np.array([2])]), repeats([np.array([0]), np.array([1])])
    (True, False)
    """
    told = sum(len(rows) for rows in classes if len(rows) > 1)
    return told >= max(2, sum(map(len, classes)) / 2)


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
    stages = features.summaries(feed.pooled("train"))
    encoded = time.perf_counter()
    found = stage_scores(stages, feed.truth("train"), context.tasks, context.options.seed)
    spent |= {"encode": encoded - began, "choose layer": time.perf_counter() - encoded}
    return found


def choose_layer(candidate: Candidate, context: Context, ahead: int, spent: dict[str, float]) -> str | None:
    """The stage whose summary the probe stands on: the last, or an inner one that is clearly better.

    The seconds of that are put into `spent`.
    """
    match context.options.layer:
        case "last":
            return None
        case "auto":
            return (
                context.decide("layer", lambda: best_layer(candidate, context, ahead, spent)) if context.taps else None
            )
        case stage:
            return stage
