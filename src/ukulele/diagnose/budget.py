"""What a budget left untried, and how much more time it would take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ukulele.types import Finding

STRETCHES = ((3600, "h"), (60, "m"), (1, "s"))


def beyond_budget(steps: Sequence[Mapping[str, Any]], budget: float | None) -> list[Finding]:
    """The first rung of the ladder that was too dear, and the rungs that had fewer epochs than usual.

    `steps` are those of the record's `ladder`.
    """
    if budget is None:
        return []
    found = []
    dear = next((s for s in steps if not s["taken"] and s.get("predicted_seconds") is not None), None)
    if dear is not None:
        needed = budget - dear["left_seconds"] + dear["predicted_seconds"]
        evidence = {name: dear[name] for name in ("name", "predicted_seconds", "left_seconds")}
        found.append(
            Finding(
                "info",
                "beyond-budget",
                f"{dear['name']} was not tried: {dear['why']}.",
                evidence,
                f"With about --budget {_stretch(1.2 * needed)} it would be.",
            )
        )
    for step in steps:
        if step["taken"] and (step["epochs"] < step["planned_epochs"] or step.get("stopped")):
            few = f"{step['epochs']} of {step['planned_epochs']} epochs fitted the budget"
            found.append(
                Finding(
                    "info",
                    "fewer-epochs",
                    f"{step['name']}: {'time was up before the end' if step.get('stopped') else few}.",
                    {name: step[name] for name in ("name", "epochs", "planned_epochs")},
                    "A larger --budget may make it better.",
                )
            )
    return found


def _stretch(seconds: float) -> str:
    """A stretch of time as an option takes it, rounded up.

    >>> [_stretch(seconds) for seconds in (7.2, 130, 4000)]
    ['8s', '3m', '2h']
    """
    size, letter = next(((size, letter) for size, letter in STRETCHES if seconds >= size), STRETCHES[-1])
    return f"{math.ceil(seconds / size)}{letter}"
