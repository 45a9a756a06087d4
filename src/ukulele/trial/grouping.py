"""Which of several tasks should learn together: what they do to each other, and what validation says of the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ukulele import evaluate
from ukulele.events import Said
from ukulele.trial.context import Context
from ukulele.trial.outcome import Outcome
from ukulele.trial.together import delta_m, percent, signed, singles, versus
from ukulele.types import Candidate, Estimate, Verdict

Groups = tuple[tuple[str, ...], ...]
Fit = Callable[[Candidate, str], Outcome | None]  # a candidate, and what it is


@dataclass(frozen=True)
class Beside:
    """A task in the model for all beside a model of its own, on validation."""

    task: str
    together: float
    alone: float
    verdict: Verdict
    change: float  # in percent of the one alone; NaN where that is nothing

    def __str__(self) -> str:
        told = "" if self.verdict.outcome != "inconclusive" else ", which may be chance"
        return (
            f"{self.task}: together {self.together:.3f}, alone {self.alone:.3f} {self.verdict.metric}, "
            f"difference {signed(self.verdict)}{told}"
        )


@dataclass(frozen=True)
class Suggestion:
    """The groups, why, and the figures that it rests on."""

    groups: Groups
    reason: str
    gains: Mapping[str, float]  # by task, what looking ahead says of its companions
    seen: Sequence[Beside]  # empty where no task was trained alone

    @property
    def text(self) -> str:
        """The advice."""
        return evaluate.in_words(evaluate.Grouping(self.groups, self.gains))


def affinity(outcome: Outcome) -> dict[str, Any] | None:
    """The mean of what was seen ahead: (acting, acted upon), None where it could not be measured."""
    if not outcome.looks:
        return None
    seen = np.array([look["affinity"] for look in outcome.looks], np.float64)
    known = ~np.isnan(seen)
    means = np.where(known.any(0), np.nansum(seen, 0) / np.maximum(known.sum(0), 1), np.nan)
    matrix = [[None if np.isnan(value) else float(value) for value in row] for row in means]
    return {"tasks": list(outcome.tasks), "matrix": matrix, "measured": len(seen)}


def conflicts(outcome: Outcome) -> list[dict[str, Any]]:
    """The share of pairs of tasks whose gradients pointed apart, by epoch."""
    found: dict[tuple[int, int], list[float]] = {}
    for look in outcome.looks:
        found.setdefault((look["phase"], look["epoch"]), []).append(look["conflicts"])
    return [{"phase": p, "epoch": e, "share": sum(values) / len(values)} for (p, e), values in found.items()]


def looked_ahead(outcome: Outcome) -> evaluate.Grouping | None:
    """Which tasks should learn together, by what they did to each other.

    Of two partitions whose worth differs by less than twice its standard error over the looks, the one with fewer
    groups is taken.
    """
    seen = affinity(outcome)
    if seen is None:
        return None
    looks = np.array([look["affinity"] for look in outcome.looks], np.float64)
    known = np.maximum((~np.isnan(looks)).sum(0), 1)
    spread = np.sqrt(np.nansum((looks - np.nansum(looks, 0) / known) ** 2, 0) / np.maximum(known - 1, 1) / known)
    tie = 2 * float(np.sqrt((spread**2).mean(0).sum()))
    matrix = np.array([[value or 0.0 for value in row] for row in seen["matrix"]])
    return evaluate.grouping(seen["tasks"], matrix, max(tie, 1e-12))


def suggested(chosen: Outcome, shown: Sequence[Outcome]) -> Suggestion | None:
    """Which tasks should learn together: by looking ahead and, where they were trained alone, by validation.

    A task that the model for all answers worse on validation than its own model does is parted from the others,
    unless looking ahead has parted it from those that harm it already. The test rows have no say.
    """
    ahead = looked_ahead(chosen)
    if ahead is None:
        return None
    seen = beside(chosen, singles(shown))
    worse = {one.task for one in seen if one.verdict.difference.value < 0}
    groups = parted(ahead, worse, {one.task: one.change for one in seen})
    return Suggestion(groups, _reason(ahead, groups, seen, worse), ahead.gains, seen)


def beside(chosen: Outcome, alone: Mapping[str, Outcome]) -> list[Beside]:
    """Each task that was trained alone, too, on validation."""
    found = []
    for task, single in alone.items():
        metric = chosen.tasks[task].metrics[0]
        tables = [one.table("validation", task) for one in (chosen, single)]
        known = [table[~np.isnan(table[:, 0])] for table in tables]
        ours, theirs = (metric.value(table, np.ones(len(table))) for table in known)
        change = evaluate.change(ours, theirs, higher_is_better=metric.higher_is_better)
        verdict = versus([chosen], [single], task, "validation")
        found.append(Beside(task, float(ours), float(theirs), verdict, float(change)))
    return found


def parted(ahead: evaluate.Grouping, worse: AbstractSet[str], change: Mapping[str, float]) -> Groups:
    """The groups of looking ahead, less what validation says had better be alone.

    Validation has seen one model for all. Where looking ahead suggests just that, what is worse in it leaves; if that
    left a single task that gains, they are parted only if on the whole they do not gain (the mean of `change`). From
    smaller groups, which validation has not seen, a task leaves if its companions there do not help it, either.

    >>> parted(evaluate.Grouping((("a", "b", "c"),), {"a": 0.1, "b": 0.1, "c": 0.1}), {"b"}, {"b": -3.0})
    (('a', 'c'), ('b',))
    >>> parted(evaluate.Grouping((("a", "b"),), {"a": 0.1, "b": 0.1}), {"b"}, {"a": 4.0, "b": -1.0})
    (('a', 'b'),)
    """
    whole = len(ahead.groups) == 1
    found: list[tuple[str, ...]] = []
    for group in ahead.groups:
        leaving = {task for task in group if task in worse and (whole or ahead.gains[task] <= 0)}
        rest = tuple(task for task in group if task not in leaving)
        if len(rest) == 1 and leaving and whole and np.nansum([change.get(task, 0.0) for task in group]) > 0:
            leaving, rest = set(), group
        found += [rest] if rest else []
        found += [(task,) for task in group if task in leaving]
    return tuple(found)


def _reason(ahead: evaluate.Grouping, groups: Groups, seen: Sequence[Beside], worse: AbstractSet[str]) -> str:
    said = [f"By what a step on one task does to the others' loss: {_small(evaluate.in_words(ahead))}"]
    if not seen:
        return f"{said[0]} No task was trained alone (--controls tasks), so validation has no say."
    told = "; ".join(str(one) for one in seen if one.task in worse)
    if not worse:
        said.append("On validation no task is worse in the model for all than in one of its own.")
    else:
        said.append(f"On validation these are worse in the model for all than in one of their own: {told}.")
    if worse and set(groups) == set(ahead.groups):
        said.append(
            "The others gain more by it than that."
            if len(groups) == 1
            else "They are parted from those that harm them already; the groups themselves were not measured for it."
        )
    return " ".join(said)


def _small(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


# ---------------------------------------------------------------- carried out


def answering(groups: Groups, shown: Sequence[Outcome], chosen: Outcome) -> dict[str, Outcome] | None:
    """The outcome that answers each task if these groups do; None where one of them was not fitted."""
    known = {frozenset(one.tasks): one for one in shown if one.candidate.tasks is not None}
    known[frozenset(chosen.tasks)] = chosen
    if any(frozenset(group) not in known for group in groups):
        return None
    parts = {task: known[frozenset(group)] for group in groups for task in group}
    return {task: parts[task] for task in chosen.tasks if task in parts}


def regroup(
    chosen: Outcome, shown: Sequence[Outcome], context: Context, fit: Fit
) -> tuple[dict[str, Outcome], list[Outcome]]:
    """Carry the suggested grouping out where that was asked for: a model for each group, where validation likes them
    better than the one for all. `fit` gives None for one that cannot be fitted, as within the budget; then none is.

    Returns
    -------
    tuple
        The outcome that answers each task, and those that were fitted for it.
    """
    everything = dict.fromkeys(chosen.tasks, chosen)
    fitted: list[Outcome] = []
    found = suggested(chosen, shown) if context.options.group == "auto" else None
    if found is None:
        return everything, fitted
    context.hear(Said(f"groups: {found.text} {found.reason}"))
    if len(found.groups) < 2:
        return everything, fitted
    for group in found.groups:
        if answering((group,), shown, chosen) is None:
            one = fit(replace(chosen.candidate, name=" + ".join(group), tasks=group), "group")
            if one is None:
                break
            fitted.append(one)
    parts = answering(found.groups, [*shown, *fitted], chosen)
    if parts is None:
        context.hear(Said("one model for all is kept: not every group could be fitted"))
        return everything, fitted
    gain = delta_m(parts, everything, "validation")
    better = gain is not None and gain.value > 0
    said = "no metric has a value" if gain is None else percent(gain)
    context.hear(Said(f"groups on validation: {said}: {'they are kept' if better else 'one model for all is kept'}"))
    return (parts if better else everything), fitted


def told(
    chosen: Outcome, shown: Sequence[Outcome], parts: Mapping[str, Outcome], *, asked: bool
) -> dict[str, Any] | None:
    """The suggestion for the record; `parts` are the outcomes that answer, `asked` whether groups were to be fitted."""
    found = suggested(chosen, shown)
    if found is None:
        return None
    would = answering(found.groups, shown, chosen) if len(found.groups) > 1 else None
    gain = None if would is None else delta_m(would, dict.fromkeys(chosen.tasks, chosen), "validation")
    return {
        "groups": [list(group) for group in found.groups],
        "text": found.text,
        "reason": " ".join([found.reason, *_measured(found, gain, asked=asked)]),
        "carried_out": any(one is not chosen for one in parts.values()),
        "validation": None if gain is None else asdict(gain),
        "evidence": [
            {
                "task": one.task,
                "metric": one.verdict.metric,
                "together": _finite(one.together),
                "alone": _finite(one.alone),
                "difference": asdict(one.verdict.difference),
                "outcome": one.verdict.outcome,
            }
            for one in found.seen
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _measured(found: Suggestion, gain: Estimate | None, *, asked: bool) -> list[str]:
    if len(found.groups) < 2:
        return []
    if gain is None and asked:
        return ["Not every one of these groups could be fitted, so one model for all is kept."]
    if gain is None:
        return ["A model for each of these groups was not trained: --group auto does it, where validation likes it."]
    return [f"On validation these groups are Δm {percent(gain)} against the model for all."]
