"""The way of the rows through one model: frozen features from the cache at the cut, steps for the loop, answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ukulele import features
from ukulele.engine import Engine
from ukulele.errors import InternalError
from ukulele.features import LENGTH, TAP, Pass, Source, Store
from ukulele.features.encode import by_length
from ukulele.tools.collate import collate
from ukulele.tools.probe import Probe, Search, fit_logistic, fit_ridge
from ukulele.train import Part
from ukulele.types import Head, Hear, Model, Plan, Said, Split, Table, Task, Tensors

Decide = Callable[[str, Callable[[], Any]], Any]  # what is decided, and how where it is not decided yet
MEGABATCH = 50  # batches among which rows are sorted by length
LAST = 1024  # rows at a time where only a head is left


@dataclass
class Feed:
    """Tables of one data set seen through one model.

    `decide` makes a decision once and replays it in a resumed run.
    `trunk` is the model before it was cut short at a stage: where all stages' summaries are stored, a
    model cut short reads its own from there.
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
    probes: dict[str, Probe] = field(default_factory=dict)
    _sources: dict[tuple[str, int, int], Source] = field(default_factory=dict)
    _values: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    _phase: int = 0
    _said: bool = False

    # ------------------------------------------------------------ sources

    def source(self, split: Split, cut: int, view: int = 0) -> Source:
        """The split's rows at a cut, in a view."""
        if (split, cut, view) not in self._sources:
            wanted = Pass(cut, view, self.plan.seed, self.dtype if cut else "fp32", self.engine.device)
            self._sources[split, cut, view] = self._pass(self.model, split, wanted)
        return self._sources[split, cut, view]

    def pooled(self, split: Split) -> Source:
        """The split's rows behind the last stage, with every stage's summary where the trunk stores those."""
        if self.trunk is None:
            return self.source(split, len(self.model.stages))
        key = (split, -1, 0)
        if key not in self._sources:
            wanted = Pass(len(self.trunk.stages), 0, self.plan.seed, self.dtype, self.engine.device, taps=True)
            self._sources[key] = self._pass(self.trunk, split, wanted)
        return self._sources[key]

    def _pass(self, model: Model, split: Split, wanted: Pass) -> Source:
        writer = features.Writer(model, self.tables[split].rows, wanted, self.cache, self.hear)
        if wanted.view and not self.plan.views:  # never asked for again once its epoch is over
            self._sources = {key: source for key, source in self._sources.items() if not key[2]}
            return writer.computed()
        what = f"{split} at {wanted.cut} in view {wanted.view} is stored: {writer.key}"
        stored = self.engine.agree(self.decide(what, writer.fits))
        if stored and self.engine.world > 1:
            writer.share((self.engine.rank, self.engine.world))
            self.engine.wait()
        return writer.source(stored)

    @property
    def tapped(self) -> str:
        """The field that holds the pooled vector in what `pooled` gives."""
        stop = self.model.recipe.get("stop")
        return f"{TAP}{stop['stage']}" if self.trunk is not None and stop else "pooled"

    def values(self, split: Split, task: str) -> list[Any]:
        """The raw targets of a split."""
        if (split, task) not in self._values:
            self._values[split, task] = [row.targets[task] for row in self.tables[split].rows]
        return self._values[split, task]

    def tokens(self, split: Split) -> list[int]:
        """The length of each row as the model reads it; nothing where rows have none."""
        if not any(field.axis for field in self.model.inputs.values()):
            return []
        if all(phase.optimiser == "probe" for phase in self.plan.phases):  # else the trunk is another by now
            source = self.pooled(split)
            if LENGTH in source.fields and isinstance(source, Store):
                return [int(length) for length in source.stack(LENGTH)]
        return [int(length) for length in self.source(split, 0).lengths()]

    # ------------------------------------------------------------ steps

    def steps(self, phase: int, cut: int, epoch: int) -> Sequence[Sequence[int]]:
        """Row numbers in batches of like length, in an order that depends on seed, phase and epoch alone."""
        self._enter(phase)
        size = self.plan.phases[phase].batch
        source = self.source("train", cut, self._view(epoch))
        draw = np.random.default_rng((self.plan.seed, phase, epoch))
        order, lengths = draw.permutation(len(source)), source.lengths()
        batches: list[list[int]] = []
        for at in range(0, len(order), size * MEGABATCH):
            some = order[at : at + size * MEGABATCH]
            some = some[np.argsort(-lengths[some], kind="stable")]
            batches += [some[i : i + size].tolist() for i in range(0, len(some), size)]
        return [batches[i] for i in draw.permutation(len(batches))]

    def _enter(self, phase: int) -> None:
        """What an earlier phase trained may lie below this one's cut: forget what was read before it."""
        if phase != self._phase and any(p.optimiser != "probe" for p in self.plan.phases[:phase]):
            self._sources.clear()
        self._phase = phase

    def part(self, cut: int, epoch: int, numbers: Sequence[int]) -> Part:
        """Those rows of the training set as a batch."""
        return self._part("train", cut, self._view(epoch), numbers)

    def _part(self, split: Split, cut: int, view: int, numbers: Sequence[int]) -> Part:
        rows = self.source(split, cut, view).rows(numbers)
        fields = self.model.live(cut)
        targets = {
            name: collate([task.target(self.values(split, name)[i]) for i in numbers], task.fields)
            for name, task in self.tables[split].tasks.items()
        }
        return Part(widen(collate(rows, fields)), targets, len(numbers))

    def _view(self, epoch: int) -> int:
        if not self.model.augments:
            return 0
        return epoch % self.plan.views if self.plan.views else epoch + 1

    # ------------------------------------------------------------ the probe

    def fit_heads(self, phase: int, heads: Mapping[str, Head]) -> float:
        """Put the probe's optimum into the linear heads; its held-out loss, the mean over tasks."""
        self._enter(phase)
        strength = self.plan.phases[phase].strength
        table, scores = self.tables["train"], []
        x = self.design("train")
        for name, task in table.tasks.items():
            probe = fit_probe(x, task, self.values("train", name), strength, self.plan.seed)
            linear: nn.Linear = heads[name].linear  # type: ignore[attr-defined]
            with torch.no_grad():
                linear.weight.copy_(torch.as_tensor(probe.weight, dtype=linear.weight.dtype))
                linear.bias.copy_(torch.as_tensor(probe.bias, dtype=linear.bias.dtype))
            self.probes[name] = probe
            scores.append(probe.score.loss)
        return sum(scores) / len(scores)

    def design(self, split: Split) -> Any:
        """What a linear head sees of every row: (rows, width) dense, or a sparse matrix of scipy's."""
        source = self.pooled(split)
        if "index" not in source.fields:
            return source.stack(self.tapped)
        from scipy.sparse import csr_matrix

        rows = source.rows(range(len(source)))
        ends = np.cumsum([0, *(len(row["index"]) for row in rows)])
        index = torch.cat([row["index"] for row in rows]).numpy()
        value = torch.cat([row["value"] for row in rows]).numpy()
        return csr_matrix((value, index, ends), shape=(len(rows), self.model.width))

    # ------------------------------------------------------------ answers

    def judge(self, cut: int) -> tuple[float, float]:
        """(loss, score) on validation; higher scores are better, the mean over tasks.

        Where the metric has no value (an area under a curve, of a class that validation lacks), the loss decides.
        """
        raw, losses = self.answers("validation", cut)
        scores = []
        for name, task in self.tables["validation"].tasks.items():
            table = task.table(task.decode(raw[name]), self.values("validation", name))
            metric = task.metrics[0]
            value = metric.value(table, np.ones(len(table)))
            scores.append(value if metric.higher_is_better else -value)
        score = float(np.mean(scores))
        if np.isfinite(score):
            return losses, score
        if not self._said:
            self._said = True
            names = ", ".join(task.metrics[0].name for task in self.tables["validation"].tasks.values())
            self.hear(Said(f"{names} has no value on the validation rows: the loss there decides instead", "warning"))
        return losses, -losses

    def answers(self, split: Split, cut: int) -> tuple[dict[str, list[Any]], float]:
        """Raw answers by task in the order of the rows, and the mean loss."""
        tasks = self.tables[split].tasks
        raw: dict[str, list[Any]] = {name: [None] * len(self.tables[split].rows) for name in tasks}
        sums, counts = dict.fromkeys(tasks, 0.0), dict.fromkeys(tasks, 0.0)
        for module in (*(stage.module for stage in self.model.stages[cut:]), *self._modules()):
            module.eval()
        for numbers, live in self._lived(split, cut):
            for name, task in tasks.items():
                values = [self.values(split, name)[i] for i in numbers]
                target = collate([task.target(value) for value in values], task.fields)
                target = {k: v.to(self.engine.device) for k, v in target.items()}
                with torch.inference_mode():
                    loss = self.heads[name].loss(live, target)
                    answers = self.heads[name].predict(live, task.decoding)
                sums[name] += float(loss.sums.sum())
                counts[name] += float(loss.counts.sum())
                for number, answer in zip(numbers, answers, strict=True):
                    raw[name][number] = answer
        return raw, float(np.mean([sums[n] / max(1.0, counts[n]) for n in tasks]))

    def _lived(self, split: Split, cut: int) -> Iterator[tuple[Sequence[int], Tensors]]:
        """(row numbers, live values behind the last stage), all rows of a split."""
        last = cut >= len(self.model.stages)
        source = self.pooled(split) if last else self.source(split, cut)
        ragged = any(field.axis for field in self.model.live(cut).values())
        whole = (range(at, min(at + LAST, len(source))) for at in range(0, len(source), LAST))
        for numbers in whole if last and not ragged else by_length(source.lengths().tolist()):
            rows = source.rows(numbers)
            if last and self.tapped != "pooled":
                rows = [{"pooled": row[self.tapped]} for row in rows]
            live = {k: v.to(self.engine.device) for k, v in widen(collate(rows, self.model.live(cut))).items()}
            with torch.inference_mode(), self.engine.precision():
                yield numbers, self.model.run(live, cut)

    def _modules(self) -> list[nn.Module]:
        return [head for head in self.heads.values() if isinstance(head, nn.Module)]


