"""YOLO9 (Wang et al., 2024, arXiv:2402.13616): stem, three stages and neck; its head with its own loss and decoding.

Without the auxiliary branch that some trainings add: answers never pass it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ukulele.models import letterbox, libre
from ukulele.models.detecting import FLOOR, LEVELS, PRIOR, Held, Shares, Step, joinable, live
from ukulele.types import Head, Loss, Stage, Tensors

STRIDES = (8, 16, 32)
SECOND = {64: "s", 128: "m"}  # by channels of the first block, where those of the stem are 32


def told(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the tensors tell of a recipe; nothing where they are of no size that is known.

    The width of the class towers follows from the classes of the first training, not from those of now.
    """
    first, tower = len(state["backbone.conv0.conv.weight"]), state.get("head.cv3.0.0.conv.weight")
    size = {16: "t", 64: "c"}.get(first) or SECOND.get(len(state.get("backbone.elan1.cv1.conv.weight", ())))
    return {"size": size, "tower": len(tower)} if size and tower is not None else {}


def network(recipe: Mapping[str, Any]) -> Any:
    """One with weights drawn from torch's generator."""
    return libre.yolo9(recipe["size"], len(recipe["labels"]), recipe.get("tower"))


def stages(net: Any) -> tuple[Stage, ...]:
    """The trunk from the stem to the neck."""
    b = net.backbone
    third, fourth = nn.Sequential(b.down2, b.elan2), nn.Sequential(b.down3, b.elan3)
    return (
        Stage("stem", Shares(nn.Sequential(b.conv0, b.conv1, b.elan1)), live("x")),
        Stage("b3", Step(third, "x", "b3"), live("b3")),
        Stage("b4", Step(fourth, "b3", "b4", keep=True), live("b3", "b4")),
        Stage("b5", Step(nn.Sequential(b.down4, b.elan4, b.spp), "b4", "b5", keep=True), live("b3", "b4", "b5")),
        Stage("neck", Neck(net.neck), live(*LEVELS)),
    )


def width(net: Any) -> int:
    """Channels of the highest map."""
    return int(net.head.cv2[-1][0].conv.in_channels)


class Neck(nn.Module):
    """The library's neck on the three maps of the backbone."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, live: Tensors) -> Tensors:
        p3, p4, p5 = self.body(*(joinable(live[name]) for name in ("b3", "b4", "b5")))
        return {"geometry": live["geometry"], "p3": p3, "p4": p4, "p5": p5}


def head(source: Any, known: Sequence[str], side: int, pad: str, labels: Sequence[str]) -> Head:
    """The model's own head for other classes: all weights are kept but the last layer's of classes it does not know.

    Classes are the same where their names are, whatever the case; new ones begin at random, with a chance of .01.
    """
    body = copy.deepcopy(source)
    body.nc, body.no = len(labels), len(labels) + 4 * body.reg_max
    rows = libre.same(labels, known)
    for level, tower in enumerate(source.cv3):
        body.cv3[level][-1] = libre.rebuilt(tower[-1], rows, -math.log((1 - PRIOR) / PRIOR))
    return Boxes(body.to(memory_format=torch.channels_last), side, pad)


class Boxes(nn.Module):
    """The family's head: task-aligned assignment in `loss`, decoding and suppression in `predict`, in float32."""

    def __init__(self, body: Any, side: int, pad: str) -> None:
        super().__init__()
        self.body, self._side, self._pad, self._held = body, side, pad, Held()

    def forward(self, live: Tensors) -> list[Tensor]:
        """For each level, distances to the edges and classes: (rows, 4 × bins + classes, h, w)."""
        maps = [live[name].contiguous(memory_format=torch.channels_last) for name in LEVELS]
        towers = zip(self.body.cv2, self.body.cv3, strict=True)
        return [
            torch.cat([where(x).float(), about(x).float()], 1) for x, (where, about) in zip(maps, towers, strict=True)
        ]

    def loss(self, live: Tensors, target: Tensors) -> Loss:
        """One sum over all places, and the sum of the assignment's scores, by which the library divides it."""
        levels = self._held.keep(live, self(live))
        with torch.autocast(levels[0].device.type, enabled=False):
            classes, boxes, there = letterbox.in_view(target, live["geometry"], self._side)
            rows = torch.cat([classes[..., None].float(), boxes / self._side], -1) * there[..., None]
            sums, count = libre.yolo9_loss(levels, rows, self.body.nc, self.body.reg_max, STRIDES, self._side)
        return Loss(sums[None], count[None])

    def predict(self, live: Tensors, decoding: Any) -> list[np.ndarray]:
        """For each picture an array (n, 6): left, top, right, bottom in its pixels, score, class."""
        decoded = self.body._decode_inference(self._held.take(live, self))
        sizes = live["geometry"][:, 4:].tolist()
        return [
            libre.yolo9_answer(
                decoded[row : row + 1], FLOOR, decoding.overlap, self._side, (int(width), int(height)), self._pad
            )
            for row, (width, height) in enumerate(sizes)
        ]
