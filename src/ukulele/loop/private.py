"""Stages of a task's own: the top of the trunk, copied once for each task instead of shared."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from ukulele.errors import PlanError
from ukulele.tools.collate import widen
from ukulele.types import Head, Loss, Model, Stage, Tensors, fold


class Private(nn.Module):
    """A head with stages of its own below it; it passes its own rows alone through them."""

    def __init__(self, model: Model, stages: Sequence[nn.Module], head: Head) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.head = cast(nn.Module, head)
        self._prepare = model.prepare

    @property
    def linear(self) -> nn.Linear:
        """What a probe is put into."""
        return cast(nn.Linear, self.head.linear)

    def _top(self, live: Tensors) -> Tensors:
        return fold(self._prepare, list(self.stages), widen(live))

    def loss(self, live: Tensors, target: Tensors) -> Loss:
        """The loss of each row that has a target."""
        known = labelled(target)
        if not bool(known.any()):
            nothing = sum(
                (p.sum() for p in self.parameters() if p.requires_grad), known.new_zeros((), dtype=torch.float)
            )
            return Loss(0.0 * nothing[None], known.new_zeros(1, dtype=torch.long))
        mine = {k: v[known] for k, v in live.items()}
        return cast(Head, self.head).loss(self._top(mine), {k: v[known] for k, v in target.items()})

    def predict(self, live: Tensors, decoding: Any) -> Sequence[Any]:
        """One raw answer a row."""
        return cast(Head, self.head).predict(self._top(live), decoding)


def labelled(target: Tensors) -> Tensor:
    """The rows that have a target, by its tensors: -1 or NaN mark those that have none."""
    first = next(iter(target.values()))
    column = first if first.dim() == 1 else first[:, 0]
    return ~column.isnan() if column.is_floating_point() else column >= 0


def shared(model: Model, private: int) -> Model:
    """The model without its top stages (the pool apart, which goes too): what all tasks share.

    Raises
    ------
    PlanError
        If it has not as many.
    """
    most = sum(next(stage.module.parameters(), None) is not None for stage in model.stages) - 1
    if not private <= most:
        raise PlanError(
            f"--private-stages {private}: {model.name} has {most} stages above its first.",
            hint=f"Choose 1 to {most}.",
        )
    return replace(model, stages=model.stages[: -private - 1])


def tops(model: Model, private: int) -> tuple[Stage, ...]:
    """The stages that `shared` leaves out."""
    return model.stages[-private - 1 :]


def with_tops(model: Model, private: int, heads: Mapping[str, Head]) -> dict[str, Head]:
    """Each head with its own copy of the top stages of the whole model."""
    top = [stage.module for stage in tops(model, private)]
    return {name: Private(model, [copy.deepcopy(module) for module in top], head) for name, head in heads.items()}
