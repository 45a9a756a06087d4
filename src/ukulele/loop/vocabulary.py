"""The rows of an embedding table that the data's tokens name, trained without the others; exact, not approximate.

A fine-tuning run sees a part of a vocabulary: half of BERT's 30,522 tokens in a few thousand reviews, a few percent of
the 250,002 of a multilingual model, whose table is two thirds of its weights. A row that no token names has no
gradient, so nothing but weight decay moves it, by the same factor each step. While a phase trains, the table is
therefore the named rows and one more of ones, which goes the way of all that are left out; in the end they are
multiplied by what became of it.

A step names a few hundred rows of thousands: their gradient is added to one that stays between steps, and those rows
alone are set to zero again, where the CPU would otherwise fill a table with zeros each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from ukulele.loop.selection import match_group, owners
from ukulele.types import Head, Model, Phase

WORTH = 0.9  # share of the rows named, above which nothing is gained


class Seen(Protocol):
    """What is asked of the data."""

    def seen(self, name: str) -> Tensor | None:
        """Every value of an integer field of `encode`, once and in order; None where that is not known."""
        ...


class Compact:
    """An embedding table cut down to some of its rows, until it is restored. Its parameter keeps its name."""

    def __init__(self, table: nn.Embedding, seen: Tensor) -> None:
        self._table, self._whole, self._seen = table, table.weight, seen
        self._padding = table.padding_idx
        self._places = torch.full((len(table.weight),), len(table.weight))  # of a row left out: none, an error
        self._places[seen] = torch.arange(len(seen))
        with torch.no_grad():
            values = table.weight[seen.to(table.weight.device)]
            table.weight = nn.Parameter(torch.cat([values, torch.ones_like(values[:1])]))
        if self._padding is not None:
            table.padding_idx = int(self._places[self._padding])
        self._hook = table.register_forward_pre_hook(self._renumber)
        self._touched: list[Tensor] = []  # rows with a gradient, where that stays between steps

    def _renumber(self, _table: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        self._places = self._places.to(given[0].device)
        places = self._places[given[0]]
        if self._table.sparse and torch.is_grad_enabled():
            self._touched.append(places.flatten())
        return (places, *given[1:])

    @property
    def weight(self) -> Tensor:
        """The rows that are trained."""
        return self._table.weight

    def keep_gradient(self) -> None:
        """From now on the gradient stays between steps; `clear` has to be called before each."""
        self._table.sparse = True
        self._table.weight.grad = torch.zeros_like(self._table.weight)

    @property
    def gradient(self) -> Tensor:
        """The rows of the gradient that are not zero."""
        whole: Tensor = self._table.weight.grad  # type: ignore[assignment]
        return whole[torch.cat(self._touched).unique()] if self._touched else whole[:0]  # type: ignore[no-untyped-call]

    def clear(self) -> None:
        """Set the gradient to zero where it is not."""
        if self._touched:
            self._table.weight.grad[torch.cat(self._touched)] = 0  # type: ignore[index]
            self._touched = []

    def restore(self) -> None:
        """Put the rows back, and let those left out decay as they would have."""
        trained = self._table.weight.detach()
        with torch.no_grad():
            whole = self._whole.to(trained.device) * trained[-1]
            whole[self._seen.to(trained.device)] = trained[:-1]
            self._whole.data = whole
        self._hook.remove()
        self._table.weight, self._table.padding_idx, self._table.sparse = self._whole, self._padding, False


@contextmanager
def compacted(model: Model, heads: Mapping[str, Head], phase: Phase, data: Seen) -> Iterator[Compact | None]:
    """Within, the model's embedding table is as small as the data allow, where the phase trains it.

    A phase that pulls weights to where they started has their whole tables to compare with, and one that measures the
    norm of weights has that of all: they stay whole.
    """
    if model.lookup is None or phase.penalty or phase.relative:
        yield None
        return
    name, table = model.lookup
    known = {id(parameter): at[0] for parameter, at in owners(model, heads).items()}
    trained = match_group(phase, known.get(id(table.weight), "")) is not None
    seen = data.seen(name) if trained else None
    if seen is None or len(seen) > WORTH * len(table.weight):
        yield None
        return
    compact = Compact(table, seen)
    try:
        yield compact
    finally:
        compact.restore()
