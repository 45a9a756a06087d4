import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ukulele.data.decoded import decode_all
from ukulele.data.folders import picture_frame
from ukulele.errors import DataError
from ukulele.tools.pictures import dhash, open_picture


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(seed=0, size=(64, 48)):
    grid = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "CMYK"])
def test_every_mode_becomes_rgb(mode):
    kind = "TIFF" if mode in ("CMYK", "I") else "PNG"
    assert open_picture(encoded(Image.new(mode, (5, 4)), kind)).mode == "RGB"


def test_levels_of_sixteen_bits_and_floats():
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    assert np.asarray(open_picture(encoded(deep)))[0, :, 0].tolist() == [0, 100, 255]
    assert np.asarray(open_picture(Image.fromarray(np.array([[0.0, 1.0]], np.float32))))[0, :, 0].tolist() == [0, 255]


def test_transparency_lies_on_white():
    assert open_picture(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)
    keyed = encoded(Image.new("RGB", (2, 2), (9, 9, 9)), transparency=(9, 9, 9))
    assert open_picture(keyed).getpixel((0, 0)) == (255, 255, 255)


def test_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert open_picture(encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif)).size == (20, 40)


def test_a_large_photo_is_decoded_small():
    photo = encoded(Image.new("RGB", (8000, 6250), (200, 10, 30)), "JPEG")
    small = open_picture(photo, at_least=224)
    assert min(small.size) >= 224
    assert max(small.size) <= 1000
    assert open_picture(noise(), at_least=8).size == (64, 48)


def test_bombs_are_refused():
    with pytest.raises(DataError, match="pixels"):
        open_picture(encoded(Image.new("1", (20_000, 10_000))))
    with pytest.raises(DataError, match="pixels"):
        open_picture(encoded(Image.new("1", (100, 100))), limit=5000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_truncated_pictures(tmp_path, kind):
    whole = encoded(noise(), kind)
    path = tmp_path / "half"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="half"):
        open_picture(path, at_least=8)
    assert open_picture(whole).size == (64, 48)


def test_what_is_no_picture(tmp_path):
    with pytest.raises(DataError, match="not a picture"):
        open_picture(b"hello")
    with pytest.raises(DataError, match="no such file"):
        open_picture(tmp_path / "absent.png")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(["PNG", "JPEG", "GIF"]), st.data())
def test_damaged_bytes_give_a_picture_or_a_data_error(kind, data):
    content = bytearray(encoded(noise(), kind))
    for _ in range(3):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = open_picture(bytes(content))
    except DataError:
        return
    assert picture.mode == "RGB"


def test_difference_hash_survives_saving_and_resizing():
    one = noise()
    again = open_picture(encoded(one.resize((200, 150)), "JPEG", quality=70))
    assert (dhash(one) ^ dhash(again)).bit_count() <= 6
    assert (dhash(one) ^ dhash(noise(1))).bit_count() > 20


def test_verdicts_are_remembered(tmp_path, monkeypatch):
    for seed in range(3):
        noise(seed).save(tmp_path / f"{seed}.png")
    (tmp_path / "3.png").write_bytes((tmp_path / "0.png").read_bytes()[:100])
    paths = [str(tmp_path / f"{seed}.png") for seed in range(4)]
    first = decode_all(picture_frame(paths), "path", tmp_path / "cache")
    assert [bool(fault) for fault in first.faults] == [False, False, False, True]
    judged = []
    import ukulele.data.decoded as module

    real = module._judge
    monkeypatch.setattr(module, "_judge", lambda source: judged.append(source) or real(source))
    os.utime(paths[1], ns=(5, 5))
    again = decode_all(picture_frame(paths), "path", tmp_path / "cache")
    assert [source.name for source in judged] == ["1.png"]
    assert again.faults == first.faults
    assert (again.content == first.content).all()
    assert (again.difference == first.difference).all()
