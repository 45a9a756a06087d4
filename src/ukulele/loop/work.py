"""How many floating-point operations a candidate took."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn

from ukulele.tools.collate import collate
from ukulele.types import Model, Tensors, fold

BACKWARD = 2  # a backward pass costs about twice its forward pass
SAMPLE = 2  # rows


def operations(model: Model, cut: int, inputs: list[tuple[Any, ...]], passed: int, trained: int) -> float | None:
    """Operations of the pass below a cut and of the training above it, from a count on a sample of rows.

    Parameters
    ----------
    model, cut
        What was trained, and from which stage on.
    inputs
        Raw inputs of some rows, to count on.
    passed, trained
        How many rows went through the frozen part, and how many through a training step.

    Returns
    -------
    float or None
        None for models without stages. Matrix products, convolutions and attention are counted, the
        optimiser and the heads are not.
    """
    if not model.stages or not inputs:
        return None
    from torch.utils.flop_counter import FlopCounterMode

    rows = inputs[:SAMPLE]
    for stage in model.stages:
        stage.module.eval()  # a forward pass in training mode would move BatchNorm's statistics
    stages = [partial(_where_it_is, stage.module) for stage in model.stages]
    with torch.no_grad():
        live = collate(model.encode(rows, [0] * len(rows)), model.inputs)
        with FlopCounterMode(display=False) as below:
            live = fold(model.prepare, stages[:cut], live)
        with FlopCounterMode(display=False) as above:
            fold(model.prepare, stages[cut:], live)
    each: Mapping[str, float] = {
        "below": below.get_total_flops() / len(rows),
        "above": above.get_total_flops() / len(rows),
    }
    return passed * each["below"] + trained * (1 + BACKWARD) * each["above"]


def _where_it_is(stage: nn.Module, live: Tensors) -> Tensors:
    """Through a stage on its device: what is trained may have moved, what is frozen stays where it was loaded.

    Of a stage that shares a tensor with a head that moved the rest goes there, too.
    """
    devices = {tensor.device for tensor in chain(stage.parameters(), stage.buffers())}
    device = max(devices, key=lambda one: one.type != "cpu", default=None)
    if len(devices) > 1:
        stage.to(device)
    return stage(live if device is None else {name: value.to(device) for name, value in live.items()})  # type: ignore[no-any-return]
