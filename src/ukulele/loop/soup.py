"""The mean of the weights of a phase's best epochs: a greedy soup (Wortsman et al., 2022, arXiv:2203.05482)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Kept:
    """The trained values after an epoch, and what validation said of them."""

    epoch: int
    score: float
    values: Values


def best(kept: Sequence[Kept], most: int) -> list[Kept]:
    """So many of them at most, the best first."""
    return sorted(kept, key=lambda one: (-one.score, one.epoch))[:most]


def greedy(kept: Sequence[Kept], score: Callable[[Values], float]) -> tuple[list[Kept], float]:
    """Those whose mean is handed over, and its score: from the best on, each stays where `score` likes that no less.

    Parameters
    ----------
    kept
        The best first.
    score
        What validation says of some values.
    """
    first, *others = kept
    inside, highest = [first], first.score
    for one in others:
        found = score(mean([*inside, one]))
        if found >= highest:
            inside, highest = [*inside, one], found
    return inside, highest


def mean(kept: Sequence[Kept]) -> dict[str, Tensor]:
    """Of weights; what only counts is that of the first."""
    values = [one.values for one in kept]
    return {
        name: torch.stack([one[name].to(first.device) for one in values]).mean(0)  # those taken up again lie elsewhere
        if first.is_floating_point()
        else first
        for name, first in values[0].items()
    }


def plain(kept: Sequence[Kept]) -> dict[str, Any]:
    """As a tree of tensors and strings, for a checkpoint."""
    return {str(one.epoch): {"score": repr(one.score), "values": dict(one.values)} for one in kept}


def restored(tree: Mapping[str, Any]) -> list[Kept]:
    """What `plain` gave, the best first."""
    return best([Kept(int(e), float(one["score"]), one["values"]) for e, one in tree.items()], len(tree))
