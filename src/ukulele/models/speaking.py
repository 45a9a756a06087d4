"""What all heads that write share: the loss of words, without the scores of all of them at once.

The scores of every word at every place are by far the largest tensor of a step. Here they are there for some places at
a time, and their gradient is taken on the spot, while they are in the processor's cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ukulele.types import Loss

IGNORED = -100  # a label that is not taught
ROOM, LARGE_ROOM = 1 << 21, 1 << 26  # scores that are there at once: on the CPU, and elsewhere


def taught_loss(
    lm_head: nn.Module,
    states: Tensor,
    labels: Tensor,
    taught: Tensor,
    smoothing: float = 0.0,
    bias: Tensor | None = None,
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
    """
    losses = word_losses(lm_head, states[taught], labels[taught], smoothing, bias)
    placed = losses.new_zeros(taught.shape).masked_scatter(taught, losses)
    return Loss(placed.sum(1), taught.sum(1))


def word_losses(
    lm_head: nn.Module, states: Tensor, labels: Tensor, smoothing: float = 0.0, bias: Tensor | None = None
) -> Tensor:
    """Cross-entropy (tokens,) of states (tokens, width) against labels (tokens,); see `taught_loss`."""
    weight: Any = lm_head.weight
    own: Any = getattr(lm_head, "bias", None)
    added = own if bias is None else bias.to(weight.device) if own is None else own + bias.to(weight.device)
    return WordLosses.apply(states, weight, added, labels, smoothing, torch.is_grad_enabled())  # type: ignore[no-any-return]


class WordLosses(torch.autograd.Function):
    """Losses of words; gradients are taken in the forward pass, as if all losses counted alike.

    They nearly always do. Where they do not, the scores are computed once more for the gradient of the layer; that of
    the states can be made right by a product.
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, smoothing: float, grad: bool
    ) -> Tensor:
        """Of states (tokens, width) with a layer's weight (vocabulary, width) and bias, (tokens,) in float32."""
        needed = [grad and one for one in ctx.needs_input_grad[:3]]
        made = _Gradients(states, weight, bias, needed)
        losses = torch.cat([states.new_zeros(0, dtype=torch.float32), *made.run(labels, smoothing)])
        if any(needed):
            ctx.needed, ctx.smoothing, ctx.dtype = needed, smoothing, weight.dtype
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
                made = _Gradients(states, weight, bias, [False, *ctx.needed[1:]])
                for _ in made.run(labels, ctx.smoothing, given):
                    pass
            return of_states, made.weight, made.bias, *none
        factor = given[0] if len(given) else 0.0
        return of_states, *(None if one is None else one * factor for one in (of_weight, of_bias)), *none


class _Gradients:
    """The gradients of losses that are computed for some places at a time."""

    def __init__(self, states: Tensor, weight: Tensor, bias: Tensor | None, needed: list[bool]) -> None:
        self._states, self._weight, self._bias = states, weight, bias
        self.states = torch.empty_like(states) if needed[0] else None
        self.weight = torch.zeros_like(weight) if needed[1] else None
        self.bias = torch.zeros_like(bias) if needed[2] and bias is not None else None
        self._any = any(needed)

    def run(self, labels: Tensor, smoothing: float, counts: Tensor | None = None) -> list[Tensor]:
        """The losses, some places each; `counts` tells what each counts in the gradient of the layer."""
        room = ROOM if labels.device.type == "cpu" else LARGE_ROOM
        size = max(1, room // len(self._weight))
        return [
            self._some(slice(at, at + size), labels[at : at + size], smoothing, counts)
            for at in range(0, len(labels), size)
        ]

    def _some(self, places: slice, labels: Tensor, smoothing: float, counts: Tensor | None) -> Tensor:
        states, weight = self._states[places], self._weight
        raw = linear(states, weight, self._bias)  # bf16 under autocast
        scores = raw.float()
        total, at = scores.logsumexp(1), labels[:, None]
        losses = total - (1 - smoothing) * scores.gather(1, at)[:, 0]
        if smoothing:
            losses = losses - smoothing * scores.mean(1)
        if not self._any:
            return losses
        slope = scores.sub_(total[:, None]).exp_()  # probabilities; less the target
        if smoothing:
            slope.sub_(smoothing / len(weight))
        slope.scatter_add_(1, at, slope.new_full(at.shape, smoothing - 1))
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
