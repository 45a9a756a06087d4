"""Several tasks in one run: each alone as a control, what learning together changed, and who helps whom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np

from ukulele import evaluate
from ukulele.events import Said
from ukulele.trial.attempt import attempt
from ukulele.trial.context import Context
from ukulele.trial.outcome import Outcome
from ukulele.types import Candidate, Estimate, Split, Verdict

DELTA_M = "delta_m_percent"
OUTCOMES = {"helped": "helped", "hurt": "hurt", "inconclusive": "made no difference that can be told"}
SHORT: Mapping[Split, str] = {"train": "train", "validation": "val", "test": "test"}


def alone(chosen: Outcome) -> list[Candidate]:
    """A candidate for each task alone, by the plan of the chosen one: what a model of its own would have been."""
    if len(chosen.tasks) < 2:
        return []
    of = chosen.candidate
    return [
        Candidate(f"{task} alone", of.model, of.plan, "control", of.pretrained, of.stop, (task,))
        for task in chosen.tasks
    ]


def delta_m(ours: Mapping[str, Outcome], theirs: Mapping[str, Outcome], split: Split) -> Estimate | None:
    """The mean over tasks of our relative gain, in percent, from the outcome that answers each task on either side."""
    first = next(iter(ours.values()))
    truth, rows = first.feed.truth(split), len(first.feed.tables[split].rows)
    pairs = [
        evaluate.Compared(
            one.tasks[task].metrics[0],
            one.table(split, task),
            theirs[task].table(split, task),
            truth.numbers(task),
            task,
        )
        for task, one in ours.items()
    ]
    having = np.zeros(rows, np.int64)  # which tasks a row has, as a number
    for place, task in enumerate(ours):
        having[truth.numbers(task)] += 1 << place % 62
    blocks = [np.flatnonzero(having == kind) for kind in np.unique(having[having > 0])]
    return evaluate.delta_m(pairs, rows, blocks)


def compare(ours: Outcome, theirs: Outcome, split: Split) -> Verdict:
    """The paired comparison of two candidates on the same rows: by the metric that decides, or by the mean relative
    gain in percent where they have several tasks in common.
    """
    shared = [task for task in ours.tasks if task in theirs.tasks]
    against = theirs.candidate.name
    if len(shared) == 1:
        task = shared[0]
        metric = ours.tasks[task].metrics[0]
        return evaluate.compare(metric, ours.table(split, task), theirs.table(split, task), against)
    gain = delta_m(dict.fromkeys(shared, ours), dict.fromkeys(shared, theirs), split)
    if gain is None:
        nothing = Estimate(0.0, 0.0, 0.0, 0, "no metric is defined on these rows")
        return Verdict("inconclusive", against, DELTA_M, nothing)
    return Verdict(outcome_of(gain), against, DELTA_M, gain)


def best_rival(shown: Sequence[Outcome], chosen: Outcome, task: str) -> Outcome | None:
    """The control without pre-training that does best on a task's validation rows.

    Of those that are equal by the metric that decides, the one of less log-loss (or better by the next metric) is
    taken; of those that are equal in that too, the dearer one: `shown` names the cheapest first.
    """
    rivals = [o for o in shown if not o.candidate.pretrained and o is not chosen and task in o.tasks]
    ranked = [(*_standing(rival, task), place) for place, rival in enumerate(rivals)]
    return rivals[max(ranked)[-1]] if rivals else None


def _standing(outcome: Outcome, name: str) -> tuple[float, float]:
    """The deciding metric on validation and the one that breaks ties, both signed so that higher is better."""
    first, *others = outcome.tasks[name].metrics
    second = next((metric for metric in others if metric.name == "log_loss"), others[0])
    table = outcome.table("validation", name)
    values = [(metric, metric.value(table, np.ones(len(table)))) for metric in (first, second)]
    one, two = (-math.inf if np.isnan(v) else v if m.higher_is_better else -v for m, v in values)
    return one, two


def outcome_of(gain: Estimate) -> Literal["helped", "hurt", "inconclusive"]:
    """What an interval of a gain says."""
    return "helped" if gain.low > 0 else "hurt" if gain.high < 0 else "inconclusive"


def signed(verdict: Verdict) -> str:
    """A difference with its interval, for people.

    >>> signed(Verdict("helped", "tfidf", "accuracy", Estimate(0.031, 0.01, 0.052, 100, "")))
    '+0.031 (0.010 to 0.052)'
    """
    d = verdict.difference
    if verdict.metric == DELTA_M:
        return f"Δm {d.value:+.1f} % ({d.low:.1f} to {d.high:.1f})"
    return f"{d.value:+.3f} ({d.low:.3f} to {d.high:.3f})"


def gained(verdict: Verdict) -> str:
    """A difference with what it is measured in.

    >>> gained(Verdict("hurt", "probe", DELTA_M, Estimate(-13.3, -17.7, -8.9, 100, "")))
    'Δm -13.3 % (-17.7 to -8.9)'
    """
    return signed(verdict) if verdict.metric == DELTA_M else f"{signed(verdict)} {verdict.metric}"


# ---------------------------------------------------------------- what tasks do to each other


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


def grouping(outcome: Outcome) -> evaluate.Grouping | None:
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


def regroup(chosen: Outcome, shown: Sequence[Outcome], context: Context) -> tuple[dict[str, Outcome], list[Outcome]]:
    """Carry the suggested grouping out where that was asked for: a model for each group, where validation likes them
    better than the one for all.

    Returns
    -------
    tuple
        The outcome that answers each task, and those that were fitted for it.
    """
    everything = dict.fromkeys(chosen.tasks, chosen)
    fitted: list[Outcome] = []
    found = grouping(chosen) if context.options.group == "auto" else None
    if found is None or len(found.groups) < 2:
        return everything, fitted
    context.hear(Said(f"groups: {evaluate.in_words(found)}"))
    known = {o.candidate.tasks: o for o in shown if o.candidate.tasks is not None}
    parts: dict[str, Outcome] = {}
    for group in found.groups:
        if group not in known:
            context.hear(Said(f"fitting {' and '.join(group)}"))
            known[group] = attempt(replace(chosen.candidate, name=" + ".join(group), tasks=group), context)
            fitted.append(known[group])
        parts |= dict.fromkeys(group, known[group])
    parts = {task: parts[task] for task in chosen.tasks}
    gain = delta_m(parts, everything, "validation")
    better = gain is not None and gain.value > 0
    said = "no metric has a value" if gain is None else f"{gain.value:+.1f} % ({gain.low:.1f} to {gain.high:.1f})"
    context.hear(Said(f"groups on validation: {said}: {'they are kept' if better else 'one model for all is kept'}"))
    return (parts if better else everything), fitted


# ---------------------------------------------------------------- for the record


def block(parts: Mapping[str, Outcome], chosen: Outcome, shown: Sequence[Outcome], context: Context) -> dict[str, Any]:
    """The part of the record that tells of several tasks; `parts` answer them, `chosen` learned them all."""
    singles = {o.candidate.tasks[0]: o for o in shown if o.candidate.tasks is not None and len(o.tasks) == 1}
    gain = delta_m(parts, singles, "test") if len(singles) == len(parts) else None
    used = {id(one): one for one in (chosen, *parts.values())}
    seconds = {
        "together": sum(one.cost.seconds for one in used.values()),
        "singles": sum(one.cost.seconds for one in singles.values()),
    }
    groups = grouping(chosen)
    plan = chosen.candidate.plan
    return {
        DELTA_M: None if gain is None else asdict(gain),
        "sentence": _sentence(gain, len(chosen.tasks), seconds),
        "balance": plan.balance,
        "sampling": plan.sampling,
        "weighing": context.run.manifest["decisions"].get(f"weights of {chosen.candidate.name}"),
        "seconds": seconds,
        "tasks": [_task(name, one, shown, singles.get(name), context) for name, one in parts.items()],
        "affinity": affinity(chosen),
        "grouping": None if groups is None else _grouped(groups, carried_out=len(used) > 1),
        "conflicts": conflicts(chosen),
    }


def _grouped(groups: evaluate.Grouping, *, carried_out: bool) -> dict[str, Any]:
    text = evaluate.in_words(groups)
    return {"groups": [list(group) for group in groups.groups], "text": text, "carried_out": carried_out}


def _sentence(gain: Estimate | None, tasks: int, seconds: Mapping[str, float]) -> str:
    if gain is None:
        return f"{tasks} tasks were learned together; there is no model for each to hold them against."
    what = OUTCOMES[outcome_of(gain)]
    share = seconds["together"] / max(seconds["singles"], 1e-9)
    return (
        f"Learning {tasks} tasks together {what}: Δm {gain.value:+.1f} % ({gain.low:.1f} to {gain.high:.1f}) "
        f"against a model for each, in {100 * share:.0f} % of their time."
    )


def _task(
    name: str, chosen: Outcome, shown: Sequence[Outcome], single: Outcome | None, context: Context
) -> dict[str, Any]:
    task = chosen.tasks[name]
    target = next(target for target in context.data.targets if target.name == name)
    joined = next((joined for joined in context.data.joined if name in joined.targets), None)
    best = best_rival(shown, chosen, name)
    return {
        "name": name,
        "kind": task.kind,
        "labels": list(target.labels),
        "metric": task.metrics[0].name,
        "source": joined.name if joined else context.data.name,
        "column": target.column or target.name,
        "weight": dict(chosen.candidate.plan.weights).get(name, 1.0),
        "rows": {SHORT[split]: len(context.truth(split).numbers(name)) for split in context.data.splits},
        "multi": _decisive(chosen, name),
        "single": None if single is None else _decisive(single, name),
        "control": None
        if best is None
        else {"name": best.candidate.name, "value": _decisive(best, name), "seconds": best.cost.seconds},
        "verdict": None if single is None else _plain(_versus(chosen, single, name, "test"), "Learning together"),
        "transfer": None if best is None else _plain(_versus(chosen, best, name, "test"), "Transfer"),
        "test": evaluate.plain(chosen.measured("test", name)),
    }


def _versus(ours: Outcome, theirs: Outcome, name: str, split: Split) -> Verdict:
    metric = ours.tasks[name].metrics[0]
    return evaluate.compare(metric, ours.table(split, name), theirs.table(split, name), theirs.candidate.name)


def _decisive(outcome: Outcome, name: str) -> dict[str, Any] | None:
    found = outcome.measured("test", name).get(outcome.tasks[name].metrics[0].name)
    return None if found is None else asdict(found)


def _plain(verdict: Verdict, subject: str) -> dict[str, Any]:
    sentence = (
        f"{subject} {OUTCOMES[verdict.outcome]}: {signed(verdict)} in {verdict.metric} against {verdict.against}."
    )
    return {**asdict(verdict), "sentence": sentence}
