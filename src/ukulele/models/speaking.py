"""What all heads that write share: the loss of words, without the scores of all of them at once.

The scores of every word at every place are by far the largest tensor of a step. Here they are there for some places at
a time, and their gradient is taken on the spot, while they are in the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ukulele.types import Loss

IGNORED = -100  # a label that is not taught
ROOM, LARGE_ROOM = 1 << 21, 1 << 26  # scores that are there at once: on the CPU, and elsewhere


@dataclass(frozen=True)
class Bend:
    """What some families do to the scores of the linear layer: times `factor`, and softly kept within -cap and cap."""

    factor: float = 1.0
    cap: float | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        """The scores that the family means."""
        scores = scores * self.factor
        return scores if self.cap is None else self.cap * (scores / self.cap).tanh()


STRAIGHT = Bend()


def taught_loss(
    lm_head: nn.Module,
    states: Tensor,
    labels: Tensor,
    taught: Tensor,
    smoothing: float = 0.0,
    bias: Tensor | None = None,
    bend: Bend = STRAIGHT,
) -> Loss:
    """Cross-entropy in nats, summed over each row's places that are taught, and how many those are.

    Parameters
    ----------
    lm_head
        The linear layer from states to scores.
    states
        (rows, tokens, width).
    labels, taught
        (rows, tokens): a word of the vocabulary, where it is taught.
    smoothing
        Share of the target that is spread over the whole vocabulary (Szegedy et al., 2016).
    bias
        Added to the scores, beside the layer's own; (vocabulary,), not trained.
    bend
        What becomes of the scores.
    """
    losses = word_losses(lm_head, states[taught], labels[taught], smoothing, bias, bend)
    placed = losses.new_zeros(taught.shape).masked_scatter(taught, losses)
    return Loss(placed.sum(1), taught.sum(1))


def word_losses(
    lm_head: nn.Module,
    states: Tensor,
    labels: Tensor,
    smoothing: float = 0.0,
    bias: Tensor | None = None,
    bend: Bend = STRAIGHT,
) -> Tensor:
    """Cross-entropy (tokens,) of states (tokens, width) against labels (tokens,); see `taught_loss`."""
    weight: Any = lm_head.weight
    own: Any = getattr(lm_head, "bias", None)
    added = own if bias is None else bias.to(weight.device) if own is None else own + bias.to(weight.device)
    shape = (smoothing, bend)
    return WordLosses.apply(states, weight, added, labels, shape, torch.is_grad_enabled())  # type: ignore[no-any-return]


class WordLosses(torch.autograd.Function):
    """Losses of words; gradients are taken in the forward pass, as if all losses counted alike.

    They nearly always do. Where they do not, the scores are computed once more for the gradient of the layer; that of
    the states can be made right by a product.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        shape: tuple[float, Bend],
        grad: bool,
    ) -> Tensor:
        """Of states (tokens, width) with a layer's weight (vocabulary, width) and bias, (tokens,) in float32."""
        needed = [grad and one for one in ctx.needs_input_grad[:3]]
        made = _Gradients(states, weight, bias, shape, needed)
        losses = torch.cat([states.new_zeros(0, dtype=torch.float32), *made.run(labels)])
        if any(needed):
            ctx.needed, ctx.shape = needed, shape
            ctx.autocast = torch.is_autocast_enabled(states.device.type)
            ctx.save_for_backward(states, weight, bias, labels, made.states, made.weight, made.bias)
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients kept, times what each loss counts."""
        (given,) = upstream
        states, weight, bias, labels, of_states, of_weight, of_bias = ctx.saved_tensors
        none = (None, None, None)
        if of_states is not None:
            of_states = of_states * given[:, None].to(of_states.dtype)
        if of_weight is None and of_bias is None:
            return of_states, None, None, *none
        if len(given) and not bool((given == given[0]).all()):
            device, dtype = states.device.type, torch.get_autocast_dtype(states.device.type)
            with torch.no_grad(), torch.autocast(device, dtype, enabled=ctx.autocast):
                made = _Gradients(states, weight, bias, ctx.shape, [False, *ctx.needed[1:]])
                for _ in made.run(labels, given):
                    pass
            return of_states, made.weight, made.bias, *none
        factor = given[0] if len(given) else 0.0
        return of_states, *(None if one is None else one * factor for one in (of_weight, of_bias)), *none


class _Gradients:
    """The gradients of losses that are computed for some places at a time."""

    def __init__(
        self,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        shape: tuple[float, Bend],
        needed: list[bool],
    ) -> None:
        self._states, self._weight, self._bias = states, weight, bias
        self._smoothing, self._bend = shape
        self.states = torch.empty_like(states) if needed[0] else None
        self.weight = torch.zeros_like(weight) if needed[1] else None
        self.bias = torch.zeros_like(bias) if needed[2] and bias is not None else None
        self._any = any(needed)

    def run(self, labels: Tensor, counts: Tensor | None = None) -> list[Tensor]:
        """The losses, some places each; `counts` tells what each counts in the gradient of the layer."""
        room = ROOM if labels.device.type == "cpu" else LARGE_ROOM
        size = max(1, room // len(self._weight))
        return [self._some(slice(at, at + size), labels[at : at + size], counts) for at in range(0, len(labels), size)]

    def _some(self, places: slice, labels: Tensor, counts: Tensor | None) -> Tensor:
        states, weight, smoothing, bend = self._states[places], self._weight, self._smoothing, self._bend
        raw = linear(states, weight, self._bias)  # bf16 under autocast
        scores = raw.float() if bend == STRAIGHT else bend(raw.float())
        turned = None if bend.cap is None or not self._any else 1 - (scores / bend.cap).square()
        logs, at = scores.log_softmax(1), labels[:, None]
        losses = (smoothing - 1) * logs.gather(1, at)[:, 0]
        if smoothing:
            losses = losses - smoothing * logs.mean(1)
        if not self._any:
            return losses
        slope = logs.exp_()  # probabilities; less the target
        if smoothing:
            slope.sub_(smoothing / len(weight))
        slope.scatter_add_(1, at, slope.new_full(at.shape, smoothing - 1))
        if turned is not None:
            slope.mul_(turned)
        if bend.factor != 1:
            slope.mul_(bend.factor)
        if counts is not None:
            slope.mul_(counts[places, None])
        narrow = slope.to(raw.dtype)
        if self.states is not None:
            self.states[places] = narrow @ weight.to(raw.dtype)
        if self.weight is not None:
            _add_product(self.weight, narrow.T, states.to(raw.dtype))
        if self.bias is not None:
            self.bias.add_(slope.sum(0))
        return losses


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right, computed in their precision."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total.add_(left @ right)
