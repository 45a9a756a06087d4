"""The chosen plan again with other seeds: what chance in training did to the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ukulele import evaluate
from ukulele.events import Said
from ukulele.trial.attempt import attempt, spared
from ukulele.trial.context import Context
from ukulele.trial.joint import measured
from ukulele.trial.outcome import Outcome
from ukulele.trial.together import DELTA_M, against_singles, singles, versus
from ukulele.types import Candidate, Estimate, Verdict


@dataclass(frozen=True)
class Repeats:
    """Outcomes of one plan with several seeds, the chosen one first: it is what is packed.

    Of several tasks `alone` has the models for each with the other seeds, where they are controls.
    """

    outcomes: Sequence[Outcome]
    alone: Mapping[str, Sequence[Outcome]] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """What is asked."""
        return list(self.outcomes[0].tasks)

    def test(self, task: str) -> Mapping[str, Estimate]:
        """Every metric of a task on the test rows: the mean over seeds."""
        return measured(self.outcomes, task)

    def compare(self, other: Outcome) -> Verdict:
        """Of a single task, the mean over seeds against another candidate, on the same test rows."""
        return versus(self.outcomes, [other], self.tasks[0], "test")

    def plain(self, shown: Sequence[Outcome]) -> dict[str, Any]:
        """For the record; by task where there are several, and then with Δm of each seed."""
        tests = {task: evaluate.plain(self.test(task)) for task in self.tasks}
        each = [self._seed(number, shown) for number in range(len(self.outcomes))]
        if len(tests) > 1:
            return {"metric": DELTA_M, "each": each, "test": tests}
        task = self.tasks[0]
        alone = [one | {split: one[split][task] for split in ("validation", "test")} for one in each]
        return {"metric": self.outcomes[0].tasks[task].metrics[0].name, "each": alone, "test": tests[task]}

    def _seed(self, number: int, shown: Sequence[Outcome]) -> dict[str, Any]:
        outcome = self.outcomes[number]
        found: dict[str, Any] = {"seed": outcome.candidate.plan.seed}
        for split in ("validation", "test"):
            known = {
                name: outcome.measured(split, name).get(task.metrics[0].name) for name, task in outcome.tasks.items()
            }
            found[split] = {name: None if one is None else asdict(one) for name, one in known.items()}
        if len(self.tasks) > 1:
            alone = {task: [_of_seed([one, *self.alone.get(task, ())], number)] for task, one in singles(shown).items()}
            gain = against_singles({task: [outcome] for task in self.tasks}, alone, "test")
            found[DELTA_M] = None if gain is None else asdict(gain)
        return found | {"seconds": outcome.cost.seconds}


def _of_seed(found: Sequence[Outcome], number: int) -> Outcome:
    return found[number % len(found)]


def repeat(chosen: Outcome, shown: Sequence[Outcome], context: Context) -> Repeats | None:
    """Fit the chosen plan with the other seeds that were asked for, and so the models for each of several tasks that
    are controls. What is frozen is encoded once for all.
    """
    if context.options.seeds < 2:
        return None
    found = [chosen]
    for again in _again(chosen, context):
        context.hear(Said(again.name))
        found.append(attempt(again, context))
    alone = {}
    for task, single in singles(shown).items():
        others = [spared(again, context) for again in _again(single, context)]
        alone[task] = [one for one in others if one is not None]
        if len(alone[task]) < len(others):
            alone[task] = []  # the first seed alone then stands for the control
    return Repeats(found, alone)


def _again(outcome: Outcome, context: Context) -> list[Candidate]:
    """A candidate with the other seeds."""
    candidate, plan = outcome.candidate, outcome.candidate.plan
    views = plan.seed if plan.views_seed is None else plan.views_seed
    return [
        replace(candidate, name=f"{candidate.name} seed {seed}", plan=replace(plan, seed=seed, views_seed=views))
        for seed in range(plan.seed + 1, plan.seed + context.options.seeds)
    ]
