"""Attention by whatever is quickest on the CPU, in memory that does not grow with the square of the tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from ukulele.models.dropout import drop
from ukulele.tools.product import room

NAME = "ukulele"
# up to so many tokens plain matrix products are quicker than the fused kernel on the CPU, by precision and whether
# weights are dropped. Forward and backward, one thread: in bf16 with dropout, 32 rows, 12 heads of 32, 25 tokens 6.1 ms
# for the kernel's 7.9, 128 tokens 51 for 109. In full precision without dropout the kernel is quicker at any length:
# 2,048 tokens in all, 8 heads of 32, rows of 16 12 ms for 18, of 64 17 for 32, of 256 43 for 83; forward alone likewise
SHORT = {("bf16", True): 128, ("bf16", False): 128, ("fp32", True): 128, ("fp32", False): 0}
# scores that are computed in one go where the fused kernel cannot be used; beyond them, those of a stretch of the row
WHOLE, ROOM = 1 << 24, 1 << 21
LEAST, MOST = 1e-20, 1e30  # that weights of a token may sum up to where no score is taken off them; bf16 ends at 3e38


def attend(  # noqa: PLR0913 - as transformers calls it
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers asks of an attention function.

    Parameters
    ----------
    module
        Whose attention it is: by its `is_causal`, unless that is given, tokens see none behind them where there is no
        mask, as the library leaves the mask out there.
    query, key, value
        (rows, heads, tokens, width).
    attention_mask
        True where a token is seen, or what is added to the scores; (rows, 1 or heads, 1 or tokens, tokens).
    dropout, scaling
        Share of the weights that is dropped; factor of the scores, 1 / sqrt(width) by default.
    position_bias
        Added to the scores, beside the mask (T5): (1, heads, tokens, tokens), or (1, heads, distances) by how far what
        is seen stands behind what sees it, from the first token as seen by the last one on.

    Returns
    -------
    tuple
        (rows, tokens, heads, width), and no weights.
    """
    causal = (getattr(module, "is_causal", False) if is_causal is None else is_causal) and attention_mask is None
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    asked = Attention(attention_mask, position_bias, dropout, scale, causal and query.shape[2] > 1)
    return asked.of(query, key, value), None


