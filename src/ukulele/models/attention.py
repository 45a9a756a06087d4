"""Attention for short rows on the CPU: plain matrix products, which the fused kernel is slower than there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ukulele.models.dropout import drop

NAME = "ukulele"
# forward and backward of 32 rows in bf16 with dropout, one thread, 12 heads of 32: 25 tokens 6.1 ms for the fused
# kernel's 7.9, 128 tokens 51 for 109; forward alone is about the same
SHORT = 128  # tokens


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers asks of an attention function.

    Parameters
    ----------
    module
        Whose attention it is; not looked at.
    query, key, value
        (rows, heads, tokens, width).
    attention_mask
        True where a token is seen, or what is added to the scores; (rows, 1 or heads, 1 or tokens, tokens).
    dropout, scaling
        Share of the weights that is dropped; factor of the scores, 1 / sqrt(width) by default.

    Returns
    -------
    tuple
        (rows, tokens, heads, width), and no weights.
    """
    del module
    if query.device.type != "cpu" or max(query.shape[2], key.shape[2]) > SHORT or query.shape[1] != key.shape[1]:
        fused = scaled_dot_product_attention(
            query, key, value, attention_mask, dropout, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
        )
        return fused.transpose(1, 2).contiguous(), None
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    with torch.autocast("cpu", enabled=False):
        scores = torch.einsum("bhtd,bhsd->bhts", query * scale, key)
        if attention_mask is not None:
            seen = attention_mask.dtype == torch.bool
            lowest = torch.finfo(scores.dtype).min
            scores = scores.masked_fill(~attention_mask, lowest) if seen else scores + attention_mask
        weights = drop(scores.softmax(-1), dropout) if dropout else scores.softmax(-1)
        return torch.einsum("bhts,bhsd->bthd", weights.to(value.dtype), value), None
