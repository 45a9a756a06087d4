"""What a candidate would take, measured: some rows take the way that all would take, and what that took is scaled up.

The models and the cache are thrown away; nothing is trained that is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ukulele import features, strategies
from ukulele.events import Stepped
from ukulele.features.encode import Frozen, batches, encoding
from ukulele.loop.assembly import assemble
from ukulele.loop.feed import Feed
from ukulele.loop.meter import peak_memory
from ukulele.loop.probing import fit_probe, pick
from ukulele.loop.selection import check, owners, select, trained
from ukulele.loop.train import train
from ukulele.strategies import Facts
from ukulele.trial.attempt import MAKES_ITS_OWN, untied
from ukulele.trial.context import Context
from ukulele.types import SPLITS, Candidate, Phase, Split, Table

ROWS = 64  # of the sample, a full batch of a pass; more where the steps that are timed take more
STEPS = 3  # of which the first warms up
CHEAP = 400  # rows of the sample for models that are made in an instant
PROBED = 1000  # rows of the probe that is timed; with fewer it hardly takes less


@dataclass(frozen=True)
class PassCost:
    """One pass through a frozen part: seconds, and bytes to store."""

    seconds: float
    size: float


@dataclass(frozen=True)
class Line:
    """What a candidate would take. `passes` by what they store: candidates share those of one name."""

    candidate: Candidate
    plan: str
    cut: str
    trained: int
    total: int
    passes: Mapping[str, PassCost]
    training: float  # seconds
    memory: float  # bytes
    epoch: float = 0.0  # seconds of an epoch of the last phase, validation included
    answer: float = 0.0  # seconds to answer a row, of what is stored at the cut


class Sample:
    """A candidate on some of the rows, to be timed and thrown away."""

    def __init__(self, candidate: Candidate, context: Context) -> None:
        self.candidate, self.context = candidate, context
        whole, self.trunk = context.load(candidate)
        whole = untied(whole, candidate.plan)
        own = 0 if candidate.model in MAKES_ITS_OWN else context.private(candidate.plan)
        self.tasks = context.asked(candidate)
        ours = assemble(whole, candidate.plan, self.tasks, own)
        self.whole, self.model, self.heads = whole, ours.model, ours.heads
        check(self.model, self.heads, candidate.plan)
        self.classical = candidate.model in MAKES_ITS_OWN
        steps = STEPS * len(self.tasks)
        batches = [steps * phase.batch for phase in candidate.plan.phases if phase.optimiser != "probe"]
        wanted = max(CHEAP if self.classical else ROWS, *batches, 1)
        numbers = {split: context.truth(split).having(self.tasks) for split in SPLITS if split in context.data.splits}
        self.counts = {split: len(rows) for split, rows in numbers.items()}
        tables = context.tables(self.tasks, self.model)
        self.tables: dict[Split, Table] = {
            split: Table(tables[split].rows.take(rows[_spread(len(rows), wanted)].tolist()), self.tasks)
            for split, rows in numbers.items()
        }
        self.tapped = context.taps and not self.classical and candidate.pretrained
        self.feed = self._feed(candidate.plan, self.trunk if self.tapped else None)
        self.answer = self.epoch = 0.0

    def _feed(self, plan: strategies.Plan, trunk: Any = None) -> Feed:
        c = self.context
        return Feed(self.model, self.heads, plan, self.tables, c.cache, c.engine, c.dtype, c.hear, trunk)

    def line(self, facts: Facts) -> Line:
        """The candidate's costs, for all rows."""
        passes: dict[str, PassCost] = {}
        training, lowest = 0.0, len(self.model.stages)
        for number, phase in enumerate(self.candidate.plan.phases):
            if phase.optimiser == "probe":
                before = self.candidate.plan.phases[:number]
                if any(one.optimiser != "probe" for one in before):  # of the training rows, in what was trained
                    passes[self._name(f"pooled after {self.candidate.name}")] = self._pass(None, 1, ("train",))
                else:
                    passes[self._name("pooled")] = self._pass(None, 1)
                training += self._probing()
                continue
            cut = select(self.model, self.heads, phase).cut
            lowest = min(lowest, cut)
            passes[self._name(str(cut))] = self._pass(cut, self._views(phase))
            training += self._descending(phase, cut) * self._searches(phase)
        return Line(
            self.candidate,
            strategies.in_words(self.candidate.plan, facts, self.candidate.stop),
            self._cut(lowest),
            trained(self.model, self.heads, self.candidate.plan.phases),
            sum(parameter.numel() for parameter in owners(self.model, self.heads)),
            passes,
            training,
            self._memory(),
            self.epoch,
            self.answer,
        )

    def _cut(self, cut: int) -> str:
        stages = [stage.name for stage in self.model.stages]
        if self.classical or cut == len(stages):
            return "above the last stage: everything below the head is frozen, and run once"
        if cut == 0:
            return "below the first stage: everything is trained, and run in every epoch"
        return f"below {stages[cut]}: the {cut} stages under it are frozen, and run once"

    def _name(self, what: str) -> str:
        return stored_at(self.candidate, what)

    def _views(self, phase: Phase) -> int:
        """How often the training rows are encoded."""
        if not self.model.augments:
            return 1
        return min(self.candidate.plan.views, phase.epochs) if self.candidate.plan.views else phase.epochs

    def _searches(self, phase: Phase) -> float:
        """How much dearer searches for the rate and for weights make it."""
        tried = self.candidate.name == "scratch" and (
            self.candidate.role == "control" or self.context.options.given_rate is None
        )
        tried = tried and (self.context.options.controls == "all" or not self.context.writes)
        rung = self.candidate.role == "rung" and self.candidate.tasks is None  # groups have the plan that was found
        rated = self.context.options.rate == "auto" and rung and self.candidate.pretrained
        weighed = self.context.options.weights == "tuned" and rung
        times = 3 * (tried or rated) + (1 + len(self.tasks)) * weighed
        return 1 + times * max(1, phase.epochs // 3) / phase.epochs

    def _pass(self, cut: int | None, views: int, splits: Sequence[Split] = SPLITS) -> PassCost:
        """The better of two passes of some rows, to a cut or through all stages, scaled to all rows of some splits."""
        model, taps = (self.trunk, self.tapped) if cut is None and self.tapped else (self.whole, False)
        model, top = (model, len(model.stages)) if cut is None else (self.model, cut)
        dtype, device = self.context.dtype if top else "fp32", self.context.engine.device
        wanted = features.Pass(top, 0, 0, dtype, device, taps)
        frozen, rows, took = Frozen(model, wanted), self.tables["train"].rows, []
        rows = rows.take(range(min(ROWS, len(rows))))
        for _ in range(2):
            began, size = time.perf_counter(), 0
            for _numbers, values in batches(frozen, len(rows), encoding(model, rows, lambda _row: 0)):
                size += sum(value.nbytes for row in values for value in row.values())
            took.append(time.perf_counter() - began)
        counts = {split: self.counts[split] for split in splits if split in self.counts}
        passes = sum(count * (views if split == "train" else 1) for split, count in counts.items()) / len(rows)
        return PassCost(min(took) * passes, size * passes)

    def _probing(self) -> float:
        """Seconds to fit the heads, and a probe on every stage where a layer is to be chosen."""
        began = time.perf_counter()
        for name, task in self.tasks.items():
            if self.classical:
                truth = self.feed.truth("train")
                x, values = pick(self.feed.design("train"), truth.numbers(name)), truth.values(name)
            else:
                rows = self.context.data.splits["train"]
                some = [row.targets[name] for row in rows.take(_spread(len(rows), PROBED))]
                values = [value for value in some if value is not None]
                x = torch.randn(len(values), self.model.width, generator=torch.Generator().manual_seed(0))
            fit_probe(x, task, values, None, self.candidate.plan.seed)
        probes = {"probe": 1 + len(self.model.stages), "stages": 1 + 2 * len(self.model.stages)}  # on as many features
        times = probes.get(self.candidate.name, 1) if self.tapped else 1
        return (time.perf_counter() - began) * max(1.0, self.counts["train"] / PROBED) * times

    def _descending(self, phase: Phase, cut: int) -> float:
        """Seconds of all epochs, from a few steps."""
        short = replace(phase, epochs=1, patience=None)
        feed = self._feed(replace(self.candidate.plan, phases=(short,)))
        feed.steps(0, cut, 0)
        took, last = [], time.perf_counter()
        for event in train(self.model, self.heads, feed.plan, feed, self.context.engine):
            now = time.perf_counter()
            if isinstance(event, Stepped):
                took.append(now - last)
            last = now
            if len(took) == STEPS:
                break
        step = min(took[1:] or took)
        began = time.perf_counter()
        feed.answers("validation", cut)
        self.answer = (time.perf_counter() - began) / len(self.tables["validation"].rows)
        judging = self.answer * self.counts["validation"] if phase.patience is not None else 0.0
        self.epoch = math.ceil(self.counts["train"] / feed.step_rows(0)) * step + judging
        return phase.epochs * self.epoch

    def _memory(self) -> float:
        """What the sample took, and the matrix of features that a probe holds with its copies."""
        layers = len(self.model.stages) if self.tapped else 1
        matrix = 0 if self.classical else self.counts["train"] * self.model.width * 4 * (layers + 3)
        return max(peak_memory(), torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0) + matrix


def stored_at(candidate: Candidate, what: str) -> str:
    """A name for what a pass stores: candidates of one model share it."""
    return f"{candidate.model} {candidate.pretrained} {what}"


def _spread(count: int, wanted: int) -> Sequence[int]:
    """Row numbers spread evenly: rows may be sorted by class or by length."""
    return range(count) if count <= wanted else [i * count // wanted for i in range(wanted)]
