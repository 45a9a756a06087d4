"""Layers of a network that others do the work of more quickly: dropout and GELU.

Dropout on the CPU with an eighth of the random numbers, which torch draws one by one, for each element anew; GELU by
its tangent in one pass, where the library has eight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

LANES, LEVELS = 8, 1 << 8  # values of 8 bits in a word, and how many there are


class Dropout(nn.Module):
    """As `nn.Dropout`, its share rounded to a 256th: .1 becomes .1016."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Elements of x set to zero at random, the rest made larger; x itself outside training."""
        return drop(x, self.p) if self.training else x


def drop(x: Tensor, p: float) -> Tensor:
    """Each element of x zero with probability p, else x / (1 - p), p rounded to a 256th; draws from torch's generator.

    >>> _ = torch.manual_seed(0)
    >>> kept = drop(torch.ones(100_000), 0.1) > 0
    >>> round(float(kept.float().mean()), 2)
    0.9
    """
    share = round(p * LEVELS) / LEVELS
    if x.device.type != "cpu" or not 0 < share < 1:
        return dropout(x, p)
    words = torch.empty(-(-x.numel() // LANES), dtype=torch.int64).random_(-(2**63), None)
    lanes = words.view(torch.int8)[: x.numel()].view(x.shape)
    kept = lanes >= round(share * LEVELS) - LEVELS // 2
    return x * kept.to(x.dtype).mul_(1 / (1 - share))


def quicken(net: nn.Module) -> nn.Module:
    """Replace every layer of a network that `QUICKER` has a better one for; parameters and their names stay."""
    for module in net.modules():
        for name, child in module.named_children():
            made = QUICKER.get(f"{type(child).__module__}.{type(child).__name__}")
            if made is not None:
                setattr(module, name, made(child).train(child.training))
    return net


QUICKER: Mapping[str, Callable[[Any], nn.Module]] = {  # by name, so that transformers is not imported for it
    "torch.nn.modules.dropout.Dropout": lambda layer: Dropout(layer.p),
    "transformers.activations.NewGELUActivation": lambda _layer: nn.GELU("tanh"),
}
