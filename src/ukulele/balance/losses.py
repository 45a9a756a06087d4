"""Methods on the losses alone. They are written here because a batch may lack a task, at a loss of exactly 0.

Everywhere `losses` (k,) carries the graph, and `weights` (k,) is 0 for a task that rests.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ukulele.balance.balancer import Memory, Method

SMALL = 1e-8  # what is added or taken where a loss is divided by, or its logarithm is needed
FEWEST = 1e-6  # a first loss below it counts as this: its task is solved already
TEMPERATURE = 2.0  # of DWA, as in the paper
STEEPEST = 50.0  # a loss that grew by more in an epoch counts as this
SMOOTHING = 0.1  # of STCH, within the paper's range
RATE, DECAY, BETAS = 0.025, 1e-3, (0.9, 0.999)  # of FAMO's Adam, as in the paper


def _present(losses: Tensor, weights: Tensor) -> Tensor:
    return (weights > 0) & (losses.detach() != 0)


def _normed(shares: Tensor) -> Tensor:
    return shares / shares.sum().clamp(min=1e-30)


def _first(losses: Tensor, weights: Tensor, memory: Memory) -> Tensor:
    """Each by its own first value that is not 0."""
    known = memory["first"]
    memory["first"] = torch.where(known == 0, losses.detach().abs(), known)
    return (weights * losses / memory["first"].clamp(min=FEWEST)).sum()


def _sum(losses: Tensor, weights: Tensor, _memory: Memory) -> Tensor:
    return (weights * losses).sum()


def _random(losses: Tensor, weights: Tensor, _memory: Memory) -> Tensor:
    """Random loss weighting (Lin et al. 2022); drawn on the CPU, so that devices agree."""
    drawn = torch.randn(len(losses)).to(losses).exp()
    return (weights * _normed(drawn * _present(losses, weights)) * losses).sum()


def _uncertainty(losses: Tensor, weights: Tensor, memory: Memory) -> Tensor:
    """Kendall, Gal and Cipolla (2018), with s = log variance: exp(-s) loss / 2 + s / 2.

    The weight stands before the whole term: before the loss alone, the variance would learn to undo it.
    """
    s = memory["log_variances"]
    terms = weights * 0.5 * ((-s).exp() * losses + s)
    return torch.where(_present(losses, weights), terms, 0.0).sum()


def _dwa(losses: Tensor, weights: Tensor, memory: Memory) -> Tensor:
    """Dynamic weight average (Liu, Johns and Davison 2019): k softmax(last mean / the one before / T).

    A task without history counts as steady.
    """
    older, newer = memory["older"], memory["newer"]
    trend = torch.where(older > 0, newer / older.clamp(min=SMALL), 1.0).clamp(max=STEEPEST)
    awake = weights > 0
    factors = awake.sum() * _normed((trend / TEMPERATURE).exp() * awake)
    return (weights * factors * losses).sum()


def _dwa_epoch(means: Tensor, memory: Memory) -> None:
    """Each task's last two means; an epoch that lacked a task leaves its history alone."""
    older, newer = memory["older"], memory["newer"]
    seen = means.isfinite() & (means > 0)
    memory["older"], memory["newer"] = torch.where(seen, newer, older), torch.where(seen, means, newer)


def _famo(losses: Tensor, weights: Tensor, memory: Memory) -> Tensor:
    """FAMO (Liu et al. 2023): sum z log loss / sum (z / loss), z = softmax of the logits.

    Its gradient is a convex combination of the tasks'. The static weights multiply z: before the losses, the
    logarithm would undo them.
    """
    memory["before"] = losses.detach().clone()
    shares = weights * memory["logits"].softmax(0) * _present(losses, weights)
    shifted = torch.where(shares > 0, losses.clamp(min=0), 1.0) + SMALL
    return (shares * shifted.log()).sum() / (shares / shifted.detach()).sum().clamp(min=1e-30)


def _famo_after(losses: Tensor, weights: Tensor, memory: Memory) -> None:
    """One step of Adam on the logits: who improved most gets less."""
    before = memory["before"]
    here = _present(before, weights)
    change = (before.clamp(min=0) + SMALL).log() - (losses.clamp(min=0) + SMALL).log()
    shares = _normed(memory["logits"].softmax(0) * here)
    slope = shares * (change - (shares * change).sum()) + DECAY * memory["logits"]
    memory["steps"] = memory["steps"] + 1
    memory["mean"] = BETAS[0] * memory["mean"] + (1 - BETAS[0]) * slope
    memory["square"] = BETAS[1] * memory["square"] + (1 - BETAS[1]) * slope.square()
    ripe = [1 - beta ** int(memory["steps"]) for beta in BETAS]
    step = RATE * (memory["mean"] / ripe[0]) / ((memory["square"] / ripe[1]).sqrt() + 1e-8)
    memory["logits"] = memory["logits"] - step


def _famo_begin(tasks: int) -> Memory:
    zeros = {name: torch.zeros(tasks) for name in ("logits", "before", "mean", "square")}
    return {**zeros, "steps": torch.tensor(0)}


def _stch(losses: Tensor, weights: Tensor, _memory: Memory) -> Tensor:
    """Smooth Tchebycheff scalarisation (Lin et al. 2024), the ideal point at 0: mu log sum exp(w loss / mu)."""
    here = _present(losses, weights)
    scaled = torch.where(here, _normed(weights) * losses, 0.0)
    largest = scaled.detach().max()
    powers = ((scaled - largest) / SMOOTHING).exp() * here
    return (largest + SMOOTHING * powers.sum().clamp(min=1e-30).log()) * here.any()


def _geometric(losses: Tensor, weights: Tensor, _memory: Memory) -> Tensor:
    """The geometric loss strategy (Chennupati et al. 2019), with the weights as exponents that sum to 1."""
    here = _present(losses, weights)
    logs = torch.where(here, losses, 1.0).clamp(min=SMALL).log()
    return (_normed(weights * here) * logs).sum().exp() * here.any()


METHODS: Mapping[str, Method] = {
    "first": Method("losses", _first, lambda k: {"first": torch.zeros(k)}),
    "sum": Method("losses", _sum),
    "uncertainty": Method("losses", _uncertainty, lambda k: {"log_variances": torch.zeros(k)}, "log_variances"),
    "dwa": Method("losses", _dwa, lambda k: {"older": torch.zeros(k), "newer": torch.zeros(k)}, epoch_done=_dwa_epoch),
    "famo": Method("losses", _famo, _famo_begin, after=_famo_after),
    "stch": Method("losses", _stch),
    "geometric": Method("losses", _geometric),
    "random": Method("losses", _random),
}
