"""The whole run as plain JSON: `record.json`, of which the report is a pure function."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
from torch import nn

from ukulele import __version__, evaluate, features, strategies
from ukulele.errors import DataError
from ukulele.loop.meter import peak_memory
from ukulele.tools.pictures import open_picture, thumbnail
from ukulele.trial import written
from ukulele.trial.context import Context
from ukulele.trial.joint import Joint, block, gain_over_probe
from ukulele.trial.outcome import Outcome
from ukulele.trial.repeats import Repeats
from ukulele.trial.together import OUTCOMES, SHORT, named, signed
from ukulele.types import Box, Finding, Row, Split, Verdict

FORMAT = 1
LIBRARIES = ("torch", "transformers", "timm", "tokenizers", "scikit-learn", "accelerate", "safetensors", "numpy")
MISTAKES = 12  # a task's, shown at most
THUMBNAIL, PICTURE = 160, 400  # pixels; of a picture with boxes


@dataclass(frozen=True)
class Story:
    """What is left of a run when it is done."""

    context: Context
    shown: Sequence[Outcome]
    chosen: Outcome
    parts: Mapping[str, Outcome]  # by task, the one that answers it: the chosen one, or its group's
    verdict: Verdict | None
    gain: Verdict | None
    repeats: Repeats | None = None  # of several seeds
    untouched: Verdict | None = None  # against the model as it was loaded

    def joint(self) -> Joint:
        """What there is to say of several tasks rests on this."""
        if self.repeats is None:
            return Joint(self.chosen, self.shown, {task: [one] for task, one in self.parts.items()})
        return Joint(self.chosen, self.shown, dict.fromkeys(self.parts, self.repeats.outcomes), self.repeats.alone)


def make_record(story: Story, findings: Sequence[Finding]) -> dict[str, Any]:
    """The record; see docs/record.md for every field."""
    context, chosen = story.context, story.chosen
    run, names = context.run, list(chosen.tasks)
    scored = {o.candidate.name: scores(o, "test", names) for o in story.shown}
    several: dict[str, Any] = {}
    if len(names) > 1:
        joint = story.joint()
        several = {"multitask": block(joint, context), "gain_over_probe": gain_over_probe(joint)}
        for told in several["multitask"]["tasks"]:
            name = told["name"]
            told |= {**_quality(story.parts[name], context, name), "classes": _classes(context, name)}
    alone = {} if several else {"task": _task(chosen, names[0]), **_quality(chosen, context, names[0])}
    test = scored[chosen.candidate.name]
    if several:
        test = {name: scored[one.candidate.name][name] for name, one in story.parts.items()}
    seeds = None if story.repeats is None else story.repeats.plain(story.shown)
    if seeds is not None:
        test = seeds["test"]
    return {
        "format": FORMAT,
        "ukulele": __version__,
        "run": _run(story),
        "data": _data(context, names),
        "model": _model(chosen),
        "chosen": chosen.candidate.name,
        "plan": _plan(chosen),
        "candidates": [_candidate(o, scored[o.candidate.name], context) for o in story.shown],
        "test": test,
        "seeds": seeds,
        "controls": [
            {"name": o.candidate.name, "test": scored[o.candidate.name], "seconds": o.cost.seconds}
            for o in story.shown
            if o is not chosen and (o.candidate.role == "control" or o.candidate.name == "probe")
        ],
        "verdict": _verdict(story.verdict, chosen, story),
        "gain_over_probe": _verdict(story.gain, chosen, story),
        "gain_over_untouched": _verdict(story.untouched, chosen, story),
        "cost": {
            **_cost(chosen),
            "run_peak_memory_bytes": peak_memory(),
            "run_seconds": run.spent(),
        },
        "findings": [asdict(finding) for finding in findings],
        "choice": run.manifest["decisions"].get("model"),
        "layers": run.manifest.get("layers", []),
        "gather": run.manifest.get("gather"),
        "ladder": _steps(context),
        **alone,
        **several,
        **({"writing": written.block(chosen, story.shown, context)} if context.writes else {}),
        "quarantine": [
            {"file": bad.where.file, "line": bad.where.line, "reason": bad.reason}
            for bad in context.data.quarantine[:20]
        ],
    }


def _task(chosen: Outcome, name: str) -> dict[str, Any]:
    task = chosen.tasks[name]
    labels = list(getattr(task, "labels", ()))
    return {"name": name, "kind": task.kind, "labels": labels, "metric": task.metrics[0].name}


def _quality(chosen: Outcome, context: Context, name: str) -> dict[str, Any]:
    """The particulars of a task's answers on the test rows."""
    task, table, sliced = chosen.tasks[name], chosen.table("test", name), slicing(context, name)
    return {
        **evaluate.details(task, table, task.decode(chosen.answers("test", name))),
        "mistakes": _mistakes(chosen, context, name),
        "slices": list(evaluate.slices(task, table, *sliced, chosen.groups("test", name))) if sliced else [],
    }


