"""Rows through the frozen stages: raw inputs to unpadded values at a cut, always with the same companions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ukulele.features.folding import fold_batchnorm
from ukulele.features.fused import fuse
from ukulele.tools.collate import collate, separate
from ukulele.tools.threads import helpers
from ukulele.types import Field, Model, Rows, Tensors

TOKENS = 4096  # padded tokens a batch
TAP = "tap."
BYTES = 1 << 24  # of pictures, in the form they are stored in, that are decoded at once
BATCHNORM = nn.modules.batchnorm._BatchNorm
M = TypeVar("M", bound=nn.Module)
ANSWERS = "answers"  # of a model's own classifier: see `Model.answers`
LENGTH = "length"  # of a row as encoded, kept behind a cut: the tokens that are read at once


@dataclass(frozen=True)
class Pass:
    """What is wanted of the frozen part: the values at a cut, in one view; `taps` adds every stage's summary, and what
    the model's own classifier answers behind them all.
    """

    cut: int
    view: int = 0
    seed: int = 0
    dtype: str = "fp32"  # or "bf16": of the stages below the cut
    device: str = "cpu"
    taps: bool = False

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype in torch's words."""
        return torch.bfloat16 if self.dtype == "bf16" else torch.float32


def fields_of(model: Model, wanted: Pass) -> Mapping[str, Field]:
    """What is stored of each row."""
    taps = [f"{TAP}{stage.name}" for stage in model.stages[: wanted.cut]] if wanted.taps else []
    if wanted.taps and wanted.cut == len(model.stages) and model.answers is not None:
        taps.append(ANSWERS)
    ragged = any(field.axis for field in model.inputs.values())
    length = [LENGTH] if ragged and wanted.cut else []
    return {**model.live(wanted.cut), **dict.fromkeys([*length, *taps], Field())}


class Frozen:
    """The stages below a cut, in eval mode and in the dtype of the pass; the model itself stays as it is.

    With `start` they take up rows where a pass to a lower cut left them.
    """

    def __init__(self, model: Model, wanted: Pass, start: int = 0) -> None:
        self.model, self.wanted, self._start = model, wanted, start
        self.inputs = model.live(start)
        stages = nn.ModuleList(self._own())
        self._narrows = wanted.dtype != "fp32" and any(isinstance(part, BATCHNORM) for part in stages.modules())
        if self._narrows:  # as soon as there are rows
            self.stages = copy.deepcopy(stages).eval()
        else:
            self.stages = stages.to(wanted.device).eval() if wanted.dtype == "fp32" else self._narrow(stages)
        self.fields = fields_of(model, wanted)
        self._answers = model.answers.to(wanted.device) if ANSWERS in self.fields and model.answers else None

    def run(self, rows: Sequence[Tensors]) -> list[Tensors]:
        """Unpadded inputs to unpadded values at the cut."""
        if not len(self.stages) and not self._start:
            return list(rows)
        with torch.inference_mode():
            live, taps = self._through(collate(rows, self.inputs))
            if self._start:  # what the lower pass kept beside the values at its cut
                taps |= {name: torch.stack([row[name] for row in rows]) for name in self._kept}
            elif LENGTH in self.fields:
                taps[LENGTH] = torch.tensor([at_once(row, self.model.inputs) for row in rows], dtype=torch.int32)
            kept = {k: v.cpu() for k, v in {**live, **taps}.items()}
            return separate(kept, self.fields)

    def answer(self, batch: Tensors) -> Tensors:
        """A padded batch of inputs to live values at the cut, on the device; what is narrow needs no autocast."""
        kind = self.wanted.device.split(":")[0]
        plain = self.wanted.dtype == "fp32" and torch.is_autocast_enabled(kind)
        with torch.inference_mode(), torch.autocast(kind, enabled=plain):
            return self._through(batch)[0]

    def _through(self, batch: Tensors) -> tuple[Tensors, Tensors]:
        """Live values at the cut, and by its name what the pass keeps beside them."""
        if self._narrows:
            self._fold({name: value[:2] for name, value in batch.items()})
        live, taps = self._placed(batch), {}
        for stage, module in zip(self.model.stages[self._start :], self.stages, strict=False):
            if self._answers is not None and stage is self.model.stages[-1]:
                taps[ANSWERS] = self._answers(live)
            live = module(live)
            if self.wanted.taps:
                taps[f"{TAP}{stage.name}"] = self.model.summary(live)
        return live, taps

    @property
    def _kept(self) -> list[str]:
        below = [f"{TAP}{stage.name}" for stage in self.model.stages[: self._start]]
        return [name for name in (LENGTH, *below) if name in self.fields]

    def _own(self) -> list[nn.Module]:
        return [stage.module for stage in self.model.stages[self._start : self.wanted.cut]]

    def _placed(self, batch: Tensors, device: str | None = None) -> Tensors:
        live = {name: value.to(device or self.wanted.device) for name, value in batch.items()}
        return self.model.prepare(live) if len(self.stages) else live

    def _fold(self, few: Tensors) -> None:
        """Fold BatchNorm away, if it can be, and make the copy narrow; some rows show the way of the data.

        That is seen on the CPU: elsewhere float32 may be rounded, as TF32 is, by more than the check lets pass.
        """
        self._narrows = False

        def run() -> Tensor:
            live = {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in self._placed(few, "cpu").items()}
            for module in self.stages:
                live = module(live)
            return torch.cat([live[name].float().flatten() for name in self.model.live(self.wanted.cut)])

        self.stages.to("cpu")
        with torch.no_grad():
            folded = fold_batchnorm(self.stages, run)
        self.stages = self._narrow(self.stages if folded else nn.ModuleList(self._own()))

    def _narrow(self, stages: nn.ModuleList) -> nn.ModuleList:
        """A narrow copy on the device, its products fused."""
        found = narrow(stages, self.wanted.torch_dtype).to(self.wanted.device).eval()
        fuse(found)
        return found


