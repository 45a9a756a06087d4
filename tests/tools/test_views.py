import io

import numpy as np
import pytest
from PIL import Image

from ukulele.tools.views import ALIKE, same_picture, small


def scene(seed: int, side: int = 240) -> Image.Image:
    """Soft spots of colour."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (9, 9, 3)).astype(np.uint8))
    return coarse.resize((side, side), Image.Resampling.BICUBIC)


def saved(picture: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_or_saved_picture_is_the_same_one(seed):
    picture, draw = scene(seed), np.random.default_rng(seed)
    width, height = (int(240 * share) for share in draw.uniform(0.88, 0.97, 2))
    left, top = (int(draw.integers(0, 240 - side + 1)) for side in (width, height))
    cut = picture.crop((left, top, left + width, top + height))
    assert same_picture(small(picture), small(cut)) >= ALIKE
    assert same_picture(small(cut), small(picture)) >= ALIKE
    assert same_picture(small(picture), small(saved(picture.resize((180, 180)), 30))) >= ALIKE


def test_other_pictures_are_other_ones():
    pictures = [small(scene(seed)) for seed in range(12)]
    found = [same_picture(pictures[i], pictures[j]) for i in range(12) for j in range(i)]
    assert max(found) < ALIKE


def test_pictures_without_structure_are_like_none():
    flat = small(Image.new("RGB", (50, 50), "white"))
    assert same_picture(flat, flat) == 0
