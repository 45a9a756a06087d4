"""Losses of rows against each other: those of one class are to lie close, all others apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ukulele.types import Loss

TEMPERATURE = 0.05


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
    same = labels[:, None] == labels[None]
    error = (_cosines(vectors) - same.float()).square()
    each = torch.ones_like(same).triu(1)
    kinds = [error[each & same], error[each & ~same]]
    means = [kind.mean() for kind in kinds if kind.numel()]
    total = torch.stack(means).mean() if means else vectors.sum() * 0.0
    return Loss(total[None], torch.ones(1, dtype=torch.long, device=total.device))


def contrast_loss(vectors: Tensor, labels: Tensor, temperature: float = TEMPERATURE) -> Loss:
    """How unlikely it is that a row is taken for another of its class, among all rows beside it, by their cosines.

    The supervised contrastive loss (Khosla et al., 2020, arXiv:2004.11362, equation 2). Rows of other classes count by
    how near they are: among many classes most are far already, and their mean would tell little. A row without another
    of its class has no loss of its own.

    Parameters
    ----------
    vectors
        (n, width).
    labels
        (n,), numbers of classes.
    temperature
        What cosines are divided by.

    Examples
    --------
    >>> rows, classes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])
    >>> contrast_loss(rows, classes, temperature=1.0).sums.item()  # log(1 + 1 / e)
    0.31326...
    """
    alone = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    logs = (_cosines(vectors) / temperature).masked_fill(alone, float("-inf")).log_softmax(1)
    same = (labels[:, None] == labels[None]) & ~alone
    beside = same.sum(1)
    each = -logs.masked_fill(~same, 0.0).sum(1)[beside > 0] / beside[beside > 0]
    total = each.mean() if len(each) else vectors.sum() * 0.0
    return Loss(total[None], torch.ones(1, dtype=torch.long, device=total.device))


def _cosines(vectors: Tensor) -> Tensor:
    """Of each row with each, in full precision."""
    with torch.autocast(vectors.device.type, enabled=False):
        unit = normalize(vectors.float(), dim=1)
        return unit @ unit.T


LOSSES = {"pairs": pairs_loss, "contrast": contrast_loss}
