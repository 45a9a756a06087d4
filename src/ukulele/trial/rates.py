"""The rate of training, chosen on validation. The frozen part is stored, so trying one costs what is trained alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ukulele.events import Said
from ukulele.loop.train import NotFiniteError
from ukulele.strategies import rates, scratch
from ukulele.trial.attempt import attempt
from ukulele.trial.context import Context, is_still
from ukulele.types import Candidate


def tuned_rate(candidate: Candidate, context: Context) -> Candidate:
    """The candidate at the rate that validation likes best after a third of the epochs; of equals that of less loss.

    What was tried is part of the decision, which a resumed run replays.
    """
    if context.options.rate != "auto" or is_still(candidate.plan) or not candidate.pretrained:
        return candidate

    def search() -> dict[str, Any]:
        tried = []
        for factor, plan in rates.search(candidate.plan):
            rate = rates.highest(plan)
            context.hear(Said(f"{candidate.name}: trying a rate of {rate:.3g}"))
            loss, score = _judged(replace(candidate, name=f"{candidate.name}-rate-{rate:.3g}", plan=plan), context)
            tried.append({"rate": rate, "factor": factor, "score": score, "loss": loss})
        best = max(tried, key=lambda one: (one["score"], -one["loss"]))
        return {
            "factor": best["factor"],
            "rate": best["rate"],
            "tried": [{k: v if math.isfinite(v) else None for k, v in one.items()} for one in tried],
        }

    found = context.decide(f"rate of {candidate.name}", search)
    scores = ("none" if one["score"] is None else f"{one['score']:.4f}" for one in found["tried"])
    said = ", ".join(f"{score} at {one['rate']:.3g}" for score, one in zip(scores, found["tried"], strict=True))
    context.hear(Said(f"{candidate.name}: a rate of {found['rate']:.3g}; on validation {said}"))
    return replace(candidate, plan=rates.scaled(candidate.plan, found["factor"]))


def tuned_scratch(candidate: Candidate, context: Context) -> Candidate:
    """The candidate at the rate that validation likes best after a third of the epochs."""
    if context.options.given_rate is not None and candidate.role == "rung":
        return candidate
    slow = context.boxes or context.writes
    if slow and context.options.controls != "all":  # three more of them would outlast all the rest
        return candidate

    kind = "boxes" if context.boxes else "writing" if context.writes else context.data.modality

    def search() -> float:
        scores = {}  # of equal ones that with less loss is better
        for plan in scratch.search(candidate.plan, kind):
            rate = plan.phases[0].groups[0].rate
            context.hear(Said(f"scratch: trying a rate of {rate:g}"))
            loss, score = _judged(replace(candidate, name=f"{candidate.name}-{rate:g}", plan=plan), context)
            scores[rate] = (score, -loss)
        return max(scores, key=lambda rate: scores[rate])

    return replace(candidate, plan=scratch.at_rate(candidate.plan, context.decide("scratch rate", search)))


def _judged(candidate: Candidate, context: Context) -> tuple[float, float]:
    """(loss, score) on validation; the worst there is where training came to no number: that rate is too high."""
    try:
        outcome = attempt(candidate, context)
    except NotFiniteError as error:
        context.hear(Said(f"{candidate.name}: {error.message}"))
        return math.inf, -math.inf
    loss, score = outcome.feed.judge(outcome.cut).joint()
    return (loss, score) if math.isfinite(score) else (math.inf, -math.inf)