def narrow(module: M, dtype: torch.dtype) -> M:
    """A copy with parameters in `dtype`; buffers, and BatchNorm whole, stay as precise as they are."""
    narrowed = {
        id(parameter): nn.Parameter(parameter.detach().to(dtype, copy=True), requires_grad=False)
        for part in module.modules()
        if not isinstance(part, BATCHNORM)
        for parameter in part.parameters(recurse=False)
        if parameter.is_floating_point()
    }
    return copy.deepcopy(module, narrowed)  # which takes these for copied already


Read = Callable[[Sequence[int]], list[Tensors]]  # row numbers to what the stages take


def encoding(model: Model, rows: Rows, draw: Callable[[int], int]) -> Read:
    """Rows encoded when they are asked for; of pictures that are bytes only some are in memory at a time."""

    def read(numbers: Sequence[int]) -> list[Tensors]:
        encoded: list[Tensors] = []
        waiting: list[tuple[Any, ...]] = []
        held = 0
        for number, row in enumerate(rows.take(numbers), 1):
            waiting.append(row.inputs)
            held += sum(len(value) for value in row.inputs if isinstance(value, bytes))
            if held > BYTES or number == len(numbers):
                some = numbers[len(encoded) : number]
                encoded += model.encode(waiting, [draw(i) for i in some])
                waiting, held = [], 0
        return encoded

    return read


def batches(frozen: Frozen, count: int, read: Read) -> Iterator[tuple[Sequence[int], list[Tensors]]]:
    """(row numbers, values at the cut): like lengths together where rows are ragged, always the same companions."""
    with helpers() as ahead:
        if any(field.axis for field in frozen.model.inputs.values()):
            encoded = read(range(count))
            for numbers in by_length([longest(row, frozen.inputs) for row in encoded], frozen.model.together):
                yield numbers, frozen.run([encoded[i] for i in numbers])
            return
        size = frozen.model.together
        groups = [range(at, min(at + size, count)) for at in range(0, count, size)]
        waiting = ahead.submit(read, groups[0])
        for number, group in enumerate(groups):
            encoded = waiting.result()
            if number + 1 < len(groups):
                waiting = ahead.submit(read, groups[number + 1])
            yield group, frozen.run(encoded)


def longest(row: Tensors, fields: Mapping[str, Field]) -> int:
    """The length of the longest ragged axis."""
    return max(len(row[name]) for name, field in fields.items() if field.axis)


def at_once(row: Tensors, fields: Mapping[str, Field]) -> int:
    """The tokens that are read at once: those of the longest piece, where a row is read in pieces."""
    return int(torch.bincount(row["piece"]).max()) if "piece" in row else longest(row, fields)


def by_length(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Row numbers in batches of like length, at most `most` rows and about `TOKENS` padded tokens each."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    at = 0
    while at < len(order):
        size = max(1, min(most, TOKENS // max(1, lengths[order[at]])))
        yield order[at : at + size]
        at += size
