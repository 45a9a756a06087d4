"""Pictures of a batch put together, four to one, with the boxes that are in view of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ukulele.models.letterbox import moved
from ukulele.types import Tensors

QUARTERS = 4


def mosaic(
    live: Tensors, targets: Mapping[str, Tensors], share: float, random: np.random.Generator
) -> tuple[Tensors, dict[str, Tensors]]:
    """Some of a batch's squares made of four of them at half their size (Bochkovskiy et al., 2020, arXiv:2004.10934).

    Parameters
    ----------
    live
        "image", uint8 (rows, 3, side, side), and "geometry", (rows, 6), as `letterbox.encode` gives them.
    targets
        By task "boxes" (rows, n, 4) in pixels of the upright pictures, "classes" (rows, n) and "box_mask" (rows, n).
    share
        Of the rows that are put together; the others stay as they are.
    random
        Where all chance comes from.

    Returns
    -------
    tuple
        The same with boxes (rows, 4 n, 4) in pixels of the squares, and geometries that leave them there. Those out of
        view in a picture's own square are not in its quarter, either.
    """
    image, geometry = live["image"], live["geometry"]
    rows, side = len(image), image.shape[-1]
    half = side // 2
    others = [random.permutation(rows) for _ in range(QUARTERS - 1)]
    parts = torch.from_numpy(random.permuted(np.stack([np.arange(rows), *others], 1), axis=1))
    chosen = torch.from_numpy(random.random(rows) < share)
    small = avg_pool2d(image[..., : 2 * half, : 2 * half].float(), 2).round().to(image.dtype)
    made = image.clone()
    for quarter, (top, left) in enumerate(_corners(half)):
        made[chosen, :, top : top + half, left : left + half] = small[parts[chosen, quarter]]
    identity = geometry.new_tensor([1, 0, 1, 0, side, side]).expand(rows, -1)
    found = {task: _taught(target, geometry, (side, half), parts, chosen) for task, target in targets.items()}
    return {**live, "image": made, "geometry": identity}, found


def _corners(half: int) -> list[tuple[int, int]]:
    """The upper left corner of each quarter, (top, left)."""
    return [(top, left) for top in (0, half) for left in (0, half)]


def _taught(target: Tensors, geometry: Tensor, sides: tuple[int, int], parts: Tensor, chosen: Tensor) -> Tensors:
    """Boxes and classes in the squares, those of all four quarters where four were put together."""
    side, half = sides
    boxes, there = moved(target["boxes"], geometry, side)
    there &= target["box_mask"] > 0
    shift = boxes.new_tensor([[left, top, left, top] for top, left in _corners(half)])[:, None]
    four = (boxes[parts] / 2 + shift).clamp(max=2 * half).flatten(1, 2)
    alone = torch.zeros_like(four)
    alone[:, : boxes.shape[1]] = boxes
    lone = torch.zeros(there.shape[0], QUARTERS * there.shape[1], dtype=torch.bool)
    lone[:, : there.shape[1]] = there
    classes = target["classes"][parts].flatten(1)
    own = torch.zeros_like(classes)
    own[:, : boxes.shape[1]] = target["classes"]
    seen = torch.where(chosen[:, None], there[parts].flatten(1), lone)
    return {
        **target,
        "boxes": torch.where(chosen[:, None, None], four, alone),
        "classes": torch.where(chosen[:, None], classes, own),
        "box_mask": seen.to(target["box_mask"].dtype),
    }
