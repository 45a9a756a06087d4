"""D-FINE (Peng et al., 2024, arXiv:2410.13842): stem, four stages, an encoder as its neck; its decoder is the head.

A set of boxes comes out, each object once: nothing is suppressed afterwards. Only the sizes whose norms are the usual
ones; in the larger two the library has frozen them for good.
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
from ukulele.models.detecting import FLOOR, LEVELS, PRIOR, Held, Shares, Step, live
from ukulele.types import Head, Loss, Stage, Tensors

SIZES = {(128, 512): "n", (256, 256): "s", (256, 384): "m"}  # by the encoder's width, and channels of its lowest map
MOST = 300  # answers of a picture


def told(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the tensors tell of a recipe; nothing where they are of no size that is known."""
    lowest = state.get("encoder.input_proj.0.conv.weight")
    size = None if lowest is None else SIZES.get((lowest.shape[0], lowest.shape[1]))
    return {"size": size} if size else {}


def network(recipe: Mapping[str, Any]) -> Any:
    """One with weights drawn from torch's generator."""
    net, side = libre.dfine(recipe["size"], len(recipe["labels"])), int(recipe["input"])
    places = sum((side // stride) ** 2 for stride in net.decoder.feat_strides)
    net.decoder.num_queries = min(net.decoder.num_queries, places)
    return Whole(net)


class Whole(nn.Module):
    """The library's network, its decoder under the name that heads have here."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.backbone, self.encoder, self.head = net.backbone, net.encoder, net.decoder

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Raw answers of pictures (rows, 3, side, side) with values from 0 to 1."""
        return dict(self.head(self.encoder(self.backbone(x))))


def stages(net: Any) -> tuple[Stage, ...]:
    """The trunk from the stem to the encoder."""
    body = net.backbone
    read, below = [f"stage{index + 1}" for index in body.return_idx], "x"
    found = [Stage("stem", Shares(body.stem), live("x"))]
    for number, module in enumerate(body.stages, start=1):
        name = f"stage{number}"
        kept = [one for one in read if one < name]  # the encoder reads them
        found.append(Stage(name, Step(module, below, name, keep=below in read), live(*kept, name)))
        below = name
    return (*found, Stage("neck", Neck(net.encoder, read), live(*LEVELS[-len(read) :])))


def width(net: Any) -> int:
    """Channels of the highest map."""
    return int(net.encoder.hidden_dim)


class Neck(nn.Module):
    """The library's encoder on the maps of the backbone that it reads."""

    def __init__(self, body: nn.Module, read: Sequence[str]) -> None:
        super().__init__()
        self.body, self._read = body, tuple(read)

    def forward(self, live: Tensors) -> Tensors:
        maps = self.body([live[name] for name in self._read])
        return {"geometry": live["geometry"], **dict(zip(LEVELS[-len(maps) :], maps, strict=True))}


def head(source: Any, known: Sequence[str], side: int, pad: str, labels: Sequence[str]) -> Head:
    """The model's own decoder for other classes: all weights are kept but those of classes it does not know.

    Classes are the same where their names are, whatever the case; new ones begin at random, with a chance of .01.
    """
    del pad  # answers go by the geometry
    body, rows, bias = copy.deepcopy(source), libre.same(labels, known), -math.log((1 - PRIOR) / PRIOR)
    body.num_classes = len(labels)
    body.enc_score_head = libre.linear(source.enc_score_head, rows, bias)
    for layer, before in enumerate(source.dec_score_head):
        body.dec_score_head[layer] = libre.linear(before, rows, bias)
    body.denoising_class_embed = libre.named(source.denoising_class_embed, rows)
    return Boxes(body, side, len(labels))


class Boxes(nn.Module):
    """The family's decoder: matching and denoising in `loss`, the best of all queries in `predict`, in float32."""

    suppresses = False  # of boxes that overlap: each object has one

    def __init__(self, body: Any, side: int, classes: int) -> None:
        super().__init__()
        self.body, self._side, self._held = body, side, Held()
        self._criterion = [libre.dfine_criterion(classes)]  # in a list: it is no part of the head, and has no weights

    def forward(self, live: Tensors, truth: list[dict[str, Tensor]] | None = None) -> dict[str, Any]:
        """Scores before the sigmoid, "pred_logits" (rows, queries, classes), and "pred_boxes" (rows, queries, 4).

        Boxes are centre, width and height as shares of the side. With `truth`, there is all that the loss needs.
        """
        maps = [live[name].float().contiguous() for name in LEVELS if name in live]
        with torch.autocast(maps[0].device.type, enabled=False):
            return dict(self.body(maps, targets=truth))

    def loss(self, live: Tensors, target: Tensors) -> Loss:
        """One sum over all boxes, and their count: the library divides by it, and the boxes' part by all matches."""
        classes, boxes, there = letterbox.in_view(target, live["geometry"], self._side)
        shares = boxes / self._side
        lines = torch.cat([(shares[..., :2] + shares[..., 2:]) / 2, shares[..., 2:] - shares[..., :2]], -1)
        truth = [
            {"labels": about[seen].long(), "boxes": where[seen].float()}
            for about, where, seen in zip(classes, lines, there, strict=True)
        ]
        with libre.with_loss(self.body):
            found = self(live, truth)
        self._held.keep(live, _pair(found))
        count = there.sum().clamp(min=1).float()
        parts = self._criterion[0](found, truth)
        return Loss((sum(parts.values()) * count)[None], count[None])

    def predict(self, live: Tensors, decoding: Any) -> list[np.ndarray]:  # noqa: ARG002 - nothing is suppressed
        """For each picture an array (n, 6): left, top, right, bottom in its pixels, score, class."""
        scores, boxes = self._held.take(live, lambda some: _pair(self(some)))
        return [_answer(*row, self._side) for row in zip(scores.sigmoid(), boxes, live["geometry"], strict=True)]


def _pair(found: Mapping[str, Tensor]) -> list[Tensor]:
    return [found["pred_logits"], found["pred_boxes"]]


def _answer(scores: Tensor, boxes: Tensor, geometry: Tensor, side: int) -> np.ndarray:
    best, at = scores.flatten().topk(min(MOST, scores.numel()))
    at, best = at[best > FLOOR], best[best > FLOOR]
    query, label = at // scores.shape[1], at % scores.shape[1]
    centre, half = boxes[query, :2] * side, boxes[query, 2:] * side / 2
    scale, shift, size = geometry[[0, 2]], geometry[[1, 3]], geometry[4:]
    ends = [((edge - shift) / scale).clamp(min=0).minimum(size) for edge in (centre - half, centre + half)]
    low, high = torch.minimum(*ends), torch.maximum(*ends)
    found: np.ndarray = torch.cat([low, high, best[:, None], label[:, None].float()], 1).float().cpu().numpy()
    return found
