"""COCO's files as people have them: pictures of one name in several folders, and entries that are off."""

import json

import pytest
from detect_kit import drawn

from ukulele.data import ReadOptions, read
from ukulele.errors import DataError

BOX = [1, 2, 30, 20]


def pictures(root, *names):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        drawn(number)[0].save(root / name)


def annotations(place, names, **more):
    """A file that names pictures, a box in each."""
    place.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": i, "file_name": name, "width": 96, "height": 64, **more} for i, name in enumerate(names)]
    notes = [{"id": i, "image_id": i, "category_id": 1, "bbox": BOX} for i in range(len(names))]
    categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "pan"}]
    place.write_text(json.dumps({"images": images, "annotations": notes, "categories": categories}))


def places(data, root):
    return {s: sorted(str(row.inputs[0].relative_to(root)) for row in rows) for s, rows in data.splits.items()}


def test_of_one_name_in_several_folders_the_split_decides(tmp_path):
    every = [f"pics/{part}_set/{at}.png" for part in ("train", "val", "test") for at in range(3)]
    pictures(tmp_path, *every)
    for part in ("train", "val", "test"):
        annotations(tmp_path / "annotations" / f"instances_{part}2017.json", [f"{at}.png" for at in range(3)])
    found = places(read(tmp_path, ReadOptions(), tmp_path / "cache"), tmp_path)
    assert found == {"train": every[:3], "validation": every[3:6], "test": every[6:]}


@pytest.mark.parametrize("start", ["", "/elsewhere/", "..\\pics\\"])
def test_of_one_name_in_several_folders_the_path_decides(tmp_path, start):
    names = [f"{room}/{at}.png" for room in ("hall", "yard", "roof") for at in range(3)]
    pictures(tmp_path / "deep" / "pics", *names)
    annotations(tmp_path / "all.json", [start + name.replace("/", start[-1:] or "/") for name in names])
    found = places(read(tmp_path, ReadOptions(), tmp_path / "cache"), tmp_path / "deep" / "pics")
    assert sorted(name for part in found.values() for name in part) == sorted(names)


def test_of_one_name_in_several_folders_none_is_guessed(tmp_path):
    pictures(tmp_path, "deep/a/0.png", "deep/b/0.png", *(f"deep/a/{at}.png" for at in range(1, 6)))
    annotations(tmp_path / "all.json", [f"{at}.png" for at in range(6)])
    data = read(tmp_path, ReadOptions(max_bad=0.5), tmp_path / "cache")
    (bad,) = data.quarantine
    assert bad.where.file.endswith("all.json")
    assert bad.reason == "image 0: 0.png may be deep/a/0.png, deep/b/0.png; write the folder into its file_name"
    with pytest.raises(DataError, match=r"0\.png may be deep/a/0\.png"):
        read(tmp_path, ReadOptions(), tmp_path / "cache")


def test_an_image_that_is_listed_twice_is_set_aside(tmp_path):
    names = [f"{at}.png" for at in range(6)]
    pictures(tmp_path, *names)
    annotations(tmp_path / "all.json", names)
    plain = json.loads((tmp_path / "all.json").read_text())
    plain["images"] += [plain["images"][2], {"id": [1], "file_name": "0.png"}]
    (tmp_path / "all.json").write_text(json.dumps(plain))
    data = read(tmp_path, ReadOptions(max_bad=0.5), tmp_path / "cache")
    assert sorted(row.inputs[0].name for rows in data.splits.values() for row in rows) == names
    assert all(len(row.targets["objects"]) == 1 for rows in data.splits.values() for row in rows)
    twice, odd = data.quarantine
    assert twice.reason.startswith("image 2: its id is that of 2.png")
    assert "without id or file_name" in odd.reason


@pytest.mark.parametrize("size", [{"width": None}, {"height": "high"}, {"width": float("inf")}])
def test_a_size_that_is_none_is_not_read(tmp_path, size):
    names = [f"{at}.png" for at in range(6)]
    pictures(tmp_path, *names)
    annotations(tmp_path / "all.json", names, **size)
    data = read(tmp_path, ReadOptions(), tmp_path / "cache")
    assert sum(map(len, data.splits.values())) == 6
    assert "size-differs" not in {finding.code for finding in data.findings}
