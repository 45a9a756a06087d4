"""Several tasks in one run: each alone as a control, and how candidates for the same tasks compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ukulele import evaluate
from ukulele.tools.bootstrap import FEWEST_GROUPS
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


def singles(shown: Sequence[Outcome]) -> dict[str, Outcome]:
    """By task, the control that learned it alone; not a group of one that was fitted because it was suggested."""
    found = {}
    for one in shown:
        tasks = one.candidate.tasks
        if one.candidate.role == "control" and tasks is not None and len(tasks) == 1:
            found[tasks[0]] = one
    return found


def delta_m(ours: Mapping[str, Outcome], theirs: Mapping[str, Outcome], split: Split) -> Estimate | None:
    """The mean over tasks of our relative gain, in percent, from the outcome that answers each task on either side."""
    return delta_m_seeds(
        {task: [one] for task, one in ours.items()}, {task: [one] for task, one in theirs.items()}, split
    )


def delta_m_seeds(
    ours: Mapping[str, Sequence[Outcome]], theirs: Mapping[str, Sequence[Outcome]], split: Split
) -> Estimate | None:
    """The same as a mean over seeds: of each task an outcome a seed; of theirs one for all of them, or one a seed."""
    first = next(iter(ours.values()))[0]
    truth, rows = first.feed.truth(split), len(first.feed.tables[split].rows)
    seeds = [
        [
            evaluate.Compared(
                of[seed].tasks[task].metrics[0],
                of[seed].table(split, task),
                theirs[task][seed % len(theirs[task])].table(split, task),
                truth.numbers(task),
                task,
            )
            for task, of in ours.items()
        ]
        for seed in range(max(map(len, ours.values())))
    ]
    having = np.zeros(rows, np.int64)  # which tasks a row has, as a number
    for place, task in enumerate(ours):
        having[truth.numbers(task)] += 1 << place % 62
    blocks = [np.flatnonzero(having == kind) for kind in np.unique(having[having > 0])]
    return evaluate.delta_m_seeds(seeds, rows, blocks, truth.clusters())


def against_singles(
    ours: Mapping[str, Sequence[Outcome]], alone: Mapping[str, Sequence[Outcome]], split: Split
) -> Estimate | None:
    """Δm against a model for each task, over the tasks that have one; its `method` names the others."""
    without = [task for task in ours if task not in alone]
    gain = delta_m_seeds({task: of for task, of in ours.items() if task in alone}, alone, split) if alone else None
    if gain is None or not without:
        return gain
    return replace(gain, method=f"{gain.method}; no model of its own: {', '.join(without)}")


def compare(ours: Outcome, theirs: Outcome, split: Split) -> Verdict:
    """The paired comparison of two candidates on the same rows: by the metric that decides, or by the mean relative
    gain in percent where they have several tasks in common.
    """
    shared = [task for task in ours.tasks if task in theirs.tasks]
    against = theirs.candidate.name
    if len(shared) == 1:
        return versus([ours], [theirs], shared[0], split)
    gain = delta_m(dict.fromkeys(shared, ours), dict.fromkeys(shared, theirs), split)
    if gain is None:
        nothing = Estimate(0.0, 0.0, 0.0, 0, "no metric is defined on these rows")
        return Verdict("inconclusive", against, DELTA_M, nothing)
    return Verdict(outcome_of(gain), against, DELTA_M, gain)


def versus(ours: Sequence[Outcome], theirs: Sequence[Outcome], task: str, split: Split) -> Verdict:
    """The paired comparison by the metric that decides a task; of several seeds by their mean."""
    metric, against = ours[0].tasks[task].metrics[0], theirs[0].candidate.name
    tables, others = ([one.table(split, task) for one in side] for side in (ours, theirs))
    groups = ours[0].groups(split, task)
    if len(tables) == 1:
        return evaluate.compare(metric, tables[0], others[0], against, groups)
    return evaluate.compare_seeds(metric, tables, others, against, groups)


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
    """What an interval of a gain says; that of too few groups says nothing."""
    if gain.groups is not None and gain.groups < FEWEST_GROUPS:
        return "inconclusive"
    return "helped" if gain.low > 0 else "hurt" if gain.high < 0 else "inconclusive"


def shortened(steps: Sequence[Mapping[str, Any]], name: str) -> str:
    """How many of its epochs a control had, where a budget left it fewer; else nothing. `steps` as in the record."""
    step = next((s for s in steps if s["name"] == name and s.get("role") == "control" and s["taken"]), None)
    if step is None or step["epochs"] >= step["planned_epochs"]:
        return ""
    return f"{step['epochs']} of its {step['planned_epochs']} epochs"


def named(steps: Sequence[Mapping[str, Any]], name: str) -> str:
    """What a candidate is held against, by its name, and that it was cut short, if it was.

    >>> step = {"name": "scratch", "role": "control", "taken": True, "epochs": 10, "planned_epochs": 40}
    >>> named([step], "scratch"), named([step], "tfidf")
    ('scratch (10 of its 40 epochs)', 'tfidf')
    """
    had = shortened(steps, name)
    return f"{name} ({had})" if had else name


def percent(gain: Estimate) -> str:
    """A mean relative gain, for people.

    >>> percent(Estimate(-1.44, -3.4, 0.62, 100, ""))
    '-1.4 % (-3.4 to 0.6)'
    """
    return f"{gain.value:+.1f} % ({gain.low:.1f} to {gain.high:.1f})"


def signed(verdict: Verdict) -> str:
    """A difference with its interval, for people.

    >>> signed(Verdict("helped", "tfidf", "accuracy", Estimate(0.031, 0.01, 0.052, 100, "")))
    '+0.031 (0.010 to 0.052)'
    """
    d = verdict.difference
    if verdict.metric == DELTA_M:
        return f"Δm {percent(d)}"
    return f"{d.value:+.3f} ({d.low:.3f} to {d.high:.3f})"


def gained(verdict: Verdict) -> str:
    """A difference with what it is measured in.

    >>> gained(Verdict("hurt", "probe", DELTA_M, Estimate(-13.3, -17.7, -8.9, 100, "")))
    'Δm -13.3 % (-17.7 to -8.9)'
    """
    return signed(verdict) if verdict.metric == DELTA_M else f"{signed(verdict)} {verdict.metric}"
