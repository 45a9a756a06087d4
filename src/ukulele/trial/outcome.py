"""A candidate that was fitted: its answers, its numbers, and what of both is written down and taken up again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ukulele import evaluate
from ukulele.events import Event, Judged, Lookahead, Souped, Stepped
from ukulele.loop.between import Start
from ukulele.loop.feed import Feed
from ukulele.loop.summed import Summed, spread
from ukulele.loop.truth import Numbers
from ukulele.strategies import Facts
from ukulele.trial.context import is_still
from ukulele.types import Candidate, Cost, Estimate, Head, Model, Split, Task

SUMMED = 2000  # rows of a split whose summaries are kept as they are answered


@dataclass
class Outcome:
    """A candidate that was fitted: its model, tuned tasks, raw answers by split and task, and what it took."""

    candidate: Candidate
    model: Model
    heads: Mapping[str, Head]
    tasks: Mapping[str, Task]
    feed: Feed
    cost: Cost
    cut: int
    facts: Facts  # that its plan was made from
    private: int = 0  # top stages that each head has for its own
    history: list[dict[str, Any]] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)  # how the tasks acted on each other
    raw: dict[Split, dict[str, list[Any]]] = field(default_factory=dict)
    sampled: dict[tuple[Split, int], dict[str, list[Any]]] = field(default_factory=dict)  # answers of some rows
    summed: dict[Split, Summed] = field(default_factory=dict)
    strength: float | None = None
    cross_validation: tuple[float, float] | None = None
    why: str = ""
    held: dict[str, torch.Tensor] = field(default_factory=dict)  # by task, a probe's answers on training rows, unseen
    figures: dict[tuple[Split, str], Mapping[str, Estimate]] = field(default_factory=dict)
    averages: dict[str, Any] = field(default_factory=dict)  # of weights: which epochs, how far back to the start
    start: Start | None = None  # where the weights were, if they go back towards that

    def answers(self, split: Split, task: str) -> list[Any]:
        """Raw answers, computed when first asked for."""
        if split not in self.raw:
            self.raw[split] = self._answered(split, None)
        return self.raw[split][task]

    def in_turn(self, split: Split, task: str, most: int) -> Iterator[Any]:
        """Raw answers one after the other; unless all are there already, no more than `most` of them at once."""
        if split in self.raw:
            yield from self.raw[split][task]
            return
        rows = self.feed.numbers(split)
        for at in range(0, len(rows), most):
            answered = self._answered(split, rows[at : at + most])[task]
            yield from (answer for answer in answered if answer is not None)

    def table(self, split: Split, task: str, most: int | None = None) -> Any:
        """Row statistics of the final answers, for the metrics; of `most` rows, evenly spread, where there are more."""
        asked, values, rows = self.tasks[task], self.feed.values(split, task), self.feed.numbers(split)
        if most is None or len(rows) <= most:
            return asked.table(asked.decode(self.answers(split, task)), values)
        answered = zip(self._some(split, most)[task], values, strict=True)
        pairs = [(answer, value) for answer, value in answered if answer is not None]
        if not pairs:  # a task that few rows have: all of those, then
            return asked.table(asked.decode(self.answers(split, task)), values)
        return asked.table(asked.decode([answer for answer, _ in pairs]), [value for _, value in pairs])

    def groups(self, split: Split, task: str, most: int | None = None) -> Numbers | None:
        """Of each row of `table` its group of `--group`; None where each is by itself."""
        found = self.feed.truth(split).clusters(self.feed.truth(split).numbers(task))
        if found is None or most is None or len(self.feed.numbers(split)) <= most:
            return found
        there = np.array([answer is not None for answer in self._some(split, most)[task]])
        return found[there] if there.any() else found

    def _some(self, split: Split, most: int) -> dict[str, list[Any]]:
        """Answers of `most` rows, evenly spread; None for the others."""
        if (split, most) not in self.sampled:
            self.sampled[split, most] = self._answered(split, spread(self.feed.numbers(split), most))
        return self.sampled[split, most]

    def summaries(self, split: Split, most: int = SUMMED) -> NDArray[np.float32]:
        """What the trunk makes of `most` rows, evenly spread, (rows, width): seen when they were answered, or now."""
        if split in self.summed and most == SUMMED:
            return self.summed[split].matrix
        return self.feed.summaries(split, self.lowest, most)

    def _answered(self, split: Split, some: Numbers | None) -> dict[str, list[Any]]:
        wanted = spread(self.feed.numbers(split), SUMMED)
        if self.still or (some is not None and len(some) < len(wanted)):
            return self.feed.answers(split, self.lowest, some=some)[0]
        self.summed[split] = Summed(self.model, wanted)
        return self.feed.answers(split, self.lowest, some=some, watch=self.summed[split])[0]

    @property
    def lowest(self) -> int:
        """The cut from which answers are computed."""
        return len(self.model.stages) if self.still else self.cut

    def measured(self, split: Split, task: str) -> Mapping[str, Estimate]:
        """Every metric of a task on a split, with its interval; computed once."""
        if (split, task) not in self.figures:
            groups = self.groups(split, task)
            self.figures[split, task] = evaluate.estimates(self.tasks[task], self.table(split, task), groups)
        return self.figures[split, task]

    @property
    def still(self) -> bool:
        """Whether the trunk is as it was loaded."""
        return is_still(self.candidate.plan)

    def note(self, event: Event) -> None:
        """Keep what an event says of an epoch, a look at the tasks' effect on each other, or a mean of weights."""
        history = self.history
        match event:
            case Stepped(place, of, _, losses) if of:
                loss = sum(losses.values())
                last = history[-1] if history else None
                if last and (last["phase"], last["epoch"]) == (place.phase, place.epoch):
                    last["train_loss"] += (loss - last["train_loss"]) / (place.step + 1)
                elif "probe" not in losses:
                    history.append({"phase": place.phase, "epoch": place.epoch, "train_loss": loss})
                if "probe" not in losses and (lost := [task for task in self.tasks if task not in losses]):
                    history[-1]["lost"] = lost
            case Judged(_, loss, score, best, scores) if history:
                history[-1] |= {"validation_loss": _finite(loss), "score": _finite(score), "best": best}
                if len(scores) > 1:
                    history[-1]["scores"] = {task: _finite(value) for task, value in scores.items()}
            case Souped(place, epochs, score, alone):
                found = {"epochs": list(epochs), "score": _finite(score), "alone": _finite(alone)}
                self.averages["soup"] = {"phase": place.phase, **found}
            case Lookahead(place, _, affinity, conflicts):
                rows = [[_finite(value) for value in row] for row in affinity]
                look = {"phase": place.phase, "epoch": place.epoch, "affinity": rows, "conflicts": conflicts}
                self.looks.append(look)

    def note_probes(self) -> None:
        """Keep what the probes that were fitted so far say: strength, answers on unseen rows, cross-validation."""
        probes = list(self.feed.probes.values())
        if not probes:
            return
        self.strength = float(probes[0].strength) if len(probes) == 1 else None
        if self.still and self.candidate.role == "rung":
            self.held = {task: probe.oof for task, probe in self.feed.probes.items()}
        if self.candidate.plan.phases[0].optimiser != "probe":
            return  # what its features were taught on tells nothing about it
        mean = sum(probe.score.mean for probe in probes) / len(probes)
        self.cross_validation = (mean, math.sqrt(sum(probe.score.error**2 for probe in probes)) / len(probes))

    def particulars(self) -> dict[str, Any]:
        """What was kept, as a run's folder holds it beside the weights."""
        return {
            "history": self.history,
            "looks": self.looks,
            "strength": self.strength,
            "cross_validation": self.cross_validation,
            "held": self.held,
            "averages": self.averages,
            **({"start": self.start.plain()} if self.start is not None else {}),
        }

    def recall(self, kept: Mapping[str, Any]) -> None:
        """Take up `particulars` that were written down."""
        self.history, self.strength = list(kept["history"]), kept["strength"]
        self.looks, self.held = list(kept.get("looks", ())), dict(kept.get("held", {}))
        self.averages = dict(kept.get("averages", {}))
        if self.start is not None:
            self.start.recall(kept["start"])
        self.cross_validation = tuple(kept["cross_validation"]) if kept["cross_validation"] else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
