"""Dropout on the CPU with an eighth of the random numbers, which torch draws one by one, for each element anew.

They are not torch's either, but those of a quicker generator that torch's seeds.
"""

from __future__ import annotations

import numpy as np
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
    lanes = _words(-(-x.numel() // LANES)).view(torch.int8)[: x.numel()].view(x.shape)
    kept = lanes.to(x.dtype).ge_(round(share * LEVELS) - LEVELS // 2)  # 0 or 1; as bool it takes twice as long
    return x * kept.mul_(1 / (1 - share))


def _words(count: int) -> Tensor:
    """Random words of 64 bits; SFC64 (Doty-Humphrey, PractRand) makes them in .6 of the time of torch's MT19937."""
    seed = int(torch.empty((), dtype=torch.int64).random_())
    return torch.from_numpy(np.random.SFC64(seed).random_raw(count))
