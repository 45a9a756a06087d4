"""What a run would do and cost: its plans, and time, memory and disk predicted from a small sample. Trains nothing.

Some rows take the way they would take in a run, through throw-away models and a throw-away cache. What that took
is scaled up to all rows.
"""

from __future__ import annotations

import math
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ukulele import data, features, strategies
from ukulele.assembly import assemble
from ukulele.attempt import MAKES_ITS_OWN, Context, peak_memory, untied
from ukulele.config import FitOptions
from ukulele.engine import Engine, choose_device, choose_precision
from ukulele.events import Hear, Said, Stepped
from ukulele.features.encode import Frozen, batches, encoding
from ukulele.feed import Feed, fit_probe, pick
from ukulele.pipeline import make_tasks, model_name, planned, refuse_for_one, refuse_for_texts, rivals, survey, taps_of
from ukulele.runs import RunFolder
from ukulele.selection import check, owners, select, trained
from ukulele.strategies import Facts
from ukulele.train import train
from ukulele.types import SPLITS, Candidate, Phase, Split, Table
from ukulele.unread import refuse_unread

ROWS = 64  # of the sample, a full batch of a pass; more where the steps that are timed take more
STEPS = 3  # of which the first warms up
CHEAP = 400  # rows of the sample for models that are made in an instant
PROBED = 1000  # rows of the probe that is timed; with fewer it hardly takes less


@dataclass(frozen=True)
class Pass:
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
    passes: Mapping[str, Pass]
    training: float  # seconds
    memory: float  # bytes


