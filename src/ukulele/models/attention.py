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
        Added to the scores, beside the mask (T5).

    Returns
    -------
    tuple
        (rows, tokens, heads, width), and no weights.
    """
    causal = getattr(module, "is_causal", False) if is_causal is None else is_causal
    attention_mask = _mask(attention_mask, position_bias, query, key, causal=causal)
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


def _mask(mask: Tensor | None, bias: Tensor | None, query: Tensor, key: Tensor, *, causal: bool) -> Tensor | None:
    """What is masked, causally where nothing else is said, and the bias, as one mask; None where all is seen."""
    tokens, seen = query.shape[2], key.shape[2]
    if mask is None and causal and tokens > 1:
        mask = torch.ones(tokens, seen, dtype=torch.bool, device=query.device).tril(seen - tokens)[None, None]
    if bias is None:
        return mask
    if mask is None:
        return bias
    return bias.masked_fill(~mask, torch.finfo(bias.dtype).min) if mask.dtype == torch.bool else bias + mask
