"""What VOC's folders look like in the wild: names with spaces, several years, folders in folders."""

from pathlib import Path

import pytest
from detect_kit import drawn, voc_xml, write_voc

from ukulele.data import ReadOptions, convert, read


def stems(data):
    return {split: sorted(row.inputs[0].stem for row in rows) for split, rows in data.splits.items()}


def add(root, name, number):
    """One more picture with its annotation, at a path below their folders."""
    picture, boxes = drawn(number)
    for folder, ending in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (root / folder / f"{name}.{ending}").parent.mkdir(parents=True, exist_ok=True)
    picture.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
    (root / "Annotations" / f"{name}.xml").write_text(voc_xml(name.rpartition("/")[2], boxes))


def listed(root, **names):
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    for split, lines in names.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))


def test_names_with_spaces_are_read_and_written(tmp_path):
    for number, name in enumerate(["a b", "a c", "a 1", "d 0", "e", "f g"]):
        add(tmp_path / "v", name, number)
    listed(tmp_path / "v", train=["a b", "a 1", "d 0  "], val=["a c -1", "e  1"], test=["f g 0"])
    data = read(tmp_path / "v", ReadOptions(), tmp_path / "c")
    assert stems(data) == {"train": ["a 1", "a b", "d 0"], "validation": ["a c", "e"], "test": ["f g"]}
    assert not data.quarantine
    convert(data, "voc", tmp_path / "out")
    assert stems(read(tmp_path / "out", ReadOptions(), tmp_path / "c2")) == stems(data)


def test_xml_beside_pictures_is_read_from_where_one_stands(tmp_path, monkeypatch):
    for number in range(6):
        picture, boxes = drawn(number)
        picture.save(tmp_path / f"p{number}.jpg")
        (tmp_path / f"p{number}.xml").write_text(voc_xml(f"p{number}", boxes, (96, 10**400) if number else (96, 64)))
    (tmp_path / "odd.xml").write_text(voc_xml("lost", []))
    monkeypatch.chdir(tmp_path)
    data = read(".", ReadOptions(max_bad=0.5), tmp_path / "c")
    assert sum(map(len, data.splits.values())) == 6
    assert [bad.reason for bad in data.quarantine] == ["an annotation without a picture: lost.jpg is not there"]


def test_a_devkit_of_several_years_is_read_by_the_lists_of_each(tmp_path):
    kit = tmp_path / "VOCdevkit"
    every = write_voc(kit / "VOC2007", {"train": 4, "val": 2, "test": 3})
    every |= write_voc(kit / "VOC2012", {"train": 3, "val": 2}, first=7)  # p007 and p008 are others than those of 2007
    for name in ("SegmentationClass", "SegmentationObject"):
        (kit / "VOC2012" / name).mkdir()
        drawn(1)[0].save(kit / "VOC2012" / name / "p010.png")
    data = read(kit, ReadOptions(), tmp_path / "c")
    assert not data.quarantine
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 7, "validation": 4, "test": 3}
    boxes = {row.inputs[0].relative_to(kit): row.targets["objects"] for rows in data.splits.values() for row in rows}
    for name in ("p007", "p008"):
        for year in ("VOC2007", "VOC2012"):
            assert sorted(boxes[Path(year, "JPEGImages", f"{name}.jpg")]) == sorted(every[name])
    assert stems(data)["test"] == ["p006", "p007", "p008"]


@pytest.mark.parametrize("folder", ["JPEGImages", "images", "."])
def test_masks_beside_pictures_are_no_data(tmp_path, folder):
    write_voc(tmp_path / "v", {"train": 4, "val": 2, "test": 2})
    (tmp_path / "v" / "SegmentationClass").mkdir()
    drawn(1)[0].save(tmp_path / "v" / "SegmentationClass" / "p001.png")
    (tmp_path / "v" / "JPEGImages").rename(tmp_path / "v" / "pictures")
    (tmp_path / "v" / folder).mkdir(exist_ok=True)
    for picture in list((tmp_path / "v" / "pictures").iterdir()):
        picture.rename(tmp_path / "v" / folder / picture.name)
    data = read(tmp_path / "v", ReadOptions(), tmp_path / "c")
    assert not data.quarantine
    assert sum(map(len, data.splits.values())) == 8


@pytest.mark.parametrize("folder", ["JPEGImages", "images"])
def test_annotations_in_folders_have_their_pictures_in_folders(tmp_path, folder):
    root = tmp_path / "v"
    names = [f"{room}/{at}" for room in ("a", "b/c") for at in range(4)] + ["0", "z"]
    for number, name in enumerate(names):
        add(root, name, number)
    listed(root, train=names[:3], val=[*names[4:6], "0"], test=["b/c/2", "b/c/3", "z", "3"])
    (root / "JPEGImages" / "b" / "c" / "3.jpg").unlink()  # there is a/3.jpg, which is another
    (root / "JPEGImages").rename(root / folder)
    data = read(root, ReadOptions(max_bad=0.5), tmp_path / "c")
    (bad,) = data.quarantine
    assert bad.where.file.endswith("b/c/3.xml")
    found = {
        split: [str(row.inputs[0].relative_to(root / folder).with_suffix("")) for row in rows]
        for split, rows in data.splits.items()
    }
    assert found == {
        "train": ["a/0", "a/1", "a/2"],
        "validation": ["0", "b/c/0", "b/c/1"],
        "test": ["a/3", "b/c/2", "z"],  # a/3 by the name 3, which is no path
    }
    for rows in data.splits.values():
        for row in rows:
            name = str(row.inputs[0].relative_to(root / folder).with_suffix(""))
            assert sorted(row.targets["objects"]) == sorted(drawn(names.index(name))[1])


def test_annotations_in_folders_may_have_their_pictures_in_one(tmp_path):
    for at in range(6):
        add(tmp_path / "v", f"{'ab'[at % 2]}/{at}", at)
    for picture in list((tmp_path / "v" / "JPEGImages").rglob("*.jpg")):
        picture.rename(tmp_path / "v" / "JPEGImages" / picture.name)
    for room in "ab":
        (tmp_path / "v" / "JPEGImages" / room).rmdir()
    data = read(tmp_path / "v", ReadOptions(), tmp_path / "c")
    assert sum(map(len, data.splits.values())) == 6
    assert not data.quarantine
