"""What a budget left untried or cut short, and how much more time it would take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ukulele.types import Finding

STRETCHES = ((3600, "h"), (60, "m"), (1, "s"))
Step = Mapping[str, Any]


def beyond_budget(steps: Sequence[Step], budget: float | None) -> list[Finding]:
    """The first rung of the ladder that was too dear, the rungs that had fewer epochs than usual, and the same of
    controls and groups.

    `steps` are those of the record's `ladder`.
    """
    if budget is None:
        return []
    rungs, controls, groups = (
        [s for s in steps if s.get("role", "rung") == role] for role in ("rung", "control", "group")
    )
    return [*_climbed(rungs, budget), *_proved(controls, budget), *_grouped(groups, budget)]


def _climbed(steps: Sequence[Step], budget: float) -> list[Finding]:
    found = []
    dear = next((s for s in steps if not s["taken"] and s.get("predicted_seconds") is not None), None)
    if dear is not None:
        message = f"{dear['name']} was not tried: {dear['why']}."
        found.append(Finding("info", "beyond-budget", message, _costs([dear])[0], _more([dear], budget)))
    for step in steps:
        if _short(step):
            few = f"{step['epochs']} of {step['planned_epochs']} epochs fitted the budget"
            found.append(
                Finding(
                    "info",
                    "fewer-epochs",
                    f"{step['name']}: {'time was up before the end' if step.get('stopped') else few}.",
                    _epochs([step])[0],
                    "A larger --budget may make it better.",
                )
            )
    return found


def _proved(steps: Sequence[Step], budget: float) -> list[Finding]:
    """Controls that had less than what they are there for: a comparison with them says less, or cannot be made."""
    found = []
    if short := [step for step in steps if _short(step)]:
        message = f"{_sentence(_had('control', short))}: what {_they(short)} could have reached is not known"
        if any(step.get("tasks") for step in short):
            message += f", and Δm and the suggested groups compare with {_them(short)}"
        advice = "A larger --budget gives controls more of their epochs."
        found.append(Finding("warning", "control-fewer-epochs", f"{message}.", {"controls": _epochs(short)}, advice))
    if left := [step for step in steps if not step["taken"]]:
        message = f"{_sentence(_left('control', left))}: what {_they(left)} would have reached is not known"
        if any(step.get("tasks") for step in left):
            message += f", and Δm and the suggested groups go without {_them(left)}"
        evidence = {"controls": _costs(left)}
        found.append(Finding("info", "control-left-out", f"{message}.", evidence, _more(left, budget)))
    return found


def _grouped(steps: Sequence[Step], budget: float) -> list[Finding]:
    """Groups of tasks that did not fit, or had fewer epochs than the model for all."""
    found = []
    if short := [step for step in steps if _short(step)]:
        message = f"{_sentence(_had('group', short))}: what {_they(short)} could have reached is not known."
        advice = "A larger --budget gives groups more of their epochs."
        found.append(Finding("info", "group-fewer-epochs", message, {"groups": _epochs(short)}, advice))
    if left := [step for step in steps if not step["taken"]]:
        message = f"One model for all tasks is kept: {_left('group', left)}."
        found.append(Finding("warning", "group-left-out", message, {"groups": _costs(left)}, _more(left, budget)))
    return found


def _they(steps: Sequence[Step]) -> str:
    return "it" if len(steps) == 1 else "they"


def _them(steps: Sequence[Step]) -> str:
    return "it" if len(steps) == 1 else "them"


def _short(step: Step) -> bool:
    return bool(step["taken"] and (step["epochs"] < step["planned_epochs"] or step.get("stopped")))


def _had(what: str, steps: Sequence[Step]) -> str:
    return "; ".join(f"the {what} {s['name']} had {s['epochs']} of {s['planned_epochs']} epochs" for s in steps)


def _left(what: str, steps: Sequence[Step]) -> str:
    return "; ".join(f"the {what} {s['name']} was left out ({s['why']})" for s in steps)


def _sentence(said: str) -> str:
    return said[0].upper() + said[1:]


def _epochs(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [{name: step[name] for name in ("name", "epochs", "planned_epochs")} for step in steps]


def _costs(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [{name: step[name] for name in ("name", "predicted_seconds", "left_seconds")} for step in steps]


def _more(steps: Sequence[Step], budget: float) -> str:
    """Within which budget all of them would have been fitted, where that was measured."""
    if any(step.get("predicted_seconds") is None for step in steps):
        return "Give a larger --budget."
    needed = budget - min(s["left_seconds"] for s in steps) + sum(s["predicted_seconds"] for s in steps)
    return (
        f"With about --budget {_stretch(1.2 * needed)} there would be room for {'it' if len(steps) == 1 else 'them'}."
    )


def _stretch(seconds: float) -> str:
    """A stretch of time as an option takes it, rounded up.

    >>> [_stretch(seconds) for seconds in (7.2, 130, 4000)]
    ['8s', '3m', '2h']
    """
    size, letter = next(((size, letter) for size, letter in STRETCHES if seconds >= size), STRETCHES[-1])
    return f"{math.ceil(seconds / size)}{letter}"
