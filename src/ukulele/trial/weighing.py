"""What each of several tasks' losses should count: static weights, chosen on validation."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from ukulele.events import Said
from ukulele.strategies import weights
from ukulele.trial.attempt import attempt
from ukulele.trial.context import Context, is_still
from ukulele.trial.outcome import Outcome
from ukulele.trial.together import delta_m
from ukulele.types import Candidate


def tuned_weights(candidate: Candidate, context: Context) -> Candidate:
    """The candidate with the weights that validation likes best after a third of the epochs.

    Tried are those given and, for each task, those with its weight raised; compared by the mean relative gain over
    those given. What was tried is part of the decision, which a resumed run replays.
    """
    names = list(context.asked(candidate))
    if context.options.weights != "tuned" or is_still(candidate.plan) or len(names) < 2:
        return candidate

    def search() -> dict[str, Any]:
        tried: list[dict[str, Any]] = []
        base: Outcome | None = None
        for what, plan in weights.search(candidate.plan, names):
            context.hear(Said(f"{candidate.name}: trying {weights.in_words(dict(plan.weights), names)}"))
            outcome = attempt(replace(candidate, name=f"{candidate.name}-{what}", plan=plan), context)
            base = base or outcome
            gain = delta_m(dict.fromkeys(names, outcome), dict.fromkeys(names, base), "validation")
            tried.append({"weights": dict(plan.weights), "gain": None if gain is None else asdict(gain)})
        best = max(tried, key=lambda one: one["gain"]["value"] if one["gain"] else float("-inf"))
        return {"weights": best["weights"], "tried": tried}

    found = context.decide(f"weights of {candidate.name}", search)
    for one in found["tried"][1:]:
        gain = one["gain"]
        said = f"{gain['value']:+.1f} % ({gain['low']:.1f} to {gain['high']:.1f})" if gain else "no metric has a value"
        context.hear(Said(f"{weights.in_words(one['weights'], names)}: {said} over those given, on validation"))
    context.hear(Said(f"{candidate.name}: {weights.in_words(found['weights'], names)}"))
    return replace(candidate, plan=weights.weighed(candidate.plan, found["weights"]))
