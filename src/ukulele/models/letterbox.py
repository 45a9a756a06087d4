"""Pictures as a detector wants to see them: fitted into a square, plainly or at random, and where each pixel went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ukulele.models.augment import JITTER, WORKERS, colours
from ukulele.tools.pictures import open_picture
from ukulele.tools.threads import helpers, processors
from ukulele.types import Tensors

if TYPE_CHECKING:
    from PIL.Image import Image

TOP, CENTRE, STRETCH = "topleft", "center", "stretch"
GREY = 114  # of what the picture does not fill
ZOOM = (0.6, 1.5)  # of the plain size, at random
SEEN = 0.3  # share of a box that must be in view for it to be taught
LEAST = 2.0  # pixels of a box's shorter side, likewise


@dataclass(frozen=True)
class Geometry:
    """Where a pixel of the upright picture went: x to `scale_x * x + shift_x`; and the picture's size."""

    scale_x: float
    shift_x: float
    scale_y: float
    shift_y: float
    width: int
    height: int

    def tensor(self) -> Tensor:
        """The six numbers in this order, float32."""
        numbers = (self.scale_x, self.shift_x, self.scale_y, self.shift_y, self.width, self.height)
        return torch.tensor(numbers, dtype=torch.float32)


def encode(inputs: Sequence[tuple[Any, ...]], draws: Sequence[int], size: int, pad: str = TOP) -> list[Tensors]:
    """Pictures as "image", uint8 (3, size, size) in RGB, with the "geometry" (6,) that moves boxes along.

    Parameters
    ----------
    inputs
        One tuple a row, its first item the picture: a path, the file's bytes or a PIL image.
    draws
        One number a row: 0 for the plain view; any other names an augmentation, always the same one.
    size
        Pixels of the square's side.
    pad
        Where the plain view lies: "topleft", "center", or "stretch" where it fills the square whatever its shape.
    """
    pairs = [(row[0], draw) for row, draw in zip(inputs, draws, strict=True)]
    workers = min(processors(), WORKERS, len(pairs))
    if workers < 2:
        return [seen(source, draw, size, pad) for source, draw in pairs]
    with helpers(workers) as pool:  # Pillow lets go of the interpreter's lock while it works
        return list(pool.map(lambda pair: seen(pair[0], pair[1], size, pad), pairs))


def seen(source: Any, draw: int, size: int, pad: str = TOP) -> Tensors:
    """One picture in a view."""
    picture = open_picture(source)
    square, geometry = plain(picture, size, pad) if draw == 0 else augmented(picture, draw, size, pad)
    pixels = torch.from_numpy(np.array(square, dtype=np.uint8))
    return {"image": pixels.permute(2, 0, 1).contiguous(), "geometry": geometry.tensor()}


def plain(picture: Image, size: int, pad: str = TOP) -> tuple[Image, Geometry]:
    """The picture as large as fits, at the top left or in the middle, or stretched, as its detector was evaluated.

    Its sides become whole numbers of pixels, and boxes go by the ratio, as they do there.
    """
    width, height = picture.size
    if pad == STRETCH:
        from PIL.Image import Resampling

        whole = Geometry(size / width, 0.0, size / height, 0.0, width, height)
        return picture.resize((size, size), Resampling.BILINEAR), whole
    ratio = min(size / height, size / width)
    wide, high = max(1, int(width * ratio)), max(1, int(height * ratio))
    square = _empty(size)
    left, top = ((size - wide) // 2, (size - high) // 2) if pad == CENTRE else (0, 0)
    square.paste(_part(picture, (wide, high), (width / wide, 0.0, 0.0, 0.0, height / high, 0.0)), (left, top))
    return square, Geometry(ratio, left, ratio, top, width, height)


def augmented(picture: Image, draw: int, size: int, pad: str = TOP) -> tuple[Image, Geometry]:
    """The picture larger or smaller, somewhere in the square, perhaps mirrored, with slightly other colours."""
    random = np.random.default_rng(abs(draw))
    width, height = picture.size
    zoom, fit = float(np.exp(random.uniform(*np.log(ZOOM)))), min(size / height, size / width)
    across, down = (size / width * zoom, size / height * zoom) if pad == STRETCH else (fit * zoom, fit * zoom)
    left, top = ((size - side * ratio) * random.random() for side, ratio in ((width, across), (height, down)))
    geometry = Geometry(across, left, down, top, width, height)
    if random.random() < 0.5:
        geometry = Geometry(-across, size - left, down, top, width, height)
    square = placed(picture, geometry, size)
    brightness, contrast, saturation = random.uniform(1 - JITTER, 1 + JITTER, 3)
    return square.convert("RGB", colours(brightness, contrast, saturation)), geometry


def placed(picture: Image, geometry: Geometry, size: int) -> Image:
    """The square that a geometry gives."""
    width, height = picture.size
    x, y = sorted((geometry.shift_x, geometry.shift_x + geometry.scale_x * width)), geometry.shift_y
    left, top = max(0, round(x[0])), max(0, round(y))
    right, bottom = min(size, int(x[1])), min(size, int(y + geometry.scale_y * height))
    square = _empty(size)
    if right <= left or bottom <= top:
        return square
    across, down = 1 / geometry.scale_x, 1 / geometry.scale_y
    matrix = (across, 0.0, (left - geometry.shift_x) * across, 0.0, down, (top - geometry.shift_y) * down)
    square.paste(_part(picture, (right - left, bottom - top), matrix), (left, top))
    return square


def _empty(size: int) -> Image:
    import PIL.Image

    return PIL.Image.new("RGB", (size, size), (GREY, GREY, GREY))


def _part(picture: Image, size: tuple[int, int], matrix: tuple[float, ...]) -> Image:
    """Pixels looked up by an affine map: bilinear, without smoothing, as OpenCV's INTER_LINEAR has it."""
    from PIL.Image import Resampling, Transform

    return picture.transform(size, Transform.AFFINE, matrix, Resampling.BILINEAR)


def moved(boxes: Tensor, geometry: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Boxes (rows, n, 4) in pixels of their pictures as they lie in the squares, and which are in view (rows, n).

    `geometry` is (rows, 6).
    """
    scale = geometry[:, None, [0, 2, 0, 2]]
    shift = geometry[:, None, [1, 3, 1, 3]]
    raw = boxes * scale + shift
    low, high = torch.minimum(raw[..., :2], raw[..., 2:]), torch.maximum(raw[..., :2], raw[..., 2:])
    inside = torch.cat([low.clamp(0, size), high.clamp(0, size)], -1)
    sides = inside[..., 2:] - inside[..., :2]
    share = sides.prod(-1) / (high - low).prod(-1).clamp(min=1e-6)
    return inside, (share > SEEN) & (sides.amin(-1) >= LEAST)


def in_view(target: Tensors, geometry: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Classes (rows, n), edges in the squares (rows, n, 4) and which count (rows, n): those in view stand in front."""
    boxes, there = moved(target["boxes"], geometry, size)
    there &= target["box_mask"] > 0
    first = torch.argsort((~there).int(), dim=1, stable=True)
    boxes = torch.gather(boxes, 1, first[..., None].expand_as(boxes))
    return torch.gather(target["classes"], 1, first), boxes, torch.gather(there, 1, first)
