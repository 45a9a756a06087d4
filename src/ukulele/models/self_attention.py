"""Queries, keys and values of an encoder's attention in one matrix product instead of three.

One product of thrice the width reads its input once, rounds it to bf16 once, and leaves one gradient of it where three
would have to be added up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ukulele.models.attention import Attention
from ukulele.tools.product import product

NAMES = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"))  # BERT and what followed it; DistilBERT


class SelfAttention(nn.Module):
    """As transformers' layer of that name in encoders; parameters keep their names.

    Where one of the three maps is more than linear by now, with an adapter say, they are asked one by one.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        for name, child in layer.named_children():
            self.add_module(name, child)
        self._maps = next(names for names in NAMES if hasattr(layer, names[0]))
        self._heads = int(layer.num_attention_heads if hasattr(layer, "num_attention_heads") else layer.n_heads)
        self._joined: tuple[Tensor, Tensor] | None = None
        self.train(layer.training)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: Any) -> tuple[Tensor, None]:
        """(rows, tokens, width), and no weights; the mask is as for `attention.attend`."""
        joined = self._joined or self._join()
        if joined is not None:
            found = product(hidden_states, *joined)
        else:
            found = torch.cat([self.get_submodule(name)(hidden_states) for name in self._maps], 2)
        rows, tokens, _width = hidden_states.shape
        query, key, value = found.view(rows, tokens, 3, self._heads, -1).permute(2, 0, 3, 1, 4).unbind()
        dropout = float(self.dropout.p) if self.training else 0.0  # type: ignore[union-attr, arg-type]
        seen = Attention(attention_mask, None, dropout, query.shape[3] ** -0.5, causal=False).of(query, key, value)
        seen = seen.reshape(rows, tokens, -1)
        return (self.out_lin(seen) if "out_lin" in self._modules else seen), None  # type: ignore[operator]

    def settle(self) -> None:
        """Join the three maps for good: their weights do not change from now on."""
        self._joined = self._join()

    def _join(self) -> tuple[Tensor, Tensor] | None:
        """Weights and biases of the three maps as one's, in the precision that autocast would bring them to."""
        maps = [self.get_submodule(name) for name in self._maps]
        if not all(type(one) is nn.Linear for one in maps):
            return None
        weights, biases = ([getattr(one, name) for one in maps] for name in ("weight", "bias"))
        if weights[0].device.type == "cpu" and torch.is_autocast_enabled("cpu"):  # rounded, less is to be put together
            dtype = torch.get_autocast_dtype("cpu")
            weights, biases = ([value.to(dtype) for value in values] for values in (weights, biases))
        return torch.cat(weights), torch.cat(biases)


def one_product(layer: Any) -> nn.Module:
    """The layer with its three maps in one, unless it is a decoder's, which keeps keys and values of its own."""
    return layer if getattr(layer, "is_decoder", False) else SelfAttention(layer)
