"""Low-rank adapters beside the weights of some stages, and merged into them. The only file that imports peft.

LoRA (Hu et al., 2021, arXiv:2106.09685) and DoRA (Liu et al., 2024, arXiv:2402.09353).
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ukulele.errors import PlanError
from ukulele.models import quantised
from ukulele.types import Adapters, Stage


def transposed(part: nn.Module) -> bool:
    """Whether it is a linear layer that holds its weight the other way round, as GPT-2's do."""
    return type(part).__name__ == "Conv1D" and getattr(part, "weight", torch.empty(0)).ndim == 2


def places(module: nn.Module) -> list[str]:
    """The names of the layers that an adapter can stand beside: linear ones, and convolutions that are not grouped.

    A convolution that pads or standardises its weights by itself is another function of them: none stands beside it.

    >>> places(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 1)))
    ['0', '3']
    """
    return [
        name
        for name, part in module.named_modules()
        if name and (isinstance(part, nn.Linear) or transposed(part) or _convolves(part))
    ]


def _convolves(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d) and part.groups == 1 and type(part).forward is nn.Conv2d.forward


def adapted(stages: Sequence[Stage], adapters: Adapters) -> tuple[Stage, ...]:
    """The same stages with adapters in those that are named; they start as the same function.

    The stages given stay as they are. The new ones hold the very same parameters and buffers, and those of the
    adapters, which are drawn from torch's generator.

    Raises
    ------
    PlanError
        If a stage is not there, or has no layer that an adapter can stand beside.
    """
    known = {stage.name: stage for stage in stages}
    missing = [name for name in adapters.stages if name not in known or not places(known[name].module)]
    if missing:
        raise PlanError(
            f"{adapters.kind}: no linear layer or ungrouped convolution in {', '.join(missing)}.",
            hint="Choose another --freeze, or --strategy finetune.",
        )
    made = {name: _twin(known[name].module) for name in adapters.stages}
    _inject(nn.ModuleList(made.values()), adapters)
    return tuple(replace(stage, module=made.get(stage.name, stage.module)) for stage in stages)


def narrowed(stages: Sequence[Stage], adapters: Adapters) -> tuple[Stage, ...]:
    """The same stages with weights of few bits where adapters are to stand, if those were asked for.

    The stages given stay as they are; the new ones share what is not rounded.

    Raises
    ------
    PlanError
        If there is no linear layer to be rounded: convolutions are not.
    """
    if adapters.bits is None:
        return tuple(stages)
    found, rounded = [], 0
    for stage in stages:
        module = _twin(stage.module) if stage.name in adapters.stages else stage.module
        if module is not stage.module:
            rounded += quantised.narrow(module, adapters.bits)
        found.append(replace(stage, module=module))
    if not rounded:
        raise PlanError(
            f"--bits {adapters.bits}: no linear layer in {', '.join(adapters.stages)}; convolutions are not rounded.",
            hint="Leave it out.",
        )
    return tuple(found)


def _twin(module: nn.Module) -> nn.Module:
    """A module of the same make around the same tensors."""
    kept: list[Tensor | nn.Module] = [*module.parameters(), *module.buffers()]
    kept += filter(None, map(quantised.plain, module.modules()))
    return copy.deepcopy(module, {id(one): one for one in kept})


def _inject(modules: nn.ModuleList, adapters: Adapters) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    names = "|".join(re.escape(name) for name in places(modules))
    config = LoraConfig(
        r=adapters.rank, lora_alpha=adapters.alpha, target_modules=names, use_dora=adapters.kind == "dora"
    )
    holder: Any = modules
    holder.is_loaded_in_8bit, holder.is_loaded_in_4bit = adapters.bits == 8, adapters.bits == 4  # as peft asks
    with warnings.catch_warnings():  # that a layer holds its weight the other way round, which is then seen to
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        inject_adapter_in_model(config, modules)


@contextmanager
def written_in(stages: Sequence[nn.Module]) -> Iterator[None]:
    """For a while, what adapters learned stands in the very weights they stand beside; bit for bit gone afterwards."""
    from peft.tuners.lora.layer import LoraLayer

    layers: list[Any] = [part for stage in stages for part in stage.modules() if isinstance(part, LoraLayer)]
    bases = [(layer, layer.get_base_layer()) for layer in layers]
    weights: list[Any] = [(quantised.plain(base) or base).weight for _, base in bases]
    kept = [(weight, weight.data, weight.data.clone()) for weight in weights]
    try:
        for layer, base in bases:
            _write(layer, base)
        yield
    finally:
        for weight, data, values in kept:
            weight.data = data
            weight.data.copy_(values)
        for layer in layers:
            layer.merged_adapters.clear()


def _write(layer: Any, base: nn.Module) -> nn.Module:
    """What a layer's adapter learned, into the weights that `base` stands for; returns the layer that holds them."""
    kept = quantised.plain(base)
    if kept is None:
        layer.merge()
        return base
    quantised.write(base, layer.get_delta_weight(layer.active_adapters[0]).detach())
    return kept


def merge(stages: Sequence[nn.Module]) -> None:
    """Add what adapters learned to the weights they stand beside, and take them away. Weights of few bits, which they
    were trained beside, become what they mean in full precision.
    """
    from peft.tuners.lora.layer import LoraLayer

    for stage in stages:
        for name, layer in list(stage.named_modules()):
            if isinstance(layer, LoraLayer):
                parent, _, last = name.rpartition(".")
                setattr(stage.get_submodule(parent), last, _write(layer, layer.get_base_layer()))
