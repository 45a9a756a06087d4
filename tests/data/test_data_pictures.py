import errno
import gc
import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ukulele.data.columnar import as_cell
from ukulele.data.decoded import _key, _memory, _remember, decode_all
from ukulele.data.folders import picture_frame
from ukulele.data.frame import FILE, Frame
from ukulele.data.join import JoinedRows
from ukulele.data.rows import Shape, TableRows
from ukulele.data.store import store_files
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


def grey(dtype):
    return np.random.default_rng(0).integers(0, 65536, (20, 40)).astype(dtype)


PHOTOS = {
    "turned.jpg": (noise(), {"exif": True}),
    "turned.png": (noise().convert("P"), {"exif": True}),
    "turned.tif": (Image.fromarray(grey("<u2")), {"exif": True}),
    "cmyk.jpg": (noise().convert("CMYK"), {}),
    "deep.png": (Image.fromarray(grey("<u2")), {}),
    "little.tif": (Image.fromarray(grey("<u2")), {}),
    "big.tif": (Image.fromarray(grey(">u2")), {}),
    "long.tif": (Image.fromarray(grey("<i4")), {}),
    "float.tif": (Image.fromarray(grey("<f4")), {}),
    "clear.png": (Image.merge("RGBA", [*noise().split(), noise(1).convert("L")]), {}),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_an_opened_picture_is_what_its_file_is(tmp_path, name):
    picture, options = PHOTOS[name]
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / name, **({"exif": exif} if options else {}))
    opened = Image.open(tmp_path / name)
    assert np.array_equal(open_picture(as_cell(opened)), open_picture(tmp_path / name))


def test_levels_of_sixteen_bits_are_kept_in_either_order():
    deep = Image.frombytes("I;16B", (40, 20), grey(">u2").tobytes())
    assert np.array_equal(open_picture(as_cell(deep)), open_picture(deep))
    assert len(np.unique(open_picture(deep))) > 100


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


def refuse(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def exhaust(*_, **__):
    raise MemoryError


@pytest.mark.parametrize(
    ("place", "failure", "said"),
    [("pathlib.Path.read_bytes", refuse, "cannot be read"), ("PIL.Image.open", exhaust, "too little memory")],
)
def test_what_failed_once_is_tried_again(tmp_path, monkeypatch, place, failure, said):
    paths = [str(tmp_path / f"{seed}.png") for seed in range(3)]
    for seed in range(2):
        noise(seed).save(paths[seed])
    assert decode_all(picture_frame(paths[:2]), "path", tmp_path / "cache").faults == ["", ""]
    noise(2).save(paths[2])
    with monkeypatch.context() as patched:
        patched.setattr(place, failure)
        before = decode_all(picture_frame(paths), "path", tmp_path / "cache")
    assert before.faults[:2] == ["", ""]
    assert said in before.faults[2]
    assert decode_all(picture_frame(paths), "path", tmp_path / "cache").faults == ["", "", ""]


def test_a_failure_to_read_that_is_remembered_is_forgotten(tmp_path):
    path = tmp_path / "0.png"
    noise(0).save(path)
    key = _key(path)
    _remember(_memory(tmp_path / "cache", [path]), {key: ("cannot be read (Permission denied)", 0, 0, 0)})
    assert decode_all(picture_frame([str(path)]), "path", tmp_path / "cache").faults == [""]


class Held(bytes):
    """Bytes of a picture that count how many of them are held at once."""

    alive = most = made = 0

    def __new__(cls, cell, _file):
        Held.alive, Held.made = Held.alive + 1, Held.made + 1
        Held.most = max(Held.most, Held.alive)
        return super().__new__(cls, cell)

    def __del__(self):
        Held.alive -= 1


@pytest.fixture
def held():
    Held.most = Held.made = 0
    yield Held
    gc.collect()
    assert Held.alive == 0


@pytest.fixture
def of_bytes(tmp_path, monkeypatch):
    """A Parquet file of 60 pictures of about 6 kB as a frame, where 50 kB may be held at a time."""
    monkeypatch.setattr("ukulele.data.frame.BYTES", 50_000)
    monkeypatch.setattr("ukulele.data.columnar.BYTES", 50_000)
    pictures = [encoded(noise(seed)) for seed in range(60)]
    pictures[7] = pictures[7][:100]
    table = pa.table({"image": pictures, "label": ["a", "b", "c"] * 20})
    pq.write_table(table, tmp_path / "a.parquet")
    return store_files([tmp_path / "a.parquet"], tmp_path / "cache").frame, pictures


def test_few_pictures_of_bytes_are_held_while_they_are_judged(of_bytes, held, monkeypatch):
    frame, pictures = of_bytes
    expected = decode_all(Frame(tuple(pa.table({"i": pictures, FILE: [0] * 60}).to_batches()), ("a",)), "i", None)
    monkeypatch.setattr("ukulele.data.decoded.picture", held)
    found = decode_all(frame, "image", None)
    assert [at for at, fault in enumerate(found.faults) if fault] == [7]
    assert found.faults == expected.faults
    assert (found.content == expected.content).all()
    assert (found.difference == expected.difference).all()
    assert held.made == 60
    assert held.most <= 3 * 50_000 / min(map(len, pictures[:7]))


@pytest.mark.parametrize("order", ["straight", "mixed", "joined"])
def test_few_pictures_of_bytes_are_read_ahead(of_bytes, held, monkeypatch, order):
    frame, pictures = of_bytes
    monkeypatch.setattr("ukulele.data.rows.picture", held)
    index = np.arange(60) if order == "straight" else np.random.default_rng(0).permutation(60)
    rows = TableRows(frame, Shape(("image",), True), index)
    if order == "joined":
        half = [TableRows(frame, Shape(("image",), True), index[at : at + 30]) for at in (0, 30)]
        rows = JoinedRows(tuple(half), ("label",)).take(list(range(59, -1, -1)))
        index = index[::-1]
    for at, row in zip(index, rows, strict=True):
        assert row.inputs[0] == pictures[at]
        del row
    assert held.made == 60
    assert held.most <= 20


def test_stretches_are_as_large_as_their_bytes_allow(of_bytes):
    frame, pictures = of_bytes
    rows = np.arange(60)[::-1]
    parts = list(frame.stretches(["image"], rows, 7))
    assert np.concatenate(parts).tolist() == rows.tolist()
    assert max(map(len, parts)) <= 7
    assert all(sum(len(pictures[at]) for at in part) <= 50_000 for part in parts)
    assert [len(part) for part in frame.stretches(["label"], rows, 25)] == [25, 25, 10]
    monster = [part.tolist() for part in frame.stretches(["image"], np.array([1, 2, 3]), 2)]
    assert monster == [[1, 2], [3]]


def test_a_parquet_file_is_read_a_few_large_rows_at_a_time(of_bytes):
    frame, _ = of_bytes
    assert len(frame) == 60
    assert max(batch.num_rows for batch in frame.batches) <= 12
