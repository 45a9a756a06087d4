"""What the record tells of several tasks: each against what it is held against, and all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ukulele import evaluate
from ukulele.trial.context import Context
from ukulele.trial.grouping import affinity, conflicts, told
from ukulele.trial.outcome import Outcome
from ukulele.trial.together import (
    DELTA_M,
    OUTCOMES,
    SHORT,
    against_singles,
    best_rival,
    delta_m_seeds,
    named,
    outcome_of,
    percent,
    shortened,
    signed,
    singles,
    versus,
)
from ukulele.types import Estimate, Verdict


@dataclass(frozen=True)
class Joint:
    """Several tasks and what there is beside them; an outcome a seed where the chosen plan was fitted with several.

    `parts` answer the tasks, `chosen` learned them all; `alone` are more seeds of the models for each task.
    """

    chosen: Outcome
    shown: Sequence[Outcome]
    parts: Mapping[str, Sequence[Outcome]]
    alone: Mapping[str, Sequence[Outcome]] = field(default_factory=dict)

    @property
    def singles(self) -> dict[str, Sequence[Outcome]]:
        """By task, the models that learned it alone."""
        return {task: [one, *self.alone.get(task, ())] for task, one in singles(self.shown).items()}

    @property
    def rivals(self) -> list[Outcome]:
        """The controls without pre-training."""
        return [one for one in self.shown if not one.candidate.pretrained and one is not self.chosen]

    @property
    def probe(self) -> Outcome | None:
        """The probe, where something else was chosen."""
        found = (one for one in self.shown if one.candidate.name == "probe" and one is not self.chosen)
        return next(found, None)

    @property
    def first(self) -> dict[str, Outcome]:
        """The outcome that is handed over, by task."""
        return {task: of[0] for task, of in self.parts.items()}


def block(joint: Joint, context: Context) -> dict[str, Any]:
    """The part of the record that tells of several tasks."""
    chosen, alone, first = joint.chosen, joint.singles, joint.first
    gain = against_singles(joint.parts, alone, "test")
    used = {id(one): one for one in (chosen, *first.values())}
    seconds = {
        "together": sum(one.cost.seconds for one in used.values()),
        "singles": sum(of[0].cost.seconds for of in alone.values()),
    }
    plan, verdicts, steps = chosen.candidate.plan, _verdicts(joint), context.run.manifest.get("ladder", [])
    short = [f"{_name(one)}: {had}" for one in alone.values() if (had := shortened(steps, _name(one)))]
    return {
        DELTA_M: None if gain is None else asdict(gain),
        "sentence": _sentence(gain, list(first), list(alone), seconds, short),
        "balance": plan.balance,
        "sampling": plan.sampling,
        "weighing": context.run.manifest["decisions"].get(f"weights of {chosen.candidate.name}"),
        "seconds": seconds,
        "tasks": [_task(name, joint, verdicts, context) for name in first],
        "comparisons": [{"task": task, **asdict(one)} for kind in verdicts.values() for task, one in kind],
        "affinity": affinity(chosen),
        "grouping": told(chosen, joint.shown, first, asked=context.options.group == "auto"),
        "conflicts": conflicts(chosen),
    }


def gain_over_probe(joint: Joint) -> dict[str, Any] | None:
    """The mean relative gain of all tasks over the probe, in the form of a verdict; None if the probe was chosen."""
    if joint.probe is None:
        return None
    gain = delta_m_seeds(joint.parts, {task: [joint.probe] for task in joint.parts}, "test")
    if gain is None:
        return None
    used = {id(one): one.cost.seconds for one in (joint.chosen, *joint.first.values())}
    outcome = outcome_of(gain)
    sentence = (
        f"Fine-tuning {OUTCOMES[outcome]}: Δm {percent(gain)} over {len(joint.parts)} tasks against probe, "
        f"for {sum(used.values()):.1f} s on top."
    )
    return {**asdict(Verdict(outcome, "probe", DELTA_M, gain)), "sentence": sentence}


Compared = Sequence[tuple[str, Verdict]]


def _verdicts(joint: Joint) -> dict[str, Compared]:
    """All comparisons on the test rows, by what they ask: each question's are corrected for their number."""
    alone, probe = joint.singles, joint.probe
    asked: Mapping[str, Sequence[tuple[str, Sequence[Outcome]]]] = {
        "alone": [(task, alone[task]) for task in joint.parts if task in alone],
        "control": [(task, [one]) for task in joint.parts for one in joint.rivals if task in one.tasks],
        "probe": [] if probe is None else [(task, [probe]) for task in joint.parts],
    }
    found: dict[str, Compared] = {}
    for kind, pairs in asked.items():
        compared = [versus(joint.parts[task], theirs, task, "test") for task, theirs in pairs]
        found[kind] = [(task, one) for (task, _), one in zip(pairs, evaluate.holm(compared), strict=True)]
    return found


