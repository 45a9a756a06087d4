"""The way of the rows through one model: frozen features from the cache at the cut, steps for the loop, answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ukulele import features
from ukulele.events import Hear, Said
from ukulele.features import LENGTH, TAP, Pass, Source, Store
from ukulele.features.encode import Frozen, by_length
from ukulele.loop.engine import Engine
from ukulele.loop.judging import score_of
from ukulele.loop.parts import Judgement, Part, Piece
from ukulele.loop.probing import fit_probe, pick
from ukulele.loop.sampling import batches, paired, pieces
from ukulele.loop.selection import cut_of
from ukulele.loop.summed import Summed, spread
from ukulele.loop.truth import Numbers, Truth
from ukulele.models.adapters import written_in
from ukulele.tools.collate import collate, widen
from ukulele.tools.packing import packed
from ukulele.tools.probe import Probe
from ukulele.types import Field, Head, Model, Plan, Split, Table, Tensors

Watch = Callable[[Numbers, Tensors], None]
Decide = Callable[[str, Callable[[], Any]], Any]  # what is decided, and how where it is not decided yet
LAST = 1024  # rows at a time where only a head is left
FEW = 2  # rows of a task that show how convolutions and BatchNorm hang together
STEP = 256  # rows of a step of several tasks at most, unless the batch of one is larger


def _nothing(_numbers: Numbers, _live: Tensors) -> None:
    pass


@dataclass
class Feed:
    """Tables of one data set seen through one model.

    All rows are encoded, whatever tasks they have, so that candidates for some tasks share what is stored; only the
    rows that have any of the tasks are trained on, judged and answered. `decide` makes a decision once and replays
    it in a resumed run. `trunk` is the model before it was cut short at a stage, or given adapters: where all stages'
    summaries are stored, a model cut short reads its own from there.
    """

    model: Model
    heads: Mapping[str, Head]
    plan: Plan
    tables: Mapping[Split, Table]
    cache: features.Cache
    engine: Engine
    dtype: str
    hear: Hear
    trunk: Model | None = None
    decide: Decide = lambda _what, how: how()
    ahead: int = 0  # a cut below the last stage that is going to be read anyway: the pass begins with it
    taps: bool = True  # whether every stage's summary of the trunk is stored, where there is one
    probes: dict[str, Probe] = field(default_factory=dict)
    truths: dict[Split, Truth] = field(default_factory=dict)  # shared by the feeds of a run
    _sources: dict[tuple[str, int, int], Source] = field(default_factory=dict)
    _phase: int = 0
    _said: bool = False

    # ------------------------------------------------------------ sources

    def source(self, split: Split, cut: int, view: int = 0) -> Source:
        """The split's rows at a cut, in a view."""
        if (split, cut, view) not in self._sources:
            taps = self.tapping and 0 < cut < len(self.model.stages) and not view
            wanted = Pass(cut, view, self.views_seed, self.dtype if cut else "fp32", self.engine.device, taps)
            base = self._base(self.model, split, wanted) if self._keeps(wanted) else None
            self._sources[split, cut, view] = self._pass(self.model, split, wanted, base)
        return self._sources[split, cut, view]

    def pooled(self, split: Split) -> Source:
        """The split's rows behind the last stage, with every stage's summary where the trunk stores those."""
        key = (split, -1, 0)
        if key not in self._sources:
            model = self.trunk or self.model
            wanted = Pass(len(model.stages), 0, self.views_seed, self.dtype, self.engine.device, self.tapping)
            self._sources[key] = self._pass(model, split, wanted, self._base(model, split, wanted))
        return self._sources[key]

    def _base(self, model: Model, split: Split, wanted: Pass) -> tuple[int, Store] | None:
        """The rows at the highest cut below that is going to be read, where a pass is still to be run: it goes on from
        there, and so does the pass to that cut.
        """
        below = max((cut for cut in self._to_come() if cut < wanted.cut), default=0)
        if not below or self.engine.agree(self._writer(model, split, wanted).whole()):
            return None
        lower = replace(wanted, cut=below)
        source = self._pass(model, split, lower, self._base(model, split, lower))
        return (below, source) if isinstance(source, Store) else None

    def _to_come(self) -> set[int]:
        """Cuts that later phases, and a later candidate, read."""
        later = [phase for phase in self.plan.phases[self._phase + 1 :] if phase.optimiser != "probe"]
        return {self.ahead, *(cut_of(self.model, self.heads, phase) for phase in later)}

    def _keeps(self, wanted: Pass) -> bool:
        """Whether rows in a view are read more than once."""
        return not wanted.view or bool(self.plan.views)

    def _writer(
        self, model: Model, split: Split, wanted: Pass, base: tuple[int, Store] | None = None
    ) -> features.Writer:
        return features.Writer(model, self.tables[split].rows, wanted, self.cache, self.hear, base)

    def _pass(self, model: Model, split: Split, wanted: Pass, base: tuple[int, Store] | None = None) -> Source:
        writer = self._writer(model, split, wanted, base)
        if not self._keeps(wanted):  # never asked for again once its epoch is over
            self._sources = {key: source for key, source in self._sources.items() if not key[2]}
            return writer.computed()
        what = f"{split} at {wanted.cut} in view {wanted.view} is stored: {writer.key}"
        stored = self.engine.agree(self.decide(what, writer.fits))
        if stored and self.engine.world > 1:
            writer.share((self.engine.rank, self.engine.world))
            self.engine.wait()
        return writer.source(stored)

    @property
    def views_seed(self) -> int:
        """The seed of augmented views."""
        return self.plan.seed if self.plan.views_seed is None else self.plan.views_seed

    @property
    def tapping(self) -> bool:
        """Whether every stage's summary is stored."""
        return self.trunk is not None and self.taps

    @property
    def tapped(self) -> str:
        """The field that holds the pooled vector in what `pooled` gives; "several" where it is columns of those."""
        stop, gather = self.model.recipe.get("stop"), self.model.recipe.get("gather")
        if not self.tapping:
            return "pooled"
        return "several" if gather else f"{TAP}{stop['stage']}" if stop else "pooled"

    def _vectors(self, read: Callable[[Sequence[str]], Tensors]) -> Tensor:
        """The pooled vectors of rows, from fields that `read` gives: one of them, or columns of several."""
        if self.tapped != "several":
            return read([self.tapped])[self.tapped]
        columns = self.model.recipe["gather"]
        found = read([f"{TAP}{stage}" for stage, _ in columns])
        return torch.cat([found[f"{TAP}{stage}"][:, mine] for stage, mine in columns], 1)

    def truth(self, split: Split) -> Truth:
        """The true answers of a split."""
        if split not in self.truths:
            self.truths[split] = Truth(self.tables[split].rows)
        return self.truths[split]

    def values(self, split: Split, task: str) -> list[Any]:
        """The raw targets of the rows that have one."""
        return self.truth(split).values(task)

    def lengths(self, split: Split) -> list[int]:
        """The length of each row as the model reads it; nothing where rows have none."""
        if not any(field.axis for field in self.model.inputs.values()):
            return []
        if all(phase.optimiser == "probe" for phase in self.plan.phases):  # else the trunk is another by now
            source = self.pooled(split)
            if LENGTH in source.fields and isinstance(source, Store):
                return [int(length) for length in source.stack(LENGTH)]
        return [int(length) for length in self.source(split, 0).lengths()]

    def numbers(self, split: Split) -> Numbers:
        """The rows that have any of the tasks."""
        return self.truth(split).having(self.tables[split].tasks)

    # ------------------------------------------------------------ steps

    def steps(self, phase: int, cut: int, epoch: int) -> Sequence[Sequence[int]]:
        """Row numbers in batches of like length, in an order that depends on seed, phase and epoch alone."""
        self._enter(phase)
        source = self.source("train", cut, self.view(epoch))
        draw = np.random.default_rng((self.plan.seed, phase, epoch))
        if self.plan.phases[phase].loss != "heads":
            classes = self.truth("train").classes(next(iter(self.tables["train"].tasks)))
            return paired(classes, self.plan.phases[phase].batch, draw)
        strata = self.truth("train").strata(self.tables["train"].tasks)
        return batches(strata, source.lengths(), self.step_rows(phase), self.plan.sampling, draw)

    def step_rows(self, phase: int) -> int:
        """Rows of a step: a batch of each task, as each would have alone; those that share all rows share the batch."""
        batch, truth, tasks = self.plan.phases[phase].batch, self.truth("train"), self.tables["train"].tasks
        one = sum(len(truth.numbers(task)) for task in tasks) / len(tasks)
        return batch * max(1, min(round(len(self.numbers("train")) / max(1.0, one)), STEP // batch))

    def _enter(self, phase: int) -> None:
        """What an earlier phase trained may lie below this one's cut: forget what was read before it."""
        if phase != self._phase and any(p.optimiser != "probe" for p in self.plan.phases[:phase]):
            self._sources.clear()
            if self.plan.adapters is not None:
                self.trunk = None  # it is without what they learned
        self._phase = phase

    def part(self, cut: int, epoch: int, numbers: Sequence[int]) -> Part:
        """Those rows of the training set as a batch: packed into lines, or in pieces of like length where a part of the
        trunk is trained.
        """
        source, at = self.source("train", cut, self.view(epoch)), np.asarray(numbers)
        ragged = cut < len(self.model.stages) and any(field.axis for field in self.model.live(cut).values())
        apart = ragged and self.engine.device == "cpu" and not self.model.packs
        groups = pieces(source.lengths()[at]) if apart else [np.arange(len(at))]
        found = tuple(self._piece(source, cut, at[group].tolist()) for group in groups)
        view = self.view(epoch)
        if not self.plan.mosaic or cut or not view or self.model.mosaic is None:
            return found
        draw = np.random.default_rng((self.plan.seed, view, *at.tolist()))
        return tuple(Piece(*self.model.mosaic(one.live, one.targets, self.plan.mosaic, draw)) for one in found)

    def few(self, phase: int, cut: int) -> Part:
        """The first rows of each task, as in the phase's first epoch."""
        self._enter(phase)
        truth = self.truth("train")
        numbers = np.unique(np.concatenate([truth.numbers(task)[:FEW] for task in self.tables["train"].tasks]))
        return self.part(cut, 0, numbers.tolist())

    def reads(self, cut: int, epoch: int) -> bool:
        """Whether a batch of training rows is read from the store, or merely encoded."""
        return cut == 0 or isinstance(self.source("train", cut, self.view(epoch)), Store)

    def seen(self, name: str) -> Tensor | None:
        """Every value that a field of `encode` has in what is trained and judged on; None where rows are not stored."""
        sources = [self.source(split, 0) for split in ("train", "validation") if self.tables[split].rows]
        stored = [source for source in sources if isinstance(source, Store)]
        if len(stored) < len(sources):
            return None
        pad = np.array([int(self.model.inputs[name].pad)])
        return torch.from_numpy(np.unique(np.concatenate([pad, *(source.values(name) for source in stored)])))

    def _piece(self, source: Source, cut: int, numbers: Sequence[int]) -> Piece:
        truth = self.truth("train")
        targets = {
            name: collate([task.target(truth.cells(name)[i]) for i in numbers], task.fields)
            for name, task in self.tables["train"].tasks.items()
        }
        live = source.collated(numbers, self.model.live(cut))
        return Piece(packed(live, self.model.live(cut), "token") if self.model.packs else live, targets)

    def view(self, epoch: int, phase: int | None = None) -> int:
        """The view of the training rows in an epoch of a phase, the present one by default; 0 is the plain view."""
        of = self.plan.phases[self._phase if phase is None else phase] if self.plan.phases else None
        if not self.model.augments or (of is not None and epoch >= of.epochs - of.plain):
            return 0
        return epoch % self.plan.views if self.plan.views else epoch + 1

    # ------------------------------------------------------------ the probe

    def fit_heads(self, phase: int, heads: Mapping[str, Head]) -> float:
        """Put the probe's optimum into the linear heads; its held-out loss, the mean over tasks."""
        self._enter(phase)
        strength, shrink = self.plan.phases[phase].strength, self.plan.phases[phase].shrink
        truth, scores = self.truth("train"), []
        x = self.design("train")
        for name, task in self.tables["train"].tasks.items():
            rows, values = truth.numbers(name), truth.values(name)
            probe = fit_probe(pick(x, rows), task, values, strength, self.plan.seed, truth.groups(rows))
            linear: nn.Linear = heads[name].linear  # type: ignore[attr-defined]
            with torch.no_grad():
                linear.weight.copy_(torch.as_tensor(probe.weight, dtype=linear.weight.dtype) * shrink)
                linear.bias.copy_(torch.as_tensor(probe.bias, dtype=linear.bias.dtype) * shrink)
            self.probes[name] = probe
            scores.append(probe.score.loss)
        return sum(scores) / len(scores)

    def design(self, split: Split) -> Any:
        """What a linear head sees of every row: (rows, width) dense, or a sparse matrix of scipy's."""
        source = self.pooled(split)
        if "index" not in source.fields:
            return self._vectors(source.stacks)
        from scipy.sparse import csr_matrix

        rows = source.rows(range(len(source)))
        ends = np.cumsum([0, *(len(row["index"]) for row in rows)])
        index = torch.cat([row["index"] for row in rows]).numpy()
        value = torch.cat([row["value"] for row in rows]).numpy()
        return csr_matrix((value, index, ends), shape=(len(rows), self.model.width))

    # ------------------------------------------------------------ answers

    def judge(self, cut: int) -> Judgement:
        """How each task fares on validation: see `score_of`."""
        raw, losses = self.answers("validation", cut, judging=True)
        tasks = self.tables["validation"].tasks
        scores = {
            name: score_of(task, raw[name], self.values("validation", name), losses[name], alone=len(tasks) == 1)
            for name, task in tasks.items()
        }
        strange = [tasks[name].metrics[0].name for name, score in scores.items() if not np.isfinite(score)]
        if strange and not self._said:
            self._said = True
            text = f"{', '.join(strange)} has no value on the validation rows: the loss there decides instead"
            self.hear(Said(text, "warning"))
        return Judgement(scores, losses)

    def answers(
        self, split: Split, cut: int, *, some: Numbers | None = None, judging: bool = False, watch: Watch = _nothing
    ) -> tuple[dict[str, list[Any]], dict[str, float]]:
        """By task, the raw answers for the rows that have it, in their order, and the mean loss.

        `some`: only these rows are answered, the answers of the others are None. `judging`: only what the deciding
        metric needs, where a text need not be written for it. `watch` sees the live values of every batch.
        """
        narrow = self._narrows(cut) and not (judging and self._merges())
        written = self.plan.adapters is not None and (narrow or self.model.teaches)  # whose own loop knows no adapters
        with written_in([stage.module for stage in self.model.stages]) if written else nullcontext():
            return self._answers(split, self._lived(split, cut, some, narrow), judging=judging, watch=watch)

    def _narrows(self, cut: int) -> bool:
        """Whether the stages above a cut answer in the arithmetic of prediction, which is not that of training."""
        bits = self.plan.adapters is not None and self.plan.adapters.bits
        return self.dtype != "fp32" and cut < len(self.model.stages) and not bits

    def _merges(self) -> bool:
        """Whether adapters, or BatchNorms, go into the weights of what answers in the end: epochs are judged before."""
        parts = [part for stage in self.model.stages for part in stage.module.modules()]
        norms = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in parts)
        return norms or self.plan.adapters is not None

    def _answers(
        self, split: Split, lived: Iterator[tuple[Numbers, Tensors]], *, judging: bool, watch: Watch
    ) -> tuple[dict[str, list[Any]], dict[str, float]]:
        tasks, truth = self.tables[split].tasks, self.truth(split)
        raw: dict[str, list[Any]] = {name: [None] * len(truth.numbers(name)) for name in tasks}
        sums, counts = dict.fromkeys(tasks, 0.0), dict.fromkeys(tasks, 0.0)
        places = {name: np.full(len(self.tables[split].rows), -1) for name in tasks}
        for name, place in places.items():
            place[truth.numbers(name)] = np.arange(len(truth.numbers(name)))
        for module in self._modules():
            module.eval()
        for numbers, live in lived:
            watch(numbers, live)
            for name, task in tasks.items():
                at = places[name][numbers]
                mine = np.flatnonzero(at >= 0)
                if not len(mine):
                    continue
                seen = live if len(mine) == len(at) else {k: v[torch.from_numpy(mine)] for k, v in live.items()}
                values = [truth.cells(name)[numbers[i]] for i in mine]
                target = collate([task.target(value) for value in values], task.fields)
                target = {k: v.to(self.engine.device) for k, v in target.items()}
                with torch.inference_mode():
                    loss = self.heads[name].loss(seen, target)
                    asked = getattr(task, "judged", task) if judging or getattr(task, "free", False) else task
                    answers = self.heads[name].predict(seen, asked.decoding)
                sums[name] += float(loss.sums.sum())
                counts[name] += float(loss.counts.sum())
                for place, answer in zip(at[mine].tolist(), answers, strict=True):
                    raw[name][place] = answer
        return raw, {name: sums[name] / max(1.0, counts[name]) for name in tasks}

    def summaries(self, split: Split, cut: int, at_most: int) -> NDArray[np.float32]:
        """What the trunk makes of rows as it is now, (rows, width): of all, or of some spread evenly."""
        wanted = spread(self.numbers(split), at_most)
        summed = Summed(self.model, wanted)
        for numbers, live in self._lived(split, cut, wanted, self._narrows(cut)):
            summed(numbers, live)
        return summed.matrix

    def _lived(self, split: Split, cut: int, some: Numbers | None, narrow: bool) -> Iterator[tuple[Numbers, Tensors]]:
        """(row numbers, live values behind the last stage): some rows, or all that have any of the tasks."""
        last = cut >= len(self.model.stages) and "pooled" in self.model.live(cut)  # else heads have stages of their own
        source = self.pooled(split) if last else self.source(split, cut)
        wanted = self.numbers(split) if some is None else some
        ragged = any(field.axis for field in self.model.live(cut).values())
        if last and not ragged:
            groups: Iterable[Numbers] = (wanted[at : at + LAST] for at in range(0, len(wanted), LAST))
        else:
            groups = (wanted[group] for group in by_length(source.lengths()[wanted].tolist(), self.model.together))
        device = self.engine.device
        above = Frozen(
            self.model, Pass(len(self.model.stages), dtype=self.dtype if narrow else "fp32", device=device), cut
        )
        for numbers in groups:
            if last and self.tapped != "pooled":
                fields = partial(_fields, source, numbers.tolist())
                read = {"pooled": self._vectors(fields)}
            else:
                read = source.collated(numbers.tolist(), self.model.live(cut))
            with torch.inference_mode(), self.engine.precision():  # the heads of whoever asks run in it, too
                yield numbers, widen(above.answer(read)) if narrow else above.answer(widen(read))

    def _modules(self) -> list[nn.Module]:
        return [head for head in self.heads.values() if isinstance(head, nn.Module)]


def _fields(source: Source, numbers: list[int], names: Sequence[str]) -> Tensors:
    return source.collated(numbers, dict.fromkeys(names, Field()))
