"""Rows that are read in pieces which do not see each other: each piece as a row of its own through a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ukulele.types import Tensors

TOKENS = 4096  # padded tokens that pass a block at once
KEPT = 1024  # padded tokens a row, up to which all that a block makes of them is kept for the gradient

Run = Callable[[Tensor, Tensor | None, Tensor], Tensor]  # hidden states, mask of attention, positions


def sizes(piece: Tensor, there: Tensor) -> Tensor:
    """The tokens of each piece, (rows, pieces), 0 where a row has fewer; `piece` and `there` are (rows, tokens)."""
    found = there.new_zeros(len(piece), int(piece.max()) + 1, dtype=torch.long)
    return found.scatter_add_(1, piece, there.long())


def through(run: Run, live: Tensors) -> Tensor:
    """What a block makes of `x`, (rows, tokens, width), a few pieces of like length at a time: it needs no more memory
    for a long text than for a short one, but for `x` itself. Where there is padding the values mean nothing.

    For the gradient of long texts, what is made of them is computed again instead of kept.
    """
    x = live["x"]
    at, theres = zip(*_groups(live["pieces"], x.shape[1]), strict=True)
    index, counts = torch.cat([places.flatten() for places in at]), [places.numel() for places in at]
    again = torch.is_grad_enabled() and len(index) > KEPT * len(x)
    back = torch.zeros(x.shape[0] * x.shape[1], dtype=torch.long)
    real = torch.cat([there.flatten() for there in theres]).nonzero()[:, 0]
    back[index[real]] = real
    index = index.to(x.device)
    tokens = torch.split(x.flatten(0, 1).index_select(0, index), counts)
    position = torch.split(live["position"].flatten().index_select(0, index), counts)
    made = []
    for some, there, places in zip(tokens, theres, position, strict=True):
        mask = None if bool(there.all()) else there[:, None, None].to(x.device)
        given = some.view(*there.shape, -1), mask, places.view(there.shape)
        made.append((checkpoint(run, *given, use_reentrant=False) if again else run(*given)).flatten(0, 1))
    return torch.cat(made).index_select(0, back.to(x.device)).view(x.shape)


def _groups(pieces: Tensor, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pieces of like length in groups of about `TOKENS` padded tokens: where each one's tokens stand among those of
    all rows, `width` a row, and which of these are not padding; both (pieces, longest).
    """
    pieces = pieces.cpu()  # what is cut by them must be known
    begins = pieces.cumsum(1) - pieces + width * torch.arange(len(pieces))[:, None]
    lengths, order = pieces.flatten().sort(descending=True, stable=True)
    begins, count, at = begins.flatten()[order], int((lengths > 0).sum()), 0
    while at < count:
        longest = int(lengths[at])
        some = slice(at, min(at + max(1, TOKENS // longest), count))
        steps, mine = torch.arange(longest), lengths[some, None]
        yield begins[some, None] + torch.minimum(steps, mine - 1), steps < mine
        at = some.stop
