"""The one pass: rows through the frozen stages, block by block, stored at the cut or computed when asked."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from ukulele.events import Hear, Progress
from ukulele.features import blocks, keys
from ukulele.features.blocks import Block
from ukulele.features.cache import Cache
from ukulele.features.folding import fold_batchnorm
from ukulele.tools.collate import collate, separate
from ukulele.types import Field, Model, Row, Rows, Tensors

BLOCK = 4096
TOKENS = 4096  # padded tokens a batch
MOST = 64  # rows a batch
TAP = "tap."
LENGTH = "length"  # of a row as encoded, kept behind a cut: the tokens that are read at once


@dataclass(frozen=True)
class Pass:
    """What is wanted of the frozen part: the values at a cut, in one view; `taps` adds every stage's summary."""

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
        self._narrows = wanted.dtype != "fp32" and len(stages) > 0
        self.stages = (copy.deepcopy(stages) if self._narrows else stages).to(wanted.device).eval()
        self.fields = fields_of(model, wanted)

    def run(self, rows: Sequence[Tensors]) -> list[Tensors]:
        """Unpadded inputs to unpadded values at the cut."""
        if not len(self.stages) and not self._start:
            return list(rows)
        if self._narrows:
            self._narrow(rows[:2])
        with torch.inference_mode():
            live = self._placed(rows)
            taps: Tensors = {}
            for stage, module in zip(self.model.stages[self._start :], self.stages, strict=False):
                live = module(live)
                if self.wanted.taps:
                    taps[f"{TAP}{stage.name}"] = self.model.summary(live)
            if self._start:  # what the lower pass kept beside the values at its cut
                taps |= {name: torch.stack([row[name] for row in rows]) for name in self._kept}
            elif LENGTH in self.fields:
                taps[LENGTH] = torch.tensor([at_once(row, self.model.inputs) for row in rows], dtype=torch.int32)
            kept = {k: v.cpu() for k, v in {**live, **taps}.items()}
            return separate(kept, self.fields)

    @property
    def _kept(self) -> list[str]:
        below = [f"{TAP}{stage.name}" for stage in self.model.stages[: self._start]]
        return [name for name in (LENGTH, *below) if name in self.fields]

    def _own(self) -> list[nn.Module]:
        return [stage.module for stage in self.model.stages[self._start : self.wanted.cut]]

    def _placed(self, rows: Sequence[Tensors]) -> Tensors:
        live = {k: v.to(self.wanted.device) for k, v in collate(rows, self.inputs).items()}
        return self.model.prepare(live)

    def _narrow(self, rows: Sequence[Tensors]) -> None:
        """Make the copy narrow, BatchNorm folded away first where it can be; some rows show the way of the data."""
        self._narrows = False

        def run() -> Tensor:
            live = {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in self._placed(rows).items()}
            for module in self.stages:
                live = module(live)
            return torch.cat([live[name].float().flatten() for name in self.model.live(self.wanted.cut)])

        if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in self.stages.modules()):
            with torch.no_grad():
                folded = fold_batchnorm(self.stages, run)
            if not folded:
                self.stages = copy.deepcopy(nn.ModuleList(self._own())).to(self.wanted.device).eval()
        narrow(self.stages, self.wanted.torch_dtype)


