"""The optimisers a phase may name, and its rate at each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ukulele.types import Phase

SMALL = 4096  # numbers up to which gradients are put together rather than asked for their norm each


def schedule(phase: Phase, step: int, steps: int) -> float:
    """The share of the rate at a step: up in a line, then down as the phase says.

    >>> [round(schedule(Phase((), warmup=0.5), step, 4), 2) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    rising = int(steps * phase.warmup)
    if step < rising:
        return (step + 1) / rising
    left = (steps - step) / max(1, steps - rising)
    match phase.schedule:
        case "linear":
            return left
        case "cosine":
            return 0.5 * (1 - math.cos(math.pi * left))
        case "constant":
            return 1.0


def adamw(groups: Sequence[dict[str, Any]], decay: float) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019, arXiv:1711.05101)."""
    return torch.optim.AdamW([_decayed(group, decay) for group in groups], fused=True)


def sgd(groups: Sequence[dict[str, Any]], decay: float) -> torch.optim.Optimizer:
    """Stochastic gradient descent with Nesterov's momentum of .9."""
    return torch.optim.SGD([_decayed(group, decay) for group in groups], momentum=0.9, nesterov=True, fused=True)


def clip(optimiser: torch.optim.Optimizer, gradients: Sequence[Tensor], most: float) -> None:
    """Have the next step see gradients of a norm of at most `most` (Pascanu et al., 2013, arXiv:1211.5063).

    The fused optimisers divide by a scale as they read the gradients: that spares a pass over all of them.
    """
    optimiser.grad_scale = (total_norm(gradients) / most).clamp(min=1.0)  # type: ignore[attr-defined]


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all of them together, in float32; on the CPU by products, which all its cores take part in.

    >>> total_norm([torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])])
    tensor(5.)
    """
    if any(gradient.device.type != "cpu" or gradient.dtype != torch.float32 for gradient in gradients):
        return nn.utils.get_total_norm(gradients)
    flat = [gradient.reshape(-1) for gradient in gradients]
    small = [one for one in flat if len(one) < SMALL]
    parts = [one for one in flat if len(one) >= SMALL] + ([torch.cat(small)] if small else [])
    return torch.stack([torch.dot(one, one) for one in parts]).sum().sqrt() if parts else torch.zeros(())


def _decayed(group: dict[str, Any], decay: float) -> dict[str, Any]:
    return {**group, "lr": group["rate"], "weight_decay": decay if group["decays"] else 0.0}


OPTIMISERS = {"adamw": adamw, "sgd": sgd}
