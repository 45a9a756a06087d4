"""What a model that was trained on can still do of what it did before: another text's score, before and after."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ukulele import data, diagnose, evaluate
from ukulele.data.options import ReadOptions
from ukulele.errors import PlanError
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
        If the run is not about continuing plain text, or transfers nothing.
    """
    if context.options.retain is None:
        return None
    if not any(target.free for target in context.data.targets):
        raise PlanError("--retain: for plain text with --task generate.", hint="Leave it out.")
    if context.options.strategy == "scratch":
        raise PlanError("--retain: from random weights there is nothing to be forgotten.", hint="Leave it out.")
    return data.read(context.options.retain, ReadOptions(task="generate"), context.options.cache_folder)


def retained(dataset: Dataset, chosen: Outcome, context: Context) -> Retention:
    """The text's test rows by the model as it was and as it is now."""
    untouched = replace(chosen.candidate, plan=Plan("zero-shot", seed=context.options.seed))
    before, _ = context.load(Candidate(BEFORE, untouched.model, untouched.plan, pretrained=untouched.pretrained))
    task: Any = next(iter(chosen.tasks.values()))
    rows = _windows(dataset, chosen.model)
    inputs = [with_answer(row, data.TEXT) for row in rows]
    values = [row.targets[data.TEXT] for row in rows]
    tables = []
    for model, head in ((before, task.head(before)), (chosen.model, chosen.heads[task.name])):
        asked = replace(task, decoding=replace(task.decoding, tokens=0))
        predictor = Predictor(model, {task.name: head}, {task.name: asked}, {}, context.dtype, context.engine.device)
        tables.append(task.table(task.decode(predictor.raw(inputs)[task.name]), values))
    scores = [dict(evaluate.estimates(task, table)) for table in tables]
    verdict = evaluate.compare(task.metrics[0], tables[1], tables[0], BEFORE)
    return Retention(dataset.name, len(values), scores[0], scores[1], verdict)


def _windows(dataset: Dataset, model: Model) -> Any:
    if model.windows is None:
        raise PlanError(f"--retain: {model.name} does not continue texts.", hint="Leave it out.")
    return data.windows(dataset, model.windows, int(model.limit or 0)).splits["test"]
