"""What the loop and its feed hand each other: the rows of a step, and how each task fares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from ukulele.types import Head, Tensors


@dataclass(frozen=True)
class Piece:
    """Rows that pass the trunk together: live values at the cut, and targets by task."""

    live: Tensors
    targets: Mapping[str, Tensors]


Part = tuple[Piece, ...]  # the rows of a step: where they are ragged, in pieces of like length


@dataclass(frozen=True)
class Judgement:
    """How each task fares on validation: its score, higher is better, and its mean loss."""

    scores: Mapping[str, float]
    losses: Mapping[str, float]

    def joint(self, without: frozenset[str] = frozenset()) -> tuple[float, float]:
        """(loss, score): means over the tasks. Where a score is no number the loss decides for all."""
        kept = [task for task in self.scores if task not in without]
        loss = sum(self.losses[task] for task in kept) / max(1, len(kept))
        score = sum(self.scores[task] for task in kept) / max(1, len(kept))
        return loss, score if math.isfinite(score) else -loss


class Feed(Protocol):
    """What the loop asks of the data. `number` is the phase's place in the plan."""

    def steps(self, phase: int, cut: int, epoch: int) -> Sequence[Sequence[int]]:
        """The row numbers of each step of an epoch: a function of seed, phase and epoch alone."""
        ...

    def part(self, cut: int, epoch: int, numbers: Sequence[int]) -> Part:
        """Those rows as a batch."""
        ...

    def few(self, phase: int, cut: int) -> Part:
        """Rows of every task, the same ones whenever the phase is taken up."""
        ...

    def reads(self, cut: int, epoch: int) -> bool:
        """Whether a batch is merely read or decoded, and so can be made ready beside the step before it."""
        ...

    def fit_heads(self, phase: int, heads: Mapping[str, Head]) -> float:
        """Put the probe's optimum into the heads; its loss."""
        ...

    def judge(self, cut: int) -> Judgement:
        """How the model as it is fares on validation."""
        ...

    def seen(self, name: str) -> Tensor | None:
        """Every value that a field of `encode` has in what is trained and judged on, where that is known."""
        ...
