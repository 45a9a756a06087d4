"""Pictures as the network wants to see them: resized and cropped, plainly or at random, as bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ukulele.tools.pictures import open_picture
from ukulele.tools.threads import helpers, processors
from ukulele.types import Tensors

if TYPE_CHECKING:
    from PIL.Image import Image

SCALE = (0.35, 1.0)  # share of the picture that a random crop keeps
RATIO = (3 / 4, 4 / 3)  # of its sides
JITTER = 0.2  # of brightness, contrast and saturation
TRIES = 10  # random crops before falling back to the whole picture
GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in luminance (ITU-R BT.601)
WORKERS = 8


@dataclass(frozen=True)
class View:
    """How a network wants to see a picture.

    `size` is (height, width) in pixels; the plain view is the picture resized so that `size / crop_pct` just
    fits in, then the middle of it (`squash`: stretched to that size instead). `interpolation` is a name of
    Pillow's filters in small letters.
    """

    size: tuple[int, int]
    crop_pct: float = 0.875
    interpolation: str = "bicubic"
    squash: bool = False

    @property
    def filter(self) -> int:
        """Pillow's number of the interpolation."""
        from PIL.Image import Resampling

        return int(getattr(Resampling, self.interpolation.upper()))


def encode(inputs: Sequence[tuple[Any, ...]], draws: Sequence[int], view: View) -> list[Tensors]:
    """Pictures as uint8 tensors "x" of shape (3, height, width), decoded in a few threads.

    Parameters
    ----------
    inputs
        One tuple a row, its first item the picture: a path, the file's bytes or a PIL image.
    draws
        One number a row: 0 for the plain view; any other names an augmentation, always the same one.
    """
    pairs = [(row[0], draw) for row, draw in zip(inputs, draws, strict=True)]
    workers = min(processors(), WORKERS, len(pairs))
    if workers < 2:
        return [{"x": seen(source, draw, view)} for source, draw in pairs]
    with helpers(workers) as pool:  # Pillow lets go of the interpreter's lock while it works
        return [{"x": x} for x in pool.map(lambda pair: seen(pair[0], pair[1], view), pairs)]


def seen(source: Any, draw: int, view: View) -> Tensor:
    """One picture as a uint8 tensor of shape (3, height, width)."""
    if draw == 0:
        picture = plain(open_picture(source, at_least=max(resized(view.size, view))), view)
    else:
        smallest = math.ceil(max(view.size) / math.sqrt(SCALE[0]))
        picture = augmented(open_picture(source, at_least=smallest), draw, view)
    pixels = torch.from_numpy(np.array(picture, dtype=np.uint8))
    return pixels.permute(2, 0, 1).contiguous()


def resized(size: tuple[int, int], view: View) -> tuple[int, int]:
    """Height and width that a crop of `size` is taken from."""
    return math.floor(size[0] / view.crop_pct), math.floor(size[1] / view.crop_pct)


def plain(picture: Image, view: View) -> Image:
    """Resize, then crop the middle, as timm does for evaluation; only the pixels that stay are computed."""
    width, height = picture.size
    high, wide = resized(view.size, view)
    if not view.squash:
        if high / height >= wide / width:
            wide = int(high * width / height)
        else:
            high = int(wide * height / width)
    top, left = round((high - view.size[0]) / 2), round((wide - view.size[1]) / 2)
    across, down = width / wide, height / high
    box = (left * across, top * down, (left + view.size[1]) * across, (top + view.size[0]) * down)
    return cut_out(picture, box, view)


def augmented(picture: Image, draw: int, view: View) -> Image:
    """A random crop, perhaps mirrored, with slightly other colours: a function of the picture and the draw."""
    import PIL.Image

    random = np.random.default_rng(abs(draw))
    picture = cut_out(picture, random_box(picture.size, random), view)
    if random.random() < 0.5:
        picture = picture.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    brightness, contrast, saturation = random.uniform(1 - JITTER, 1 + JITTER, 3)
    return picture.convert("RGB", colours(brightness, contrast, saturation))


def cut_out(picture: Image, box: tuple[float, float, float, float], view: View) -> Image:
    """A part of the picture at the size of the view; float corners, kept inside the picture."""
    left, top, right, bottom = box
    width, height = picture.size
    inside = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    return picture.resize((view.size[1], view.size[0]), view.filter, box=inside)


def random_box(size: tuple[int, int], random: np.random.Generator) -> tuple[float, float, float, float]:
    """A rectangle of random area and shape inside a picture (Szegedy et al. 2015, "Going deeper with convolutions")."""
    width, height = size
    for _ in range(TRIES):
        area = width * height * random.uniform(*SCALE)
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        wide, high = math.sqrt(area * ratio), math.sqrt(area / ratio)
        left, top = random.uniform(0, 1, 2)
        if wide <= width and high <= height:
            left, top = left * (width - wide), top * (height - high)
            return left, top, left + wide, top + high
    return 0.0, 0.0, float(width), float(height)


def colours(brightness: float, contrast: float, saturation: float) -> tuple[float, ...]:
    """Brightness, contrast about middle grey, and saturation as one affine map of colours, for Pillow.

    >>> [round(value, 3) for value in colours(1, 1, 1)]
    [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    """
    mix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * np.array([GREY] * 3))
    shift = np.full((3, 1), (1 - contrast) * 128.0)
    return tuple(float(value) for value in np.hstack([mix, shift]).ravel())
