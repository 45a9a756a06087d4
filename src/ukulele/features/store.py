"""Rows at a cut: read from blocks that are stored, or computed each time they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ukulele.features.blocks import Block
from ukulele.features.encode import ANSWERS, TAP, Frozen, by_length, encoding, longest
from ukulele.tools.collate import collate
from ukulele.types import Field, Rows, Tensors

BLOCK = 4096  # rows: what is stored, damaged and computed again as one


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
        encoded = self._encoded(numbers)
        if not any(field.axis for field in self._frozen.inputs.values()):
            return self._frozen.run(encoded)
        lengths = [longest(row, self._frozen.inputs) for row in encoded]
        groups = list(by_length(lengths, self._frozen.model.together))
        made = [row for group in groups for row in self._frozen.run([encoded[i] for i in group])]
        order = np.argsort(np.concatenate(groups))
        return [made[i] for i in order]

    def _encoded(self, numbers: Sequence[int]) -> list[Tensors]:
        return encoding(self._frozen.model, self._rows, self._draws)(numbers)

    def collated(self, numbers: Sequence[int], fields: Mapping[str, Field]) -> Tensors:
        """Some fields of those rows as one padded batch."""
        return collate(self.rows(numbers), fields)

    def stack(self, name: str) -> Tensor:
        """One field that is not ragged, of all rows: (rows, …)."""
        return self.stacks([name])[name]

    def stacks(self, names: Sequence[str]) -> Tensors:
        """Several fields that are not ragged, of all rows, in one pass."""
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        most = self._frozen.model.together
        for at in range(0, len(self), most):
            for row in self.rows(range(at, min(at + most, len(self)))):
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
            found += [longest(row, inputs) for row in self._encoded(range(at, min(at + BLOCK, len(self))))]
        return np.array(found, np.int64)


Source = Store | Computed


def summaries(source: Source) -> dict[str, Tensor]:
    """Each stage's summary of all rows (rows, width), by stage, lowest first; nothing where the pass kept none."""
    return told(source)[0]


def told(source: Source) -> tuple[dict[str, Tensor], Tensor | None]:
    """The same; and what the model's own classifier answers (rows, its classes), where the pass kept that."""
    found = source.stacks([field for field in source.fields if field.startswith(TAP) or field == ANSWERS])
    answers = found.pop(ANSWERS, None)
    return {field.removeprefix(TAP): values for field, values in found.items()}, answers