def scores(outcome: Outcome, split: Split, names: Sequence[str]) -> dict[str, Any]:
    """Every metric on a split, as plain JSON with intervals; by task where the run has several."""
    found = {name: evaluate.plain(outcome.measured(split, name)) for name in outcome.tasks}
    return found if len(names) > 1 else found[names[0]]


def _run(story: Story) -> dict[str, Any]:
    context, run = story.context, story.context.run
    began = datetime.fromtimestamp(run.manifest["began"], UTC).isoformat(timespec="seconds")
    return {
        "name": run.path.resolve().name,
        "folder": str(run.path),
        "command": run.manifest.get("command", ""),
        "started": began,
        "seconds": run.spent(),
        "seed": context.options.seed,
        "budget_seconds": context.options.seconds,
        "options": context.options.plain(),
        "versions": {"python": platform.python_version()} | {library: _version(library) for library in LIBRARIES},
        "hashes": {"data": run.manifest["decisions"]["data"], "model": _hash(story.chosen)},
        "machine": {
            "cpu": _processor(),
            "cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "device": context.engine.device,
            "precision": context.dtype,
        },
    }


def _hash(chosen: Outcome) -> str:
    heads = [head for head in chosen.heads.values() if isinstance(head, nn.Module)]
    return features.weights_hash(nn.ModuleList([chosen.model.net, *heads]))


def _data(context: Context, names: Sequence[str]) -> dict[str, Any]:
    data = context.data
    return {
        "name": data.name,
        "modality": data.modality,
        "inputs": list(data.columns),
        "tasks": list(names),
        "rows": {SHORT[split]: len(rows) for split, rows in data.splits.items()},
        "quarantined": len(data.quarantine),
        "classes": _classes(context, names[0]) if len(names) == 1 else {},
        "notes": list(data.notes),
        **_groups(context),
    }


def _groups(context: Context) -> dict[str, Any]:
    """How many groups of `--group` each split has, where intervals go by them."""
    found = {split: context.truth(split).clusters() for split in context.data.splits}
    if all(groups is None for groups in found.values()):
        return {}
    counts = {SHORT[split]: len(set(groups.tolist())) for split, groups in found.items() if groups is not None}
    return {"groups": {"column": context.options.group, **counts}}


def _classes(context: Context, name: str) -> dict[str, dict[str, int]]:
    """Rows of each class, by split."""
    target = next(t for t in context.data.targets if t.name == name)
    classes: dict[str, dict[str, int]] = {}
    for split in context.data.splits if target.labels else ():
        counts: Counter[str] = Counter()
        for value in context.truth(split).values(name):
            labels = value if isinstance(value, tuple) else (value,)
            counts.update(label.label if isinstance(label, Box) else label for label in labels)
        classes[SHORT[split]] = {label: counts[label] for label in target.labels}
    return classes


def _model(chosen: Outcome) -> dict[str, Any]:
    card = chosen.model.card
    return {
        "name": chosen.model.name,
        "origin": card.origin,
        "source_task": card.source_task,
        "licence": card.licence,
        "parents": list(card.parents),
        "parameters": chosen.cost.total_parameters,
        "stages": [stage.name for stage in chosen.model.stages],
        "stop": chosen.candidate.stop,
    }


def _plan(outcome: Outcome) -> dict[str, Any]:
    stages = outcome.model.stages
    plan = outcome.candidate.plan
    return {
        **asdict(plan),
        "cut": stages[outcome.cut].name if outcome.cut < len(stages) else None,
        "frozen_stages": outcome.cut,
        "strength": outcome.strength,
        "text": strategies.in_words(plan, outcome.facts, outcome.candidate.stop),
    }


