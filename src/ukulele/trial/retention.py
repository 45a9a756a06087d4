"""What a model that was trained on can still do of what it did before: another text's score, before and after."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ukulele import data, diagnose, evaluate, features
from ukulele.data.options import ReadOptions
from ukulele.errors import DataError, PlanError, RunError
from ukulele.models.bundle import about, is_bundle
from ukulele.trial.context import Context
from ukulele.trial.outcome import Outcome
from ukulele.trial.predict import Predictor
from ukulele.types import Candidate, Dataset, Estimate, Finding, Model, Plan, Verdict, with_answer

BEFORE = "before"


@dataclass(frozen=True)
class Retention:
    """Scores on the test rows of a text that the model may have come from, and what training made of them."""

    name: str
    rows: int
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    verdict: Verdict

    def plain(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "data": self.name,
            "rows": self.rows,
            "before": evaluate.plain(self.before),
            "after": evaluate.plain(self.after),
            "verdict": asdict(self.verdict),
        }

    @property
    def finding(self) -> Finding:
        """The same in words."""
        metric, difference = self.verdict.metric, self.verdict.difference
        values = (self.before[metric].value, self.after[metric].value)
        return diagnose.forgetting(
            self.name, metric, values, (difference.value, difference.low, difference.high), self.verdict.outcome
        )


def kept(context: Context) -> Dataset | None:
    """The text that is to be asked again, where one is named; read before anything is trained.

    Raises
    ------
    PlanError
        If the run writes no texts, transfers nothing, or is to train again on what is no plain text.
    """
    if context.options.retain is None:
        return None
    kind, (target, *_) = context.writes, context.data.targets
    if kind is None:
        raise PlanError("--retain: for models that write (generate, translate, summarise).", hint="Leave it out.")
    if context.options.strategy == "scratch":
        raise PlanError("--retain: from random weights there is nothing to be forgotten.", hint="Leave it out.")
    asked = ReadOptions(task=kind)
    if not target.free:
        if context.options.replay is not None:
            raise PlanError("--replay: for plain text with --task generate.", hint="Leave it out.")
        columns = () if context.data.columns == (data.MESSAGES,) else context.data.columns
        asked = ReadOptions(task=kind, inputs=columns, target=(target.column or target.name,) if columns else ())
    found = _read(context, _as_before(context, kind), asked)
    key = features.data_key(found)
    if context.run.decide("retain", lambda: key) != key:
        raise RunError(
            f"--retain {context.options.retain}: the data are not those that {context.run.path} was begun with.",
            hint="Begin a new run, or bring the old data back.",
        )
    if found.targets[0].free != target.free:
        raise PlanError(
            f"--retain {context.options.retain}: rows of the same kind as the data's were expected.",
            hint="Plain text for plain text; the same columns for prompts, conversations, translations and summaries.",
        )
    return found


def _as_before(context: Context, kind: str) -> ReadOptions | None:
    """The columns that the model, a bundle, was asked in; None where it is none, or is told its languages by code."""
    path = Path(context.options.model or "").expanduser()
    told = about(path) if context.options.model and is_bundle(path) else {}
    asked, tasks = told.get("asked", {}), list(told.get("tasks", {}).values())
    same = len(tasks) == 1 and tasks[0].get("kind") == kind and not tasks[0].get("free")
    if not same or told.get("recipe", {}).get("languages") or told["columns"] == [data.MESSAGES]:
        return None
    return ReadOptions(task=kind, inputs=tuple(told["columns"]), target=tuple(one["column"] for one in asked.values()))


def _read(context: Context, before: ReadOptions | None, now: ReadOptions) -> Dataset:
    """The data in the columns that the model was asked in where they have these, else in those of now."""
    options = context.options
    if before is not None and options.retain is not None:
        try:
            return data.read(options.retain, before, options.cache_folder)
        except DataError:  # they lack a column: what is wrong with them otherwise is told below
            pass
    return data.read(options.retain, now, options.cache_folder)


def retained(dataset: Dataset, chosen: Outcome, context: Context) -> Retention:
    """The text's test rows by the model as it was and as it is now."""
    untouched = replace(chosen.candidate, plan=Plan("zero-shot", seed=context.options.seed))
    before, _ = context.load(Candidate(BEFORE, untouched.model, untouched.plan, pretrained=untouched.pretrained))
    task: Any = next(iter(chosen.tasks.values()))
    name = dataset.targets[0].name
    rows = _windows(dataset, chosen.model) if dataset.targets[0].free else dataset.splits["test"]
    inputs = [with_answer(row, name) if chosen.model.teaches else row.inputs for row in rows]
    values = [row.targets[name] for row in rows]
    asked = replace(task, decoding=replace(task.decoding, tokens=0)) if task.free else task
    tables = []
    for model, head in ((before, task.head(before)), (chosen.model, chosen.heads[task.name])):
        predictor = Predictor(model, {task.name: head}, {task.name: asked}, {}, context.dtype, context.engine.device)
        tables.append(task.table(task.decode(predictor.raw(inputs)[task.name]), values))
    scores = [dict(evaluate.estimates(task, table)) for table in tables]
    verdict = evaluate.compare(task.metrics[0], tables[1], tables[0], BEFORE)
    return Retention(dataset.name, len(values), scores[0], scores[1], verdict)


def _windows(dataset: Dataset, model: Model) -> Any:
    if model.windows is None:
        raise PlanError(f"--retain: {model.name} does not continue texts.", hint="Leave it out.")
    return data.windows(dataset, model.windows, int(model.limit or 0)).splits["test"]
