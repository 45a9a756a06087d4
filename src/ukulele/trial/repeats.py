"""The chosen plan again with other seeds: what chance in training did to the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ukulele import evaluate
from ukulele.events import Said
from ukulele.trial.attempt import attempt
from ukulele.trial.context import Context
from ukulele.trial.outcome import Outcome
from ukulele.types import Estimate, Verdict


@dataclass(frozen=True)
class Repeats:
    """Outcomes of one plan with several seeds, the chosen one first: it is what is packed."""

    outcomes: Sequence[Outcome]

    @property
    def task(self) -> str:
        """The task that is asked."""
        return next(iter(self.outcomes[0].tasks))

    def test(self) -> dict[str, Estimate]:
        """Every metric on the test rows: the mean over seeds."""
        tables = [outcome.table("test", self.task) for outcome in self.outcomes]
        by_name: dict[str, list[Any]] = {}
        for outcome in self.outcomes:
            for metric in outcome.tasks[self.task].metrics:
                by_name.setdefault(metric.name, []).append(metric)
        return evaluate.over_seeds(by_name, tables)

    def compare(self, other: Outcome) -> Verdict:
        """The mean over seeds against another candidate, on the same test rows."""
        metric = self.outcomes[0].tasks[self.task].metrics[0]
        ours = [outcome.table("test", self.task) for outcome in self.outcomes]
        return evaluate.compare_seeds(metric, ours, other.table("test", self.task), other.candidate.name)

    def plain(self) -> dict[str, Any]:
        """For the record."""
        metric = self.outcomes[0].tasks[self.task].metrics[0].name
        each = []
        for outcome in self.outcomes:
            found = {split: outcome.measured(split, self.task).get(metric) for split in ("validation", "test")}
            told = {split: None if one is None else asdict(one) for split, one in found.items()}
            each.append({"seed": outcome.candidate.plan.seed, **told, "seconds": outcome.cost.seconds})
        return {"metric": metric, "each": each, "test": evaluate.plain(self.test())}


def repeat(chosen: Outcome, context: Context) -> Repeats | None:
    """Fit the chosen plan with the other seeds that were asked for. What is frozen is encoded once for all."""
    if context.options.seeds < 2:
        return None
    found, plan = [chosen], chosen.candidate.plan
    for seed in range(plan.seed + 1, plan.seed + context.options.seeds):
        context.hear(Said(f"{chosen.candidate.name} with seed {seed}"))
        again = replace(plan, seed=seed, views_seed=plan.seed if plan.views_seed is None else plan.views_seed)
        found.append(
            attempt(replace(chosen.candidate, name=f"{chosen.candidate.name} seed {seed}", plan=again), context)
        )
    return Repeats(found)
