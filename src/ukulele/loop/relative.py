"""Rates that follow what asks for change: stages whose gradient is large for their weights are trained at a higher one.

Auto-RGN (Lee et al., 2023, "Surgical fine-tuning improves adaptation to distribution shifts", arXiv:2210.11466).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ukulele.loop.descent import Forward
from ukulele.loop.engine import Engine
from ukulele.loop.phase import PhaseRun

LOOKS = 5  # steps' rows that an epoch's shares are measured on


def shares(run: PhaseRun, losses: Iterable[Forward], engine: Engine) -> dict[int, float]:
    """By the phase's group of parameters, the share of its rate: its relative gradient norm over the largest of all.

    The norm of a group's gradient over that of its weights, the mean over the first few batches. Weights stay as they
    are, and their gradients are gone afterwards. A group of zeros, of which no ratio tells, has all of its rate, as all
    have where no ratio is a number above 0.
    """
    sums: dict[int, float] = {}
    run.above.eval()
    for forward in losses:
        run.optimiser.zero_grad(set_to_none=True)
        engine.backward(torch.stack(list(forward().values())).sum())
        for number in sorted({group["number"] for group in run.optimiser.param_groups if "number" in group}):
            mine = [p for group in run.optimiser.param_groups if group.get("number") == number for p in group["params"]]
            size = _norm([p.detach() for p in mine])
            slope = _norm([p.grad for p in mine if p.grad is not None])
            sums[number] = sums.get(number, 0.0) + (slope / size if size else math.nan)
    run.optimiser.zero_grad(set_to_none=True)
    run.set_modes()
    sums = engine.agree(sums)
    most = max((value for value in sums.values() if math.isfinite(value)), default=0.0)
    return {number: value / most if most and math.isfinite(value) else 1.0 for number, value in sums.items()}


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.nn.utils.get_total_norm(tensors)) if tensors else 0.0
