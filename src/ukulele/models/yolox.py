"""YOLOX (Ge et al., 2021, arXiv:2107.08430): stem, four dark stages and neck; its head, loss and answers."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ukulele.models import letterbox, libre
from ukulele.models.detecting import FLOOR, LEVELS, PRIOR, Held, Step, joinable, live
from ukulele.types import Head, Loss, Stage, Tensors

SIZES = {16: "n", 24: "t", 32: "s", 48: "m", 64: "l", 80: "x"}  # by channels of the stem


def told(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the tensors tell of a recipe; nothing where they are of no size that is known."""
    size = SIZES.get(len(state["backbone.backbone.stem.conv.conv.weight"]))
    return {"size": size} if size else {}


def network(recipe: Mapping[str, Any]) -> Any:
    """One with weights drawn from torch's generator."""
    net = libre.yolox(recipe["size"], len(recipe["labels"]))
    net.init_weights(PRIOR)
    return net


def stages(net: Any) -> tuple[Stage, ...]:
    """The trunk from the stem to the neck."""
    backbone = net.backbone.backbone
    return (
        Stage("stem", Pixels(backbone.stem), live("x")),
        Stage("dark2", Step(backbone.dark2, "x", "dark2"), live("dark2")),
        Stage("dark3", Step(backbone.dark3, "dark2", "dark3"), live("dark3")),
        Stage("dark4", Step(backbone.dark4, "dark3", "dark4", keep=True), live("dark3", "dark4")),
        Stage("dark5", Step(backbone.dark5, "dark4", "dark5", keep=True), live("dark3", "dark4", "dark5")),
        Stage("neck", Neck(net.backbone), live(*LEVELS)),
    )


def width(net: Any) -> int:
    """Channels of the highest map."""
    return int(net.head.stems[-1].conv.in_channels)


class Pixels(nn.Module):
    """The stem, fed bytes in RGB: YOLOX was trained on blue, green, red from 0 to 255."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, live: Tensors) -> Tensors:
        dtype = next(self.body.parameters()).dtype
        return {"geometry": live["geometry"], "x": self.body(live["image"].flip(1).to(dtype))}


class Neck(nn.Module):
    """The library's feature pyramid with its backbone taken out: the three maps come from below."""

    def __init__(self, pyramid: nn.Module) -> None:
        super().__init__()
        self.pyramid = copy.copy(pyramid)  # the same parameters, a table of modules of its own
        self.pyramid._modules = {**pyramid._modules, "backbone": nn.Identity()}

    def forward(self, live: Tensors) -> Tensors:
        p3, p4, p5 = self.pyramid({name: joinable(live[name]) for name in ("dark3", "dark4", "dark5")})
        return {"geometry": live["geometry"], "p3": p3, "p4": p4, "p5": p5}


def head(source: Any, known: Sequence[str], side: int, pad: str, labels: Sequence[str]) -> Head:
    """The model's own head for other classes: all weights are kept but the last layer's of classes it does not know.

    Classes are the same where their names are, whatever the case; new ones begin at random, with a chance of .01.
    """
    del pad  # answers go by the geometry's scale alone
    body = copy.deepcopy(source)
    body.num_classes = len(labels)
    rows = libre.same(labels, known)
    for level, before in enumerate(source.cls_preds):
        body.cls_preds[level] = libre.rebuilt(before, rows, -math.log((1 - PRIOR) / PRIOR))
    return Boxes(body.to(memory_format=torch.channels_last), side)


class Boxes(nn.Module):
    """The family's head: SimOTA assignment in `loss`, decoding and suppression in `predict`, in float32."""

    def __init__(self, body: Any, side: int) -> None:
        super().__init__()
        self.body, self._side, self._held = body, side, Held()

    def forward(self, live: Tensors) -> list[Tensor]:
        """For each level, edges, objectness and classes as they leave the last layers: (rows, 5 + classes, h, w)."""
        body, found = self.body, []
        for level, name in enumerate(LEVELS):
            x = body.stems[level](live[name].contiguous(memory_format=torch.channels_last))
            about, where = body.cls_convs[level](x), body.reg_convs[level](x)
            parts = (body.reg_preds[level](where), body.obj_preds[level](where), body.cls_preds[level](about))
            found.append(torch.cat([part.float() for part in parts], 1))
        return found

    def loss(self, live: Tensors, target: Tensors) -> Loss:
        """One sum over all anchors that were assigned, and their count: the library takes the mean over all images."""
        levels = self._held.keep(live, self(live))
        with torch.autocast(levels[0].device.type, enabled=False):
            made = [
                self.body.get_output_and_grid(level, k, stride, None)
                for k, (level, stride) in enumerate(zip(levels, self.body.strides, strict=True))
            ]
            maps, grids = torch.cat([output for output, _ in made], 1), [grid for _, grid in made]
            strides = [
                torch.full((1, grid.shape[1]), float(stride), device=maps.device)
                for grid, stride in zip(grids, self.body.strides, strict=True)
            ]
            labels = self._labels(live["geometry"], target)
            parts = self.body.get_losses(
                None, [g[:, :, 0] for g in grids], [g[:, :, 1] for g in grids], strides, labels, maps, [], maps.dtype
            )
        boxes = (labels.sum(2) > 0).sum().clamp(min=1)
        assigned = torch.as_tensor(parts["num_fg"], device=maps.device) * boxes
        return Loss((parts["total_loss"] * assigned)[None], assigned[None])

    def _labels(self, geometry: Tensor, target: Tensors) -> Tensor:
        """Class, centre and size of the boxes in view, in front of rows of noughts, as the library wants them."""
        classes, boxes, there = letterbox.in_view(target, geometry, self._side)
        sides = boxes[..., 2:] - boxes[..., :2]
        rows = torch.cat([classes[..., None].float(), (boxes[..., :2] + boxes[..., 2:]) / 2, sides], -1)
        return rows * there[..., None]

    def predict(self, live: Tensors, decoding: Any) -> list[np.ndarray]:
        """For each picture an array (n, 6): left, top, right, bottom in its pixels, score, class."""
        levels = [torch.cat([level[:, :4], level[:, 4:].sigmoid()], 1) for level in self._held.take(live, self)]
        return [
            libre.yolox_answer(
                [level[row : row + 1] for level in levels],
                FLOOR,
                decoding.overlap,
                self._side,
                (int(width), int(height)),
                scale,
            )
            for row, (scale, _, _, _, width, height) in enumerate(live["geometry"].tolist())
        ]
