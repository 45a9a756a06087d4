"""Layer norm whose values stay in bf16 on the CPU, where autocast would have them go to float32 and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm


class LayerNorm(nn.LayerNorm):
    """As `nn.LayerNorm`; under the CPU's autocast it gives bf16, from moments in float32.

    Most of what reads it is a matrix product, which autocast would round it for anyway. Where it is the trunk of a
    model itself (BERT), that is rounded once a layer, as in a model whose weights are in bf16.
    """

    def __init__(self, layer: nn.LayerNorm) -> None:
        super().__init__(layer.normalized_shape, layer.eps, elementwise_affine=False)
        self.elementwise_affine = layer.elementwise_affine
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, input: Tensor) -> Tensor:
        """(…, width) of the same shape."""
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            found: Any = layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)
            return found.to(torch.get_autocast_dtype("cpu"))  # type: ignore[no-any-return]