def _candidate(outcome: Outcome, test: Mapping[str, Any], context: Context) -> dict[str, Any]:
    candidate = outcome.candidate
    folds = outcome.cross_validation
    return {
        "name": candidate.name,
        "role": candidate.role,
        "model": outcome.model.name,
        "pretrained": candidate.pretrained,
        "plan": strategies.in_words(candidate.plan, outcome.facts, candidate.stop),
        "why": outcome.why,
        "validation": scores(outcome, "validation", list(context.tasks)),
        "test": test,
        "cross_validation": None if folds is None else {"value": folds[0], "error": folds[1]},
        "cost": _cost(outcome),
        "history": outcome.history,
        "averages": outcome.averages,
    }


def _cost(outcome: Outcome) -> dict[str, Any]:
    return {**asdict(outcome.cost), "phases": [list(phase) for phase in outcome.cost.phases]}


def _verdict(verdict: Verdict | None, chosen: Outcome, story: Story) -> dict[str, Any] | None:
    if verdict is None:
        return None
    against = next(o for o in story.shown if o.candidate.name == verdict.against)
    what = OUTCOMES[verdict.outcome]
    gain = verdict is story.gain or verdict is story.untouched
    subject = "Training from scratch"
    if chosen.candidate.pretrained:
        subject = "Fine-tuning" if gain else "Transfer"
    sentence = (
        f"{subject} {what}{'' if gain else _but(verdict, story.untouched)}: "
        f"{chosen.candidate.name} against {named(_steps(story.context), verdict.against)} "
        f"{signed(verdict)} in {verdict.metric}, for {_price(chosen, against, story, gain)}."
    )
    return {**asdict(verdict), "sentence": sentence}


def _steps(context: Context) -> list[dict[str, Any]]:
    """What a budget was spent on."""
    return list(context.run.manifest.get("ladder", []))


def _but(verdict: Verdict, untouched: Verdict | None) -> str:
    """That the model was better before it was trained, if it was: no verdict reads well without that."""
    if untouched is None or untouched.outcome != "hurt":
        return ""
    return f", {'but' if verdict.outcome == 'helped' else 'and'} the untouched model ({untouched.against}) is better"


def _price(chosen: Outcome, against: Outcome, story: Story, gain: bool) -> str:
    """What the chosen one took beyond what it is held against.

    A rung reads what the rungs below it loaded and encoded: it comes on top of them, never instead.
    """
    if gain:
        return f"{chosen.cost.seconds:.1f} s on top"
    rungs = [o for o in story.shown if o.candidate.role == "rung"]
    climbed = sum(o.cost.seconds for o in rungs[: rungs.index(chosen) + 1])
    more = climbed - against.cost.seconds
    return f"{abs(more):.1f} s {'more' if more > 0 else 'less'}"


def _mistakes(chosen: Outcome, context: Context, name: str) -> list[dict[str, Any]]:
    task = chosen.tasks[name]
    rows, numbers = context.data.splits["test"], context.truth("test").numbers(name)
    found = evaluate.mistakes(
        task, task.decode(chosen.answers("test", name)), chosen.feed.values("test", name), MISTAKES
    )
    side = PICTURE if task.kind == "detect" else THUMBNAIL
    return [
        {"where": str(row.where), "input": shown(row, side), **{k: v for k, v in mistake.items() if k != "row"}}
        for mistake, row in ((mistake, rows[int(numbers[mistake["row"]])]) for mistake in found)
    ]


def shown(row: Row, side: int) -> Any:
    """A row's input as plain JSON: its texts, or a small picture."""
    if all(isinstance(value, str) for value in row.inputs):
        texts = [value if len(value) <= 600 else value[:599] + "…" for value in row.inputs]
        return texts[0] if len(texts) == 1 else texts
    try:
        picture = open_picture(row.inputs[0])
    except DataError:
        return "(picture cannot be read)"
    size = picture.size
    return {"thumbnail": thumbnail(picture, side), "width": size[0], "height": size[1]}


def slicing(context: Context, name: str) -> tuple[list[Any], str] | None:
    """The subgroup of each test row that has a task, and the column that names it; None where none was asked for."""
    column = context.options.slice
    if column is None:
        return None
    numbers = context.truth("test").numbers(name).tolist()
    return context.data.splits["test"].take(numbers).column(column), column


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
