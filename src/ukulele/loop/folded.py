"""BatchNorm whose statistics stay as they are, folded into the convolution before it while both are trained.

With fixed mean and variance it is a product and a sum for each channel, so convolving with scaled weights is the same
function of the same parameters, with the same gradients up to rounding. What is spared are its passes over the
activations, forward and backward, and the copy of them that the backward pass needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ukulele.features.folding import pairs_of, rest_of

# of losses, relative to the largest or to 1: float32 agrees to about 1e-5 whatever the weights, so a run that goes on
# folds what it folded before; where something else reads what the convolution gives, they are far off
TOLERANCE = 1e-2


@contextmanager
def folded(above: nn.Module, losses: Callable[[], Tensor]) -> Iterator[None]:
    """Convolutions with the BatchNorm behind them as one, as long as it lasts; names and parameters stay.

    Parameters
    ----------
    above
        What is trained, its BatchNorm in eval mode whenever it runs.
    losses
        Runs it on a few rows: shows which convolution feeds which BatchNorm, and that the function is still the same.
        Where it is not, nothing is folded.
    """
    if not any(isinstance(module, _BatchNorm) for module in above.modules()):
        yield
        return
    above.eval()
    with torch.no_grad():
        before = losses()
        pairs = [pair for pair in pairs_of(above, losses) if _foldable(*pair)]
        for convolution, norm in pairs:
            convolution.forward = partial(_convolved, convolution, norm)  # type: ignore[method-assign]
            norm.forward = nn.Sequential(*rest_of(norm)).forward
        try:
            if not bool((losses() - before).abs().max() <= TOLERANCE * before.abs().max().clamp(min=1)):
                _unfold(pairs)
        except BaseException:
            _unfold(pairs)
            raise
    try:
        yield
    finally:
        _unfold(pairs)


def _foldable(convolution: nn.Conv2d, norm: Any) -> bool:
    return type(convolution).forward is nn.Conv2d.forward and norm.affine and norm.running_var is not None


def _convolved(convolution: nn.Conv2d, norm: Any, x: Tensor) -> Tensor:
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    bias = norm.bias - norm.running_mean * scale
    if convolution.bias is not None:
        bias = bias + convolution.bias * scale
    found: Tensor = convolution._conv_forward(x, convolution.weight * scale[:, None, None, None], bias)
    return found


def _unfold(pairs: list[tuple[nn.Conv2d, Any]]) -> None:
    for pair in pairs:
        for module in pair:
            module.__dict__.pop("forward", None)