@dataclass(frozen=True)
class Attention:
    """How queries attend to keys."""

    mask: Tensor | None
    bias: Tensor | None
    dropout: float
    scale: float
    causal: bool

    def of(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(rows, tokens, heads, width), of (rows, heads, tokens, width) each."""
        near, most = self._plain_is_better(query, key), query.shape[2]
        found = self._unshifted(query, key, value) if near and self._may_be_unshifted(query) else None
        if found is not None:
            return found
        plain = near or self._materialises(query)
        each = query.shape[0] * query.shape[1] * key.shape[2]
        size = most if most * each <= WHOLE else max(1, ROOM // each)
        one = self._plain if plain else self._fused
        if most <= size or not (plain or self.bias is not None):
            return one(slice(0, most), query, key, value)
        stretches = [slice(at, min(at + size, most)) for at in range(0, most, size)]
        if not (torch.is_grad_enabled() and plain):
            return torch.cat([one(stretch, query, key, value) for stretch in stretches], 1)
        drops = self.dropout > 0
        parts = [  # else all scores would be kept for the gradient
            checkpoint(one, stretch, query, key, value, use_reentrant=False, preserve_rng_state=drops)
            for stretch in stretches
        ]
        return torch.cat(parts, 1)

    def _plain_is_better(self, query: Tensor, key: Tensor) -> bool:
        precision = "bf16" if query.dtype == torch.bfloat16 else "fp32"
        longest = max(query.shape[2], key.shape[2])
        near = longest <= SHORT[precision, self.dropout > 0] and query.shape[1] == key.shape[1]
        return query.device.type == "cpu" and near

    def _may_be_unshifted(self, query: Tensor) -> bool:
        """Whether all tokens of a row see the same, some of them, and no gradient is wanted."""
        mask = self.mask
        alike = mask is None or (mask.dtype == torch.bool and mask.shape[1:3] == (1, 1))
        narrow = query.dtype == torch.bfloat16 and not (torch.is_grad_enabled() or self.dropout or self.causal)
        return narrow and alike and self.bias is None

    def _materialises(self, query: Tensor) -> bool:
        """Whether the fused kernel would hold all scores: the CPU's neither drops nor learns what is added.

        A bias counts where it is not learned, too, so that a row's values do not depend on whether it is.
        """
        return query.device.type == "cpu" and (self.dropout > 0 or self.bias is not None)

    def _fused(self, stretch: slice, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        grouped, whole = query.shape[1] != key.shape[1], stretch == slice(0, query.shape[2])
        causal = self.causal and whole and query.shape[2] == key.shape[2]
        mask = None if causal else self._added(stretch, query, key)
        mask = mask if mask is None or mask.dtype == torch.bool else mask.to(query.dtype)
        found = scaled_dot_product_attention(
            query[:, :, stretch], key, value, mask, self.dropout, causal, scale=self.scale, enable_gqa=grouped
        )
        return found.transpose(1, 2).contiguous()

    def _plain(self, stretch: slice, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        some, groups = query[:, :, stretch], query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        with torch.autocast(query.device.type, enabled=False):
            scores = self._scores(some, key, self._added(stretch, query, key))
            weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)  # in bf16 it takes twice the time
            weights = drop(weights, self.dropout) if self.dropout else weights
            found = torch.bmm(weights, value.reshape(-1, *value.shape[2:]))
            return found.view(*some.shape[:3], -1).transpose(1, 2)

    def _unshifted(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
        """Softmax without the row's largest score taken off, and divided by its sum only behind the last product.

        That is a pass over all scores instead of four (4,096 tokens, 12 heads of 32, two threads: rows of 12 tokens
        2.1 ms for 5.3, of 25 2.6 for 3.1, of 60 3.4 for 4.4). None where scores are too large or too small for it.
        """
        with torch.autocast(query.device.type, enabled=False):
            weights = self._scores(query, key, self.mask).exp_()
            sums = weights.flatten(0, 1) @ weights.new_ones(weights.shape[2], 1)
            least, most = sums.aminmax()
            if not LEAST < float(least) <= float(most) < MOST:
                return None
            found = torch.bmm(weights, value.reshape(-1, *value.shape[2:])).view(*query.shape[:3], -1).transpose(1, 2)
            into = room((*found.shape[:2], found.shape[2] * found.shape[3])).view(found.shape)
            return torch.div(found, sums.view(*query.shape[:3], 1).transpose(1, 2), out=into)

    def _scores(self, query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
        """(rows x heads, tokens, tokens that are seen), what is masked far below all others."""
        shape = (*query.shape[:3], key.shape[2])
        some, other = (x.reshape(-1, *x.shape[2:]) for x in (query, key))
        if mask is not None and mask.dtype == torch.bool:  # where the product starts from: no pass of its own
            start = some.new_zeros(mask.shape).masked_fill_(~mask, torch.finfo(some.dtype).min)
            each = start if mask.shape[:2] == (1, 1) else start.expand(*shape[:2], *start.shape[2:])
            return torch.baddbmm(each.flatten(0, 1), some, other.transpose(1, 2), alpha=self.scale)
        scores = torch.baddbmm(some.new_empty(1, 1, 1), some, other.transpose(1, 2), beta=0, alpha=self.scale)
        return scores if mask is None else (scores.view(shape) + mask).flatten(0, 1)

    def _added(self, stretch: slice, query: Tensor, key: Tensor) -> Tensor | None:
        """Mask and bias of a stretch of queries as one mask; None where all is seen."""
        tokens, seen = query.shape[2], key.shape[2]
        mask, bias = self.mask, self.bias
        if mask is not None and mask.shape[2] > 1:
            mask = mask[:, :, stretch]
        if self.causal:
            at = torch.arange(stretch.start, stretch.stop, device=query.device)[:, None] + (seen - tokens)
            mask = (torch.arange(seen, device=query.device)[None] <= at)[None, None]
        if bias is None:
            return mask
        if bias.dim() == 3:  # by distance: the token t sees from the place tokens - 1 - t on
            near = bias[:, :, tokens - stretch.stop : tokens - stretch.start - 1 + seen]
            bias = near.unfold(2, seen, 1).flip(2)
        else:
            bias = bias[:, :, stretch]
        if mask is None:
            return bias
        return bias.masked_fill(~mask, torch.finfo(bias.dtype).min) if mask.dtype == torch.bool else bias + mask