def widen(live: Tensors) -> Tensors:
    """Stored bf16 as float32: what is trained runs in the loop's own precision."""
    return {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in live.items()}


def fit_probe(x: Any, task: Task, values: Sequence[Any], strength: float | None, seed: int) -> Probe:
    """The linear probe of a task, its strength chosen by cross-validation unless given."""
    y, known, weights, classes = probe_targets(task, values)
    search = probe_search(task, strength, seed)
    if classes is None:
        return fit_ridge(_pick(x, known), y, search=search)
    return fit_logistic(_pick(x, known), y, classes, weights=weights, search=search)


def probe_search(task: Task, strength: float | None, seed: int) -> Search:
    """Folds and metric of the search for a probe's strength."""
    metric = task.metrics[0].name if task.kind == "classify" else "log_loss"
    near: Any = {"accuracy": "accuracy", "balanced_accuracy": "balanced_accuracy", "macro_f1": "balanced_accuracy"}
    return Search((strength,) if strength else None, metric=near.get(metric, "log_loss"), seed=seed)


def probe_targets(task: Task, values: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor | None, int | None]:
    """Targets of the rows that have one, which rows those are, their weights, and how many classes or labels."""
    targets = collate([task.target(value) for value in values], task.fields)
    match task.kind:
        case "classify":
            known = targets["label"] >= 0
            y = targets["label"][known]
            given = getattr(task, "weights", None)
            return y, known, None if given is None else torch.tensor(given)[y], len(getattr(task, "labels", ()))
        case "multilabel":
            known = ~targets["labels"][:, 0].isnan()
            return targets["labels"][known], known, None, targets["labels"].shape[1]
        case "regress":
            known = ~targets["value"].isnan()
            return targets["value"][known], known, None, None
    raise InternalError(f"no probe for a task of the kind {task.kind!r}")


def _pick(x: Any, known: Tensor) -> Any:
    if bool(known.all()):
        return x
    return x[known] if isinstance(x, Tensor) else x[known.numpy()]