def narrow(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Parameters in `dtype`; buffers, and BatchNorm whole, stay as precise as they are."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            continue
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.is_floating_point():
                setattr(part, name, nn.Parameter(parameter.detach().to(dtype), requires_grad=False))
    return module


Read = Callable[[Sequence[int]], list[Tensors]]  # row numbers to what the stages take


def encoding(model: Model, rows: Sequence[Row], draws: Sequence[int]) -> Read:
    """Rows encoded when they are asked for."""
    return lambda numbers: model.encode([rows[i].inputs for i in numbers], [draws[i] for i in numbers])


def batches(frozen: Frozen, count: int, read: Read) -> Iterator[tuple[Sequence[int], list[Tensors]]]:
    """(row numbers, values at the cut): like lengths together where rows are ragged, always the same companions."""
    with ThreadPoolExecutor(1) as ahead:
        if any(field.axis for field in frozen.model.inputs.values()):
            encoded = read(range(count))
            for numbers in by_length([longest(row, frozen.inputs) for row in encoded]):
                yield numbers, frozen.run([encoded[i] for i in numbers])
            return
        size = min(MOST, frozen.model.together)
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


def by_length(lengths: Sequence[int], most: int = MOST) -> Iterator[list[int]]:
    """Row numbers in batches of like length, at most `most` rows and about `TOKENS` padded tokens each."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    at = 0
    while at < len(order):
        size = max(1, min(most, TOKENS // max(1, lengths[order[at]])))
        yield order[at : at + size]
        at += size


class Store:
    """Rows at a cut, from the cache."""

    def __init__(self, held: Sequence[Block], fields: Mapping[str, Field]) -> None:
        self._blocks, self.fields = held, fields
        self._lengths: np.ndarray | None = None
        self._starts = np.cumsum([0, *map(len, held)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, numbers: Sequence[int]) -> list[Tensors]:
        """The rows of those numbers, unpadded."""
        return [block.row(number) for block, number in self._places(numbers)]

    def collated(self, numbers: Sequence[int], fields: Mapping[str, Field]) -> Tensors:
        """Some fields of those rows as one padded batch: what `collate` makes of `rows`, in one copy."""
        places = self._places(numbers)
        batch: Tensors = {}
        for name, field in fields.items():
            if field.axis is None:
                batch[name] = torch.stack([block.value(name, number) for block, number in places])
                continue
            dtype, trailing = places[0][0].form(name)
            spans = [block.bytes(name, number) for block, number in places]
            width = math.prod(trailing) * dtype.itemsize
            lengths = np.array([len(span) // width for span in spans])
            padded = np.zeros((len(spans), int(lengths.max()) * width), np.uint8)
            for line, span in zip(padded, spans, strict=True):
                line[: len(span)] = span
            there = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])
            batch[name] = torch.from_numpy(padded).view(dtype).view(len(spans), -1, *trailing)
            if field.pad:
                batch[name][~there] = field.pad
            batch.setdefault(f"{field.axis}_mask", there.long())
        return batch

    def _places(self, numbers: Sequence[int]) -> list[tuple[Block, int]]:
        blocks = np.searchsorted(self._starts, numbers, "right") - 1
        return [(self._blocks[b], int(n - self._starts[b])) for b, n in zip(blocks, numbers, strict=True)]

    def stack(self, name: str) -> Tensor:
        """One field that is not ragged, of all rows: (rows, …)."""
        return torch.stack([block.value(name, i) for block in self._blocks for i in range(len(block))])

    def stacks(self, names: Sequence[str]) -> Tensors:
        """Several fields that are not ragged, of all rows."""
        return {name: self.stack(name) for name in names}

    def values(self, name: str) -> np.ndarray:
        """Every value of an integer field, once and in order."""
        return np.unique(np.concatenate([block.values(name) for block in self._blocks]))

    def lengths(self) -> np.ndarray:
        """The longest ragged axis of each row."""
        if self._lengths is None:
            self._lengths = np.concatenate([np.ones(0, np.int64), *(block.length() for block in self._blocks)])
        return self._lengths


class Computed:
    """Rows at a cut, computed each time they are asked for: where storing does not fit or would not pay."""

    def __init__(self, frozen: Frozen, rows: Rows, draws: Callable[[int], int]) -> None:
        self._frozen, self._rows, self._draws = frozen, rows, draws
        self.fields = frozen.fields
        self._lengths: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, numbers: Sequence[int]) -> list[Tensors]:
        """The rows of those numbers, unpadded."""
        picked = [self._rows[i] for i in numbers]
        encoded = self._frozen.model.encode([row.inputs for row in picked], [self._draws(i) for i in numbers])
        return self._frozen.run(encoded)

    def collated(self, numbers: Sequence[int], fields: Mapping[str, Field]) -> Tensors:
        """Some fields of those rows as one padded batch."""
        return collate(self.rows(numbers), fields)

    def stack(self, name: str) -> Tensor:
        """One field that is not ragged, of all rows: (rows, …)."""
        return self.stacks([name])[name]

    def stacks(self, names: Sequence[str]) -> Tensors:
        """Several fields that are not ragged, of all rows, in one pass."""
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        for at in range(0, len(self), MOST):
            for row in self.rows(range(at, min(at + MOST, len(self)))):
                for name, values in found.items():
                    values.append(row[name])
        return {name: torch.stack(values) for name, values in found.items()}

    def lengths(self) -> np.ndarray:
        """The longest ragged axis of each row: what a `Store` of the same rows would say."""
        if self._lengths is None:
            self._lengths = self._measured()
        return self._lengths

    def _measured(self) -> np.ndarray:
        inputs = self._frozen.model.inputs
        if not any(field.axis for field in self.fields.values()):
            return np.ones(len(self), np.int64)
        found: list[int] = []
        for at in range(0, len(self), BLOCK):
            some = range(at, min(at + BLOCK, len(self)))
            encoded = self._frozen.model.encode([self._rows[i].inputs for i in some], [self._draws(i) for i in some])
            found += [longest(row, inputs) for row in encoded]
        return np.array(found, np.int64)


Source = Store | Computed


def frozen_pass(model: Model, rows: Rows, wanted: Pass, cache: Cache, hear: Hear) -> Source:
    """The values of all rows at a cut: read from the cache, computed and stored where absent, or,
    where they do not fit the budget, computed on demand.
    """
    writer = Writer(model, rows, wanted, cache, hear)
    return writer.source(writer.fits())


def encode_shard(
    model: Model, rows: Rows, wanted: Pass, cache: Cache, hear: Hear, shard: tuple[int, int]
) -> None:  # fmt: skip
    """Write the blocks of one of several processes, `shard` being (rank, world): behind a barrier,
    `frozen_pass` then finds those of all.
    """
    writer = Writer(model, rows, wanted, cache, hear)
    if writer.fits():
        writer.share(shard)


class Writer:
    """Blocks of one pass, from the cache or, where they are absent, made and put there: from the raw rows, or from
    `base`, the same rows stored at a lower cut, whose stages are not run again. The bits are the same.

    Whether rows are stored or computed decides which of them pass the trunk together, and so the last bits:
    `fits` tells what to do, once, and `source` does as it was told.
    """

    def __init__(
        self, model: Model, rows: Rows, wanted: Pass, cache: Cache, hear: Hear, base: tuple[int, Store] | None = None
    ) -> None:
        self.model, self.rows, self.wanted, self.cache, self.hear = model, rows, wanted, cache, hear
        self._base = base
        kind = f"{wanted.dtype}{' taps' if wanted.taps else ''}"
        self.key = keys.model_key(model, wanted.cut, kind, wanted.device)
        self.fields = fields_of(model, wanted)
        self._names: dict[int, str] = {}
        self._held: dict[int, Block] = {}
        self._made_room = False

    @cached_property
    def frozen(self) -> Frozen:
        return Frozen(self.model, self.wanted, self._base[0] if self._base else 0)

    def draw(self, row: int) -> int:
        return keys.draw(self.wanted.seed, row, self.wanted.view)

    def fits(self) -> bool:
        """Whether all blocks are in the cache, or there is room for those that are not."""
        first = self._absent()
        return first is None or self.make_room(first)

    def whole(self) -> bool:
        """Whether all blocks are in the cache."""
        return self._absent() is None

    def _absent(self) -> int | None:
        return next((start for start in range(0, len(self.rows), BLOCK) if self.found(start) is None), None)

    def source(self, stored: bool) -> Source:
        """The rows, stored or computed on demand."""
        held = []
        for start in range(0, len(self.rows) if stored else 0, BLOCK):
            block = self.block(start)
            if block is None:  # another run made room for itself at that moment
                stored = False
                break
            held.append(block)
        return Store(held, self.fields) if stored else self.computed()

    def computed(self) -> Computed:
        """The rows, computed each time."""
        return Computed(Frozen(self.model, self.wanted), self.rows, self.draw)

    def share(self, shard: tuple[int, int]) -> None:
        """Write the blocks that are this process's, `shard` being (rank, world)."""
        for start in range(shard[0] * BLOCK, len(self.rows), shard[1] * BLOCK):
            self.block(start)

    def block(self, start: int) -> Block | None:
        """The block that begins at a row."""
        found = self.found(start)
        if found is not None:
            return found
        if not self._made_room:
            self.make_room(start)
        count, read = self._reading(start)
        encoded = _counted(self.frozen, count, read, (start, len(self.rows)), self.hear)
        blocks.write(self.cache.path(self._names[start]), count, self.fields, encoded)
        return self.found(start)

    def _reading(self, start: int) -> tuple[int, Read]:
        if self._base is None:
            picked, draws = self.picked(start)
            return len(picked), encoding(self.model, picked, draws)
        store = self._base[1]
        return min(BLOCK, len(self.rows) - start), lambda numbers: store.rows([start + i for i in numbers])

    def found(self, start: int) -> Block | None:
        """The block that begins at a row, if it is in the cache."""
        if start not in self._held:
            if start not in self._names:
                self._names[start] = f"{self.key}-{keys.rows_key(*self.picked(start))}"
            block = self.cache.get(self._names[start])
            if block is None:
                return None
            self._held[start] = block
        return self._held[start]

    def picked(self, start: int) -> tuple[list[Row], list[int]]:
        """Rows of a block, and their draws."""
        numbers = range(start, min(start + BLOCK, len(self.rows)))
        return list(self.rows.take(numbers)), [self.draw(i) for i in numbers]

    def make_room(self, start: int) -> bool:
        """Make room for all rows from `start` on; whether that worked."""
        self._made_room = True
        count, read = self._reading(start)
        sample = self.frozen.run(read(range(min(8, count))))
        size = sum(row[name].nbytes for row in sample for name in self.fields) / len(sample)
        return self.cache.has_room(int(size * (len(self.rows) - start) * 1.1))


def _counted(
    frozen: Frozen, count: int, read: Read, at: tuple[int, int], hear: Hear
) -> Iterator[tuple[Sequence[int], list[Tensors]]]:
    done, total = at
    for numbers, values in batches(frozen, count, read):
        yield numbers, values
        done += len(numbers)
        hear(Progress("encode", done, total))
