"""A loss of pairs: rows of one class are to lie close, all others apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ukulele.types import Loss


def pairs_loss(vectors: Tensor, labels: Tensor) -> Loss:
    """The squared error of the cosine of each pair of rows, against 1 where they have one label and 0 where not.

    Both kinds of pairs count half, however many there are of each; it does not decompose over rows.

    Parameters
    ----------
    vectors
        (n, width).
    labels
        (n,), numbers of classes.

    Examples
    --------
    >>> loss = pairs_loss(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1]))
    >>> loss.sums.item()
    0.0
    >>> pairs_loss(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1, 1])).sums.item()
    0.75
    """
    with torch.autocast(vectors.device.type, enabled=False):
        unit = normalize(vectors.float(), dim=1)
        same = labels[:, None] == labels[None]
        error = (unit @ unit.T - same.float()).square()
    each = torch.ones_like(same).triu(1)
    kinds = [error[each & same], error[each & ~same]]
    means = [kind.mean() for kind in kinds if kind.numel()]
    total = torch.stack(means).mean() if means else vectors.sum() * 0.0
    return Loss(total[None], torch.ones(1, dtype=torch.long, device=total.device))
