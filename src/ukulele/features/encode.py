"""The one pass: rows through the frozen stages, block by block, stored at the cut or computed when asked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ukulele.features import blocks, keys
from ukulele.features.blocks import Block
from ukulele.features.cache import Cache
from ukulele.features.folding import fold_batchnorm
from ukulele.tools.collate import collate, separate
from ukulele.types import Field, Hear, Model, Progress, Row, Rows, Tensors

BLOCK = 4096
TOKENS = 4096  # padded tokens a batch
MOST = 64  # rows a batch
TAP = "tap."


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


class Frozen:
    """The stages below a cut, in eval mode and in the dtype of the pass; the model itself stays as it is."""

    def __init__(self, model: Model, wanted: Pass) -> None:
        self.model, self.wanted = model, wanted
        stages = nn.ModuleList(stage.module for stage in model.stages[: wanted.cut])
        self._narrows = wanted.dtype != "fp32" and len(stages) > 0
        self.stages = (copy.deepcopy(stages) if self._narrows else stages).to(wanted.device).eval()
        self.fields: Mapping[str, Field] = dict(model.live(wanted.cut))
        if wanted.taps:
            self.fields = {**self.fields, **{f"{TAP}{stage.name}": Field() for stage in model.stages[: wanted.cut]}}

    def run(self, rows: Sequence[Tensors]) -> list[Tensors]:
        """Unpadded inputs to unpadded values at the cut."""
        if not len(self.stages):
            return list(rows)
        if self._narrows:
            self._narrow(rows[:2])
        with torch.inference_mode():
            live = self._placed(rows)
            taps: Tensors = {}
            for stage, module in zip(self.model.stages, self.stages, strict=False):
                live = module(live)
                if self.wanted.taps:
                    taps[f"{TAP}{stage.name}"] = self.model.summary(live)
            kept = {k: v.cpu() for k, v in {**live, **taps}.items()}
            return separate(kept, self.fields)


    def _placed(self, rows: Sequence[Tensors]) -> Tensors:
        live = {k: v.to(self.wanted.device) for k, v in collate(rows, self.model.inputs).items()}
        return self.model.prepare(live)

    def _narrow(self, rows: Sequence[Tensors]) -> None:
        """Make the copy narrow, BatchNorm folded away first where it can be; some rows show the way of the data."""
        self._narrows = False

        def run() -> Tensor:
            live = self._placed(rows)
            for module in self.stages:
                live = module(live)
            return torch.cat([live[name].float().flatten() for name in self.model.live(self.wanted.cut)])

        if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in self.stages.modules()):
            with torch.no_grad():
                folded = fold_batchnorm(self.stages, run)
            if not folded:
                originals = nn.ModuleList(stage.module for stage in self.model.stages[: self.wanted.cut])
                self.stages = copy.deepcopy(originals).to(self.wanted.device).eval()
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


def batches(frozen: Frozen, rows: Sequence[Row], draws: Sequence[int]) -> Iterator[tuple[Sequence[int], list[Tensors]]]:
    """(row numbers, values at the cut): like lengths together where rows are ragged, always the same companions."""
    encode, model = frozen.model.encode, frozen.model
    with ThreadPoolExecutor(1) as ahead:
        if any(field.axis for field in model.inputs.values()):
            encoded = encode([row.inputs for row in rows], draws)
            for numbers in by_length([longest(row, model.inputs) for row in encoded]):
                yield numbers, frozen.run([encoded[i] for i in numbers])
            return
        groups = [range(at, min(at + MOST, len(rows))) for at in range(0, len(rows), MOST)]
        read: Callable[[range], list[Tensors]] = lambda group: encode(  # noqa: E731
            [rows[i].inputs for i in group], [draws[i] for i in group]
        )
        waiting = ahead.submit(read, groups[0])
        for number, group in enumerate(groups):
            encoded = waiting.result()
            if number + 1 < len(groups):
                waiting = ahead.submit(read, groups[number + 1])
            yield group, frozen.run(encoded)


def longest(row: Tensors, fields: Mapping[str, Field]) -> int:
    """The length of the longest ragged axis."""
    return max(len(row[name]) for name, field in fields.items() if field.axis)


def by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Row numbers in batches of like length, at most `MOST` rows and about `TOKENS` padded tokens each."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    at = 0
    while at < len(order):
        size = max(1, min(MOST, TOKENS // max(1, lengths[order[at]])))
        yield order[at : at + size]
        at += size


class Store:
    """Rows at a cut, from the cache."""

    def __init__(self, held: Sequence[Block]) -> None:
        self._blocks = held
        self.fields = held[0].fields
        self._starts = np.cumsum([0, *map(len, held)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, numbers: Sequence[int]) -> list[Tensors]:
        """The rows of those numbers, unpadded."""
        found = []
        for number in numbers:
            block = int(np.searchsorted(self._starts, number, "right")) - 1
            found.append(self._blocks[block].row(number - int(self._starts[block])))
        return found

    def stack(self, name: str) -> torch.Tensor:
        """One field that is not ragged, of all rows: (rows, …)."""
        return torch.stack([block.value(name, i) for block in self._blocks for i in range(len(block))])

    def lengths(self) -> np.ndarray:
        """The longest ragged axis of each row."""
        return np.concatenate([block.length() for block in self._blocks])


class Computed:
    """Rows at a cut, computed each time they are asked for: where storing does not fit or would not pay."""

    def __init__(self, frozen: Frozen, rows: Rows, draws: Callable[[int], int]) -> None:
        self._frozen, self._rows, self._draws = frozen, rows, draws
        self.fields = frozen.fields

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, numbers: Sequence[int]) -> list[Tensors]:
        """The rows of those numbers, unpadded."""
        picked = [self._rows[i] for i in numbers]
        encoded = self._frozen.model.encode([row.inputs for row in picked], [self._draws(i) for i in numbers])
        return self._frozen.run(encoded)

    def stack(self, name: str) -> torch.Tensor:
        """One field that is not ragged, of all rows: (rows, …)."""
        size = MOST
        parts = [self.rows(range(at, min(at + size, len(self)))) for at in range(0, len(self), size)]
        return torch.stack([row[name] for part in parts for row in part])

    def lengths(self) -> np.ndarray:
        """Ones: nothing is known of rows that are not kept."""
        return np.ones(len(self), np.int64)


Source = Store | Computed


def frozen_pass(
    model: Model, rows: Rows, wanted: Pass, cache: Cache, hear: Hear, shard: tuple[int, int] = (0, 1)
) -> Source:
    """The values of all rows at a cut: read from the cache, computed and stored where absent, or,
    where they do not fit the budget, computed on demand.

    `shard` is (rank, world): each of several processes encodes its own blocks; call `frozen_pass` again
    behind a barrier to read them all.
    """
    key = keys.model_key(model, wanted.cut, f"{wanted.dtype}{' taps' if wanted.taps else ''}", wanted.device)
    frozen: Frozen | None = None
    held: list[Block] = []
    starts = range(0, len(rows), BLOCK)
    for number, start in enumerate(starts):
        part = rows.take(range(start, min(start + BLOCK, len(rows))))
        picked = list(part)
        draws = [keys.draw(wanted.seed, start + i, wanted.view) for i in range(len(picked))]
        name = f"{key}-{keys.rows_key(picked, draws)}"
        block = cache.get(name)
        if block is None and number % shard[1] == shard[0]:
            frozen = frozen or Frozen(model, wanted)
            if number == shard[0] and not _fits(frozen, picked, draws, len(rows), cache):
                return Computed(frozen, rows, lambda i: keys.draw(wanted.seed, i, wanted.view))
            blocks.write(
                cache.path(name), len(picked), frozen.fields, _counted(frozen, picked, draws, (start, len(rows)), hear)
            )
            block = cache.get(name)
        if block is not None:
            held.append(block)
    return Store(held)


def _fits(frozen: Frozen, rows: Sequence[Row], draws: Sequence[int], total: int, cache: Cache) -> bool:
    sample = frozen.run(frozen.model.encode([row.inputs for row in rows[:8]], draws[:8]))
    size = sum(row[name].nbytes for row in sample for name in frozen.fields) / len(sample)
    return cache.has_room(int(size * total * 1.1))


def _counted(
    frozen: Frozen, rows: Sequence[Row], draws: Sequence[int], at: tuple[int, int], hear: Hear
) -> Iterator[tuple[Sequence[int], list[Tensors]]]:
    done, total = at
    for numbers, values in batches(frozen, rows, draws):
        yield numbers, values
        done += len(numbers)
        hear(Progress("encode", done, total))
