"""The ladder: the next dearer strategy is tried if its measured cost fits the budget and the one before it gained.

What a clock decides is written down with the run's decisions, and replayed where the run goes on.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ukulele import features, strategies
from ukulele.events import Said
from ukulele.runs import RunFolder
from ukulele.story.measuring import Line, Sample, stored_at
from ukulele.strategies import Facts, Wishes
from ukulele.trial.attempt import spared
from ukulele.trial.context import Context, is_still
from ukulele.trial.evidence import clearly_best
from ukulele.trial.outcome import SUMMED, Outcome
from ukulele.trial.rates import tuned_scratch
from ukulele.trial.together import compare, gained
from ukulele.types import SPLITS, Candidate, Plan, Verdict

LEAST = 0.25  # share of a plan's epochs below which it is not tried
RESERVE = 0.05  # share of the budget that is kept for scoring and packing
PROOF = 0.35  # share of the rest that is kept for controls that are trained, where there are any
CUTS = ("finetune", "lora", "dora", "bitfit", "fewshot")  # strategies whose cut is ours to choose


@dataclass
class Climb:
    """Where a run stands on the ladder. Without a budget every rung is taken, and nothing is measured."""

    context: Context
    facts: Facts
    wishes: Wishes
    proof: bool = False  # whether a control is to be trained afterwards
    best: Outcome | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)  # a rung, trained control or group each, for the record
    over: str = ""  # why no further rung is tried
    until: float | None = None  # seconds of the run from which on no further epoch begins
    _passed: set[str] = field(default_factory=set)  # passes through frozen stages that are stored

    @property
    def budget(self) -> float | None:
        """Seconds for the whole run, or None."""
        return self.context.options.seconds

    def step(self, rung: Candidate, ahead: int = 0) -> Candidate | None:
        """The rung as it is to be fitted, or None where it is not: too dear, or the one below it did not gain.

        `ahead` is a cut that it stores on its way.
        """
        if self.budget is None:
            return rung
        if self.over:
            self._left(rung, {"why": self.over})
            return None
        rung = self._at_measured_cut(rung)
        found = self.context.decide(f"rung {rung.name}", lambda: self._judged(rung, PROOF * self.proof))
        self._passed |= {*found["passes"], stored_at(rung, str(ahead))}
        self.until = found["until"]
        if not found["taken"]:
            self.over = "a cheaper one did not fit the budget"
            self._left(rung, found)
            return None
        self.context.hear(Said(f"{rung.name}: {found['why']}"))
        self.steps.append({"name": rung.name, "role": "rung", **_told(found), "taken": True})
        return _with_epochs(rung, found["epochs"])

    def fitted(self, rival: Candidate, what: str = "control") -> Outcome | None:
        """A control, or the model of a group, fitted with as many epochs as the rest of the budget allows; None where
        it is left out.
        """
        if self.budget is None or is_still(rival.plan):
            return spared(_tuned(rival, self.context), self.context, what)
        found = self.context.decide(f"{what} {rival.name}", lambda: self._judged(rival, 0.0))
        if not found["taken"]:
            self._left(rival, found, what)
            return None
        self.context.hear(Said(f"{rival.name}: {found['why']}"))
        candidate = _tuned(_with_epochs(rival, found["epochs"]), self.context)
        outcome = spared(candidate, self.context, what, found["until"])
        if outcome is None:
            return None
        step = {"name": rival.name, "role": what, **_told(found), "taken": True, **self._took(outcome)}
        if step["stopped"]:
            said = f"{rival.name}: time was up after {step['epochs']} of {step['planned_epochs']} epochs"
            self.context.hear(Said(said))
        self.steps.append(step | _alone(rival))
        self.context.run.manifest["ladder"] = self.steps
        return outcome

    def reached(self, outcome: Outcome) -> None:
        """A rung was fitted: is it better than the best so far?"""
        if self.budget is None:
            return
        gain = None if self.best is None else compare(outcome, self.best, "validation")
        better = gain is None or gain.difference.value > 0
        if not better and not outcome.still:  # a probe is cheap, and says nothing of what training would do
            self.over = f"the {outcome.candidate.name} gained nothing"
        self.steps[-1] |= self._seen(outcome, gain)
        self.context.run.manifest["ladder"] = self.steps
        self.best = outcome if better else self.best

    def _left(self, rung: Candidate, found: Mapping[str, Any], what: str = "rung") -> None:
        self.context.hear(Said(f"{rung.name}: not tried, {found['why']}"))
        self.steps.append({"name": rung.name, "role": what, **_told(found), "taken": False, **_alone(rung)})
        self.context.run.manifest["ladder"] = self.steps

    def _at_measured_cut(self, rung: Candidate) -> Candidate:
        """The rung with its cut right above the stage that a probe did best on, if that lies below the usual cut."""
        layers = self.context.run.manifest.get("layers", [])
        if rung.name not in CUTS or self.wishes.freeze not in {None, "auto"} or not layers:
            return rung
        best = clearly_best({layer["stage"]: layer for layer in layers}, layers[-1]["stage"])
        at = self.facts.stages.index(best) + 1 if best in self.facts.stages else 0
        if best is None or at >= strategies.cut(rung.plan, self.facts):
            return rung
        self.context.hear(Said(f"{rung.name}: cut behind {best}, where a probe does best"))
        return replace(rung, plan=strategies.make(rung.name, self.facts, replace(self.wishes, freeze=at)))

    # ------------------------------------------------------------ by the clock

    def _judged(self, rung: Candidate, kept: float) -> dict[str, Any]:
        """Measure a rung, and whether what it would take is left of the budget, of which a share is kept."""
        budget, spent = self.budget or math.inf, self.context.run.spent()
        end = budget * (1 - RESERVE) * (1 - kept)
        first = self.best is None
        if spent > budget and not first:
            left = max(0.0, budget - spent)
            return _decision(left, None, 0, False, f"the budget of {_span(budget)} is spent")
        line = self._measured(rung)
        left = end - self.context.run.spent()
        fixed, tail, planned = self._costs(line, rung)
        needed = fixed + tail + planned * line.epoch
        epochs = planned if needed <= left else math.floor((left - fixed - tail) / max(line.epoch, 1e-9))
        least = max(1, math.ceil(LEAST * planned))
        enough = epochs >= least if planned else needed <= left
        said = f"about {_span(fixed + planned * line.epoch)}, {_span(max(left, 0.0))} of the budget left"
        taken = first or enough
        epochs = epochs if enough else least if planned and first else planned
        if taken and epochs < planned:
            said += f": {epochs} of {planned} epochs"
        until = end - tail - line.epoch
        return {
            **_decision(left, fixed + epochs * line.epoch, epochs, taken, said if taken else f"it takes {said}"),
            "planned": planned,
            "passes": sorted(line.passes),
            "until": until if planned else None,
        }

    def _costs(self, line: Line, rung: Candidate) -> tuple[float, float, int]:
        """Seconds besides the epochs of the last phase, seconds to score it afterwards, and those epochs."""
        trained = [phase for phase in rung.plan.phases if phase.optimiser != "probe"]
        planned = trained[-1].epochs if trained else 0
        passes = sum(one.seconds for name, one in line.passes.items() if name not in self._passed)
        train, validation, test = (len(self.context.data.splits[split]) for split in SPLITS)
        scored = passes * test / max(1, train + validation + test)  # test rows are encoded when they are scored
        tail = line.answer * (test + min(train, SUMMED)) + scored
        fitted = line.training - planned * line.epoch + line.answer * validation
        return fitted + passes - scored, tail, planned

    def _measured(self, rung: Candidate) -> Line:
        """What it would take, on this machine, from a few steps that are thrown away."""
        nowhere = RunFolder.nowhere()
        with tempfile.TemporaryDirectory(prefix="ukulele-") as folder:
            cache = features.Cache(Path(folder))
            thrown = replace(self.context, cache=cache, run=nowhere, hear=lambda _event: None, pristine={})
            return Sample(rung, thrown).line(self.facts)

    def _seen(self, outcome: Outcome, gain: Verdict | None) -> dict[str, Any]:
        """What came of a rung, as plain JSON."""
        name = next(iter(outcome.tasks))
        metric = outcome.tasks[name].metrics[0].name
        found = outcome.measured("validation", name).get(metric) if len(outcome.tasks) == 1 else None
        better = gain is None or gain.difference.value > 0
        why = "the first rung" if gain is None else f"{gained(gain)} over the {gain.against} on validation"
        return {
            **self._took(outcome),
            "validation": None if found is None else asdict(found),
            "gain": None if gain is None else asdict(gain.difference),
            "better": better,
            "outcome": why,
        }

    def _took(self, outcome: Outcome) -> dict[str, Any]:
        """What a candidate took, and whether the clock left it fewer epochs than it was given."""
        name, decisions = outcome.candidate.name, self.context.run.manifest["decisions"]
        stopped = any(value is True for what, value in decisions.items() if what.startswith(f"{name}: time was up"))
        return {
            "seconds": outcome.cost.seconds,
            "spent_seconds": self.context.decide(f"spent by {name}", self.context.run.spent),
            "stopped": stopped,
            **({"epochs": _epochs_of(outcome)} if stopped else {}),
        }


def _decision(left: float, predicted: float | None, epochs: int, taken: bool, why: str) -> dict[str, Any]:
    return {
        "left": left, "predicted": predicted, "epochs": epochs, "planned": epochs, "taken": taken, "why": why,
        "passes": [], "until": None,
    }  # fmt: skip


def _told(found: Mapping[str, Any]) -> dict[str, Any]:
    """A decision for the record."""
    return {
        "why": found["why"],
        "left_seconds": found.get("left"),
        "predicted_seconds": found.get("predicted"),
        "epochs": found.get("epochs"),
        "planned_epochs": found.get("planned"),
    }


def _tuned(rival: Candidate, context: Context) -> Candidate:
    return tuned_scratch(rival, context) if rival.name == "scratch" else rival


def _alone(candidate: Candidate) -> dict[str, Any]:
    """Of a candidate for some of several tasks, which."""
    return {} if candidate.tasks is None else {"tasks": list(candidate.tasks)}


def _last_trained(plan: Plan) -> int | None:
    return max((i for i, phase in enumerate(plan.phases) if phase.optimiser != "probe"), default=None)


def _epochs_of(outcome: Outcome) -> int:
    """The epochs that its last phase that trains had."""
    at = _last_trained(outcome.candidate.plan)
    return sum(epoch["phase"] == at for epoch in outcome.history)


def _with_epochs(rung: Candidate, epochs: int) -> Candidate:
    """The rung with so many epochs in its last phase that has any."""
    phases, at = list(rung.plan.phases), _last_trained(rung.plan)
    if at is None or not epochs:
        return rung
    phases[at] = phases[at].lasting(epochs)
    return replace(rung, plan=replace(rung.plan, phases=tuple(phases)))


def _span(seconds: float) -> str:
    """A stretch of time.

    >>> _span(4.2), _span(75), _span(600)
    ('4 s', '75 s', '10 min')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
