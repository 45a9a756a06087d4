"""A linear map in bf16 on the CPU with its bias, and GELU where it follows, within the matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear

# from `MANY` rows on they are rounded up to a multiple of `STEP`: oneDNN compiles a product for each number of rows, 2
# to 12 ms where it takes .5 to 3, and batches of texts have any
MANY, STEP = 1024, 64


def product(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "") -> Tensor:
    """`linear`, and GELU behind it where `activation` names its form, "none" or "tanh" as `gelu` has it.

    Torch writes the bias into the result before it multiplies, and reads it again; oneDNN adds it, and takes GELU, on
    the way out, before rounding (1,600 rows, 384 to 1,536 numbers, with GELU: 1.37 ms for 1.69, two cores). It has no
    gradient, so it is used without.
    """
    if torch.is_grad_enabled() or not (x.dtype == weight.dtype == torch.bfloat16 and _has(x.device.type) and x.numel()):
        plain = linear(x, weight, bias)
        return gelu(plain, approximate=activation) if activation else plain
    rows = x.shape[:-1].numel()
    found: Tensor = torch.ops.mkldnn._linear_pointwise(
        _rounded_up(x, rows), weight, bias, "gelu" if activation else "none", [], activation
    )
    return found[:rows].view(*x.shape[:-1], -1)


def room(shape: Sequence[int]) -> Tensor:
    """Unset numbers in bf16, with as many rows behind them as `product` takes beyond them: it need not copy them."""
    *rows, width = shape
    count = torch.Size(rows).numel()
    return torch.empty(_steps(count), width, dtype=torch.bfloat16)[:count].view(*shape)


def _rounded_up(x: Tensor, rows: int) -> Tensor:
    """(rows, in), and rows of anything behind them: what is in memory there, if something is."""
    count, width = _steps(rows), x.shape[-1]
    if count == rows:
        return x.reshape(rows, width)
    if x.is_contiguous() and x.untyped_storage().nbytes() >= (x.storage_offset() + count * width) * x.element_size():
        return x.as_strided((count, width), (width, 1))
    found = x.new_empty(count, width)
    found[:rows].view(x.shape).copy_(x)
    return found


def _steps(rows: int) -> int:
    return rows if rows < MANY else rows + -rows % STEP


@cache
def _has(device: str) -> bool:
    """Whether oneDNN multiplies bf16 there."""
    if device != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    here = hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    return here and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