def _name(seeds: Sequence[Outcome]) -> str:
    return seeds[0].candidate.name


def _sentence(
    gain: Estimate | None,
    tasks: Sequence[str],
    alone: Sequence[str],
    seconds: Mapping[str, float],
    short: Sequence[str],
) -> str:
    if gain is None:
        return f"{len(tasks)} tasks were learned together; there is no model for each to hold them against."
    what = OUTCOMES[outcome_of(gain)]
    found = f"Learning {len(tasks)} tasks together {what}: Δm {percent(gain)} against a model for each"
    found += f" ({', '.join(short)})" if short else ""
    without = [task for task in tasks if task not in alone]
    if without:
        return f"{found} but {', '.join(without)}, of which there is none."
    share = seconds["together"] / max(seconds["singles"], 1e-9)
    return f"{found}, in {100 * share:.0f} % of their time."


def _task(name: str, joint: Joint, verdicts: Mapping[str, Compared], context: Context) -> dict[str, Any]:
    ours, single = joint.parts[name], joint.singles.get(name)
    task = ours[0].tasks[name]
    target = next(target for target in context.data.targets if target.name == name)
    joined = next((joined for joined in context.data.joined if name in joined.targets), None)
    best = best_rival(joint.shown, joint.chosen, name)
    steps = context.run.manifest.get("ladder", [])
    return {
        "name": name,
        "kind": task.kind,
        "labels": list(target.labels),
        "metric": task.metrics[0].name,
        "source": joined.name if joined else context.data.name,
        "column": target.column or target.name,
        "weight": dict(ours[0].candidate.plan.weights).get(name, 1.0),
        "rows": {SHORT[split]: len(context.truth(split).numbers(name)) for split in context.data.splits},
        "multi": _decisive(ours, name),
        "single": None if single is None else _decisive(single, name),
        "control": None
        if best is None
        else {"name": best.candidate.name, "value": _decisive([best], name), "seconds": best.cost.seconds},
        "verdict": _found(verdicts["alone"], name, f"{name} alone", "Learning together", steps),
        "transfer": None if best is None else _found(verdicts["control"], name, best.candidate.name, "Transfer", steps),
        "gain_over_probe": _found(verdicts["probe"], name, "probe", "Fine-tuning"),
        "test": evaluate.plain(measured(ours, name)),
    }


def measured(ours: Sequence[Outcome], name: str) -> Mapping[str, Estimate]:
    """Every metric of a task on the test rows; of several seeds their mean."""
    if len(ours) == 1:
        return ours[0].measured("test", name)
    metrics = [{metric.name: metric for metric in one.tasks[name].metrics} for one in ours]
    return evaluate.over_seeds(
        {metric: [of[metric] for of in metrics] for metric in metrics[0]},
        [one.table("test", name) for one in ours],
        ours[0].groups("test", name),
    )


def _decisive(ours: Sequence[Outcome], name: str) -> dict[str, Any] | None:
    found = measured(ours, name).get(ours[0].tasks[name].metrics[0].name)
    return None if found is None else asdict(found)


def _found(
    compared: Compared, name: str, against: str, subject: str, steps: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any] | None:
    """The verdict on a task against one of those it is held against."""
    verdict = next((one for task, one in compared if task == name and one.against == against), None)
    if verdict is None:
        return None
    what = f"{subject} {OUTCOMES[verdict.outcome]}: {signed(verdict)} in {verdict.metric}"
    return {**asdict(verdict), "sentence": f"{what} against {named(steps, against)}."}
