"""What a run is asked: its tasks, plain text cut into rows, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ukulele import data, diagnose, models, tasks
from ukulele.config import FitOptions
from ukulele.errors import PlanError
from ukulele.events import Said
from ukulele.loop.truth import Truth
from ukulele.models import CLASSICAL
from ukulele.story.candidates import is_made, model_name, survey_model
from ukulele.trial import retention
from ukulele.trial.context import Context
from ukulele.types import WRITTEN, Dataset, Task, with_answer

SPELLED = 500  # rows that tell whether a model knows the words
TAPPED_ROWS = 20_000  # up to here every stage's summary of every row is stored


def windowed(context: Context) -> Context:
    """Plain text in rows that are as long as the model takes, other data as they are; and how a decoder reads both."""
    if context.writes != "generate":
        return context
    name = model_name(context)
    model = survey_model(name, context)
    free = any(target.free for target in context.data.targets)
    if model.windows is not None:
        context = replace(context, vocabulary=model.assets, reads=model.recipe)
    if not free:
        return context
    if model.windows is None or model.limit is None:
        raise PlanError(f"{name} does not continue texts.", hint="Name a decoder, such as config:gpt2-tiny.")
    cut = data.windows(context.data, model.windows, model.limit)
    if context.options.replay is not None and (other := retention.kept(context)) is not None:
        again = data.windows(other, model.windows, model.limit)
        cut = data.replayed(cut, again, context.options.replay, context.options.seed)
    for note in cut.notes[len(context.data.notes) :]:
        context.hear(Said(note))
    return replace(context, data=cut)


def spelled(context: Context) -> Context:
    """Texts with a finding, told before anything is trained, where the model has no pieces for some of their words."""
    name = model_name(context)
    if context.data.modality not in {"text", "pair"} or name in CLASSICAL or is_made(context):
        return context
    model, rows = survey_model(name, context), context.data.splits["train"]
    places = np.unique(np.linspace(0, len(rows) - 1, min(SPELLED, len(rows))).astype(np.int64)).tolist()
    task = next(iter(context.tasks))
    inputs = [with_answer(row, task) if model.teaches else row.inputs for row in rows.take(places)]
    found = diagnose.unknown_words(*models.unknown_tokens(model, inputs))
    for finding in found:
        context.hear(Said(finding.message, "info" if finding.severity == "info" else "warning"))
    return replace(context, data=replace(context.data, findings=(*context.data.findings, *found)))


def refuse_for_one(options: FitOptions, dataset: Dataset) -> None:
    """Options that make sense for several tasks alone, and two of these that do not go together.

    Raises
    ------
    PlanError
        If one was given for a single task, or both for several.
    """
    if len(dataset.targets) > 1:
        if options.seeds > 1 and options.group == "auto":
            raise PlanError(
                f"--seeds {options.seeds} with --group auto: the groups would be settled by the first seed alone.",
                hint="Take one run with --group auto, then --seeds on each of the groups that it suggests.",
            )
        return
    given = {
        "--group auto": options.group == "auto",
        "--private-stages": options.private_stages > 0,
        "--adapters per-task": options.adapters != "shared",
        "--weights tuned": options.weights != "given",
        "--balance": options.balance != "first",
        "--sampling": options.sampling is not None,
        "--controls tasks": options.controls == "tasks",
    }
    wrong = [name for name, there in given.items() if there]
    if wrong:
        raise PlanError(
            f"{', '.join(wrong)}: for several tasks; this run has one, {dataset.targets[0].name!r}.",
            hint="Leave it out, or name several targets or sources.",
        )


def refuse_for_texts(options: FitOptions, dataset: Dataset) -> None:
    """What a run that writes texts cannot do, and what only such a run can.

    Raises
    ------
    PlanError
        If it was asked for.
    """
    written = [target for target in dataset.targets if target.kind in WRITTEN]
    if options.languages and not any(target.kind == "translate" for target in written):
        raise PlanError("--languages: for --task translate.", hint="Leave it out.")
    if not written:
        return
    wrong = {
        "several tasks": len(dataset.targets) > 1,
        "several input columns": len(dataset.columns) > 1,
        "--long chunk": options.long == "chunk",
        f"--strategy {options.strategy}": options.strategy == "probe",
        f"--layer {options.layer}": options.layer != "auto",
    }
    if any(wrong.values()):
        raise PlanError(
            f"{', '.join(name for name, there in wrong.items() if there)}: not where a text is to be written.",
            hint="One input column, one target, and a strategy that trains: finetune, full, lora, dora or scratch.",
        )


def make_tasks(dataset: Dataset, options: FitOptions) -> dict[str, Task]:
    """What is asked, by name.

    Raises
    ------
    PlanError
        If the model named is none to transfer.
    """
    if options.model in (*models.CLASSICAL, *models.COPYING, *models.COUNTING):
        raise PlanError(
            f"--model {options.model}: that is a control, which runs are held against anyway: nothing to transfer.",
            hint="Name a pre-trained model, or leave --model out.",
        )
    truth = Truth(dataset.splits["train"])
    values = {t.name: () if t.free else truth.values(t.name) for t in dataset.targets}
    return {t.name: _make_task(t.name, values[t.name], dataset, options) for t in dataset.targets}


def _make_task(name: str, values: Sequence[Any], dataset: Dataset, options: FitOptions) -> Task:
    """What is asked of a target: class weights follow the metric, unless they are asked for."""
    target = next(t for t in dataset.targets if t.name == name)
    fair = options.metric in {"balanced_accuracy", "macro_f1"} and target.kind == "classify"
    weigh = options.class_weights == "balanced" or (options.class_weights == "auto" and fair)
    return tasks.make(target, values, options.metric, "balanced" if weigh else None)


def taps_of(dataset: Dataset, options: FitOptions) -> bool:
    """Whether every stage's summary is stored: a layer is to be chosen, and the rows are few."""
    few = len(dataset.splits["train"]) <= TAPPED_ROWS
    probed = all(target.kind not in WRITTEN | {"detect"} for target in dataset.targets)
    return probed and options.layer == "auto" and few and options.strategy != "scratch"
