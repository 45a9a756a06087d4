"""Whether two pictures are the same one, cut a little or saved again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 96  # pixels of the small grey copy that is looked at
GRID = 20  # cells a side that are compared
ALIKE = 0.92  # correlation of brightness from which two views are of one picture
NEAR = 0.4  # correlation of the whole pictures below which no cut is tried
CUTS = (0.97, 0.94, 0.91, 0.88, 0.85)  # shares of either side that are left
PLACES = 5  # a side


def small(picture: Image) -> Image:
    """The small grey copy of a picture."""
    from PIL.Image import Resampling

    return picture.convert("L").resize((SIDE, SIDE), Resampling.BOX)


def same_picture(one: Image, other: Image) -> float:
    """The correlation of two small grey copies where one is laid over the other as well as it goes: 1 for the same.

    Either may be cut by up to 15 % of its sides.
    """
    plain = float(_cells(one, None) @ _cells(other, None))
    if plain < NEAR or plain >= ALIKE:
        return plain
    whole = _cells(one, None), _cells(other, None)
    best = plain
    for first, second in ((one, whole[1]), (other, whole[0])):
        for box in _boxes():
            best = max(best, float(_cells(first, box) @ second))
            if best >= ALIKE:
                return best
    return best


def _boxes() -> Iterator[tuple[float, float, float, float]]:
    for share in CUTS:
        side = share * SIDE
        steps = np.linspace(0, SIDE - side, PLACES)
        yield from ((x, y, x + side, y + side) for x in steps.tolist() for y in steps.tolist())


def _cells(picture: Image, box: tuple[float, float, float, float] | None) -> NDArray[np.float32]:
    from PIL.Image import Resampling

    cells = np.asarray(picture.resize((GRID, GRID), Resampling.BOX, box), np.float32).ravel()
    cells = cells - cells.mean()
    return np.asarray(cells / max(float(np.linalg.norm(cells)), 1e-6), np.float32)