def forecast(source: Any, options: FitOptions, hear: Hear) -> str:
    """The plans of a run and what they would cost, as text. Writes nothing but the cache of tables.

    Raises
    ------
    UkuleleError
        Whatever `uke fit` would say of the data, the model or the options before it trains.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    dataset = data.read(source, options.reading, options.cache_folder)
    for note in dataset.notes:
        hear(Said(note))
    refuse_for_one(options, dataset)
    refuse_unread(options, dataset)
    refuse_for_texts(options, dataset)
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    asked = make_tasks(dataset, options)
    nowhere = RunFolder(Path("dry-run"), {"options": {}, "decisions": {}}, writes=False)
    with tempfile.TemporaryDirectory(prefix="ukulele-") as folder:
        context = Context(
            options, dataset, asked, features.Cache(Path(folder)), Engine(device, precision), precision, nowhere,
            hear=lambda _event: None, taps=taps_of(dataset, options),
        )  # fmt: skip
        facts = survey(model_name(context), context)
        lines = []
        for candidate in (*planned(facts, context), *rivals(facts, context)):
            hear(Said(f"measuring: {candidate.name}"))
            lines.append(_Sample(_placed(candidate, options), context).line(facts))
    return _text(lines, context)


def _placed(candidate: Candidate, options: FitOptions) -> Candidate:
    named = candidate.name == "probe" and options.layer not in {"auto", "last"}
    return replace(candidate, stop=options.layer) if named else candidate


class _Sample:
    """A candidate on some of the rows, to be timed and thrown away."""

    def __init__(self, candidate: Candidate, context: Context) -> None:
        self.candidate, self.context = candidate, context
        whole, self.trunk = context.load(candidate)
        whole = untied(whole, candidate.plan)
        own = 0 if candidate.model in MAKES_ITS_OWN else context.private(candidate.plan)
        ours = assemble(whole, candidate.plan, context.tasks, own)
        self.whole, self.model, self.heads = whole, ours.model, ours.heads
        check(self.model, self.heads, candidate.plan)
        self.classical = candidate.model in MAKES_ITS_OWN
        steps = STEPS * len(context.tasks)
        batches = [steps * phase.batch for phase in candidate.plan.phases if phase.optimiser != "probe"]
        wanted = max(CHEAP if self.classical else ROWS, *batches, 1)
        splits = context.data.splits
        self.counts = {split: len(splits[split]) for split in SPLITS if split in splits}
        tables = context.tables(context.tasks, self.model)
        self.tables: dict[Split, Table] = {
            split: Table(tables[split].rows.take(_spread(self.counts[split], wanted)), context.tasks)
            for split in self.counts
        }
        self.tapped = context.taps and not self.classical and candidate.pretrained
        self.feed = self._feed(candidate.plan, self.trunk if self.tapped else None)

    def _feed(self, plan: strategies.Plan, trunk: Any = None) -> Feed:
        c = self.context
        return Feed(self.model, self.heads, plan, self.tables, c.cache, c.engine, c.dtype, c.hear, trunk)

    def line(self, facts: Facts) -> Line:
        """The candidate's costs, for all rows."""
        passes: dict[str, Pass] = {}
        training, lowest = 0.0, len(self.model.stages)
        for phase in self.candidate.plan.phases:
            if phase.optimiser == "probe":
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
        )

    def _cut(self, cut: int) -> str:
        stages = [stage.name for stage in self.model.stages]
        if self.classical or cut == len(stages):
            return "above the last stage: everything below the head is frozen, and run once"
        if cut == 0:
            return "below the first stage: everything is trained, and run in every epoch"
        return f"below {stages[cut]}: the {cut} stages under it are frozen, and run once"

    def _name(self, what: str) -> str:
        return f"{self.candidate.model} {self.candidate.pretrained} {what}"

    def _views(self, phase: Phase) -> int:
        """How often the training rows are encoded."""
        if not self.model.augments:
            return 1
        return min(self.candidate.plan.views, phase.epochs) if self.candidate.plan.views else phase.epochs

    def _searches(self, phase: Phase) -> float:
        """How much dearer searches for the rate and for weights make it."""
        tried = self.candidate.name == "scratch" and (
            self.candidate.role == "control" or self.context.options.rate is None
        )
        tried = tried and (self.context.options.controls == "all" or not self.context.writes)
        weighed = self.context.options.weights == "tuned" and self.candidate.role == "rung"
        times = 3 * tried + (1 + len(self.context.tasks)) * weighed
        return 1 + times * max(1, phase.epochs // 3) / phase.epochs

    def _pass(self, cut: int | None, views: int) -> Pass:
        """The better of two passes of some rows, to a cut or through all stages, scaled to all rows."""
        model, taps = (self.trunk, self.tapped) if cut is None and self.tapped else (self.whole, False)
        model, top = (model, len(model.stages)) if cut is None else (self.model, cut)
        dtype, device = self.context.dtype if top else "fp32", self.context.engine.device
        wanted = features.Pass(top, 0, 0, dtype, device, taps)
        frozen, rows, took = Frozen(model, wanted), list(self.tables["train"].rows)[:ROWS], []
        for _ in range(2):
            began, size = time.perf_counter(), 0
            for _numbers, values in batches(frozen, len(rows), encoding(model, rows, [0] * len(rows))):
                size += sum(value.nbytes for row in values for value in row.values())
            took.append(time.perf_counter() - began)
        passes = sum(count * (views if split == "train" else 1) for split, count in self.counts.items()) / len(rows)
        return Pass(min(took) * passes, size * passes)

    def _probing(self) -> float:
        """Seconds to fit the heads, and a probe on every stage where a layer is to be chosen."""
        began = time.perf_counter()
        for name, task in self.context.tasks.items():
            if self.classical:
                truth = self.feed.truth("train")
                x, values = pick(self.feed.design("train"), truth.numbers(name)), truth.values(name)
            else:
                rows = self.context.data.splits["train"]
                some = [row.targets[name] for row in rows.take(_spread(len(rows), PROBED))]
                values = [value for value in some if value is not None]
                x = torch.randn(len(values), self.model.width, generator=torch.Generator().manual_seed(0))
            fit_probe(x, task, values, None, self.candidate.plan.seed)
        times = 1 + len(self.model.stages) if self.tapped and self.candidate.name == "probe" else 1
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
        judging = (time.perf_counter() - began) / len(self.tables["validation"].rows) * self.counts["validation"]
        return phase.epochs * (math.ceil(self.counts["train"] / feed.step_rows(0)) * step + judging)

    def _memory(self) -> float:
        """What the sample took, and the matrix of features that a probe holds with its copies."""
        layers = len(self.model.stages) if self.tapped else 1
        matrix = 0 if self.classical else self.counts["train"] * self.model.width * 4 * (layers + 3)
        return max(peak_memory(), torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0) + matrix


def _spread(count: int, wanted: int) -> Sequence[int]:
    """Row numbers spread evenly: rows may be sorted by class or by length."""
    return range(count) if count <= wanted else [i * count // wanted for i in range(wanted)]


# ---------------------------------------------------------------- for people


def _text(lines: Sequence[Line], context: Context) -> str:
    counts = ", ".join(f"{len(context.data.splits[s]):,} {s}" for s in SPLITS if s in context.data.splits)
    shared: dict[str, Pass] = {}
    parts = [f"{context.data.name}: {counts} rows, on {context.engine.device} in {context.dtype}"]
    for line in lines:
        parts.append(_candidate(line, shared, context))
        shared |= line.passes
    seconds = sum(line.training for line in lines) + sum(one.seconds for one in shared.values())
    disk, budget = sum(one.size for one in shared.values()), context.options.cache_budget * 2**30
    room = "within" if disk <= budget else "more than fits (the rest is computed anew in every epoch) in"
    total = [
        ("time", f"about {_span(seconds)} at most, start-up aside; early stopping may end sooner"),
        ("disk", f"{_bytes(disk)} of features, {room} the budget of {_bytes(budget)}"),
        ("memory", f"about {_bytes(max(line.memory for line in lines))}"),
    ]
    parts.append("\n".join(["in all", *(_field(name, value) for name, value in total)]))
    parts.append("Nothing was trained. Leave --dry-run out to begin.")
    return "\n\n".join(parts)


def _candidate(line: Line, shared: Mapping[str, Pass], context: Context) -> str:
    new = {name: one for name, one in line.passes.items() if name not in shared}
    layer = line.candidate.name == "probe" and line.candidate.stop is None and context.taps
    plan = line.plan + (", or behind the stage that a probe on each finds clearly better" if layer else "")
    search = "; the rate is searched first" if line.candidate.name == "scratch" else ""
    encode = _span(sum(one.seconds for one in new.values())) if new else "none, shared with those above"
    fields = [
        ("plan", plan + search),
        ("cut", line.cut),
        ("trains", f"{line.trained:,} of {line.total:,} parameters"),
        ("time", f"encoding {encode}; training {_span(line.training)}"),
        ("disk", _bytes(sum(one.size for one in new.values()))),
    ]
    control = "control: " if line.candidate.role == "control" else ""
    return "\n".join([f"{control}{line.candidate.name}", *(_field(name, value) for name, value in fields)])


def _field(name: str, value: str) -> str:
    return textwrap.fill(value, 100, initial_indent=f"  {name:8}", subsequent_indent=" " * 10)


def _span(seconds: float) -> str:
    """A stretch of time, roughly.

    >>> [_span(seconds) for seconds in (0.04, 3.2, 75, 5400)]
    ['0.1 s', '3.2 s', '75 s', '1 h 30 min']
    """
    if seconds < 10:
        return f"{max(0.1, seconds):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _bytes(size: float) -> str:
    """A size for people.

    >>> [_bytes(size) for size in (2_000, 5 * 2**20, 20 * 2**30)]
    ['0.1 MiB', '5 MiB', '20 GiB']
    """
    if size < 2**30:
        return f"{max(0.1, size / 2**20):.{0 if size >= 2**20 else 1}f} MiB"
    return f"{size / 2**30:.3g} GiB"
