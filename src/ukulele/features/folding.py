"""BatchNorm folded into the convolution before it, in frozen copies: the same function in fewer passes over memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

TOLERANCE = 1e-3  # relative to the largest value; float32 agrees to about 1e-5


def fold_batchnorm(stages: nn.ModuleList, run: Callable[[], Tensor]) -> bool:
    """Fold in place; `run` shows which convolution feeds which BatchNorm, and checks the result.

    Returns
    -------
    bool
        Whether the folded stages still compute the same; where they do not, they must be thrown away.
    """
    before = run()
    pairs = pairs_of(stages, run)
    if not pairs:
        return True
    places = {id(child): (parent, name) for parent in stages.modules() for name, child in parent.named_children()}
    for convolution, norm in pairs:
        fused = fuse_conv_bn_eval(convolution, norm)
        convolution.weight, convolution.bias = fused.weight, fused.bias
        parent, name = places[id(norm)]
        setattr(parent, name, nn.Sequential(*rest_of(norm)))
    after = run()
    return bool((after - before).abs().max() <= TOLERANCE * before.abs().max().clamp(min=1e-6))


def rest_of(norm: Any) -> list[nn.Module]:
    """What a BatchNorm does behind the norm: timm's brings its dropout and activation along."""
    return [getattr(norm, part) for part in ("drop", "act") if isinstance(getattr(norm, part, None), nn.Module)]


def pairs_of(stages: nn.Module, run: Callable[[], Tensor]) -> list[tuple[nn.Conv2d, Any]]:
    """Each convolution with the BatchNorm that it feeds in `run`; none where a BatchNorm is fed more than once."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    found: list[tuple[nn.Conv2d, Any]] = []
    hooks = []

    def leaves(module: nn.Module, _: Any, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(output)] = (module, output)

    def enters(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if id(given[0]) in made:
            found.append((made[id(given[0])][0], module))

    for module in stages.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(leaves))
        elif isinstance(module, _BatchNorm):
            hooks.append(module.register_forward_pre_hook(enters))
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    once = {id(norm) for _, norm in found}
    return found if len(once) == len(found) else []
