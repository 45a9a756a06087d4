"""Pictures of every kind as plain RGB, and a fingerprint that survives re-encoding."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ukulele.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Source: TypeAlias = "Path | bytes | Image"

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"})
"""Names that end so are taken for pictures when a folder is read."""

COLOURS = ("#2563c9", "#c2334d", "#1e8449", "#9a6a00", "#7a3fb8", "#0b7a86", "#b34a12", "#4b5563")

LIMIT = 170_000_000
"""Pixels beyond which a picture is refused as a decompression bomb; Pillow itself refuses 179 million."""

ORIENTATION = 0x0112  # the EXIF tag


def open_picture(source: Source, at_least: int | None = None, limit: int = LIMIT) -> Image:
    """Decode a picture and turn it into upright 8-bit RGB.

    The orientation of EXIF is applied, transparency is laid on white, and 16-bit, palette, CMYK and grey
    pictures are converted.

    Parameters
    ----------
    source
        A file, the bytes of one, or a PIL image (which is left as it is).
    at_least
        Pixels the shorter side must keep. A JPEG is then decoded at 1/2, 1/4 or 1/8 of its size where that
        suffices, which makes a 50-megapixel photo cheap. None decodes at full size.
    limit
        The largest picture accepted, in pixels.

    Returns
    -------
    Image
        Mode RGB, loaded, independent of the file.

    Raises
    ------
    DataError
        If the file is missing, is no picture, is truncated or damaged, or is larger than `limit` or memory.
    """
    import PIL.Image

    name = _name(source)
    try:
        if isinstance(source, PIL.Image.Image):
            return _rgb(upright(source))
        with PIL.Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            _refuse_bomb(picture.size, limit, name)
            if at_least is not None:
                picture.draft(None, (at_least, at_least))
            picture.load()
            return _rgb(upright(picture))
    except PIL.Image.DecompressionBombError as error:
        raise DataError(f"{name}: picture too large to decode safely ({error}).", hint="Make it smaller.") from error
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file.") from error
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{name}: too little memory to decode it.", hint="Make it smaller, or free memory.") from error
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise DataError(f"{name}: {_fault(error)}.", hint="Replace the file or remove it from the data.") from error


def upright(picture: Image) -> Image:
    """The picture as the orientation of its EXIF would have it shown."""
    from PIL import ImageOps

    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged EXIF block leaves a picture that can still be seen
        return picture
    return ImageOps.exif_transpose(picture) if orientation != 1 else picture


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height of the upright picture, from the head of its file; None where that cannot be read."""
    import PIL.Image

    try:
        with PIL.Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(ORIENTATION, 1) >= 5
    except Exception:  # decoders raise nearly anything on damaged bytes
        return None
    return (height, width) if turned else (width, height)


def with_boxes(picture: Image, boxes: Iterable[tuple[str, Sequence[float]]]) -> Image:
    """A copy of a picture with boxes on it, each a text and its four edges in pixels; a colour for each first word."""
    from PIL import ImageDraw, ImageFont

    drawn = picture.copy()
    brush, unit = ImageDraw.Draw(drawn), max(drawn.size)
    letters = ImageFont.load_default(max(10, unit // 45))
    for text, edges in boxes:
        number = zlib.crc32(text.rpartition(" ")[0].encode())
        colour = COLOURS[number % len(COLOURS)]
        left, top, right, bottom = edges
        brush.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=max(2, unit // 300))
        under = brush.textbbox((left, top), text, letters)
        brush.rectangle(under, fill=colour)
        brush.text((left, top), text, "white", letters)
    return drawn


def thumbnail(picture: Image, side: int) -> str:
    """A picture, made small in place, as the address of a JPEG that stands in a page; `side`: pixels at most."""
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def dhash(picture: Image) -> int:
    """Difference hash: 128 bits that stay nearly the same when a picture is resized or saved again.

    Each bit says whether brightness grows from one cell to the next, rightwards for the first 64 and
    downwards for the last 64, on a grid of 8 × 8. Few bits of difference (up to about 6) mean the same
    picture. After N. Krawetz, "Kind of like that" (2013).

    >>> from PIL import Image
    >>> dhash(Image.linear_gradient("L")) == dhash(Image.linear_gradient("L").resize((64, 64)))
    True
    """
    import numpy as np
    from PIL.Image import Resampling

    grey = picture.convert("L")
    across = np.asarray(grey.resize((9, 8), Resampling.BOX), np.int16)
    down = np.asarray(grey.resize((8, 9), Resampling.BOX), np.int16)
    bits = np.concatenate([(np.diff(across, axis=1) > 0).ravel(), (np.diff(down, axis=0) > 0).ravel()])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _name(source: Source) -> str:
    return str(source) if isinstance(source, Path) else "a picture"


def _refuse_bomb(size: tuple[int, int], limit: int, name: str) -> None:
    if size[0] * size[1] > limit:
        raise DataError(
            f"{name}: picture of {size[0]} × {size[1]} pixels; at most {limit // 1_000_000} million are accepted.",
            hint="Make it smaller.",
        )


def _fault(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a picture that can be read"
    text = str(error).strip().rstrip(".") or type(error).__name__
    return f"truncated picture ({text})" if "truncat" in text else f"damaged picture ({text})"


def _rgb(picture: Image) -> Image:
    import PIL.Image

    if picture.mode == "RGB" and not picture.has_transparency_data:
        return picture.copy()
    if picture.mode.startswith("I") or picture.mode == "F":
        return _eight_bits(picture).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    white = PIL.Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return PIL.Image.alpha_composite(white, layer).convert("RGB")


def _eight_bits(picture: Image) -> Image:
    """Grey levels of more than 8 bits as 8: 16-bit ones by their format, floats by their range."""
    import numpy as np
    import PIL.Image

    grey = np.asarray(picture).astype(np.float64)
    if picture.mode == "F":
        low, high = float(np.nanmin(grey)), float(np.nanmax(grey))
        low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (0.0, 255.0) if low >= 0 and high <= 255 else (low, high)
        grey = np.nan_to_num((grey - low) / (high - low or 1.0)) * 255
    elif picture.mode.startswith("I;16") or grey.max(initial=0) > 255:
        grey = grey / 257
    return PIL.Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
