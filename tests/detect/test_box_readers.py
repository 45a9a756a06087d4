"""VOC, COCO and YOLO: read alike, recognised by themselves; what is wrong is set aside and named."""

import json

import pytest
import yaml
from detect_kit import drawn, voc_xml, write_voc
from PIL import Image

from ukulele.data import ReadOptions, convert, is_several, read
from ukulele.errors import DataError
from ukulele.types import Box

SIZES = {"train": 6, "val": 2, "test": 3}


def rows_of(data):
    return {row.inputs[0].stem: sorted(row.targets["objects"]) for rows in data.splits.values() for row in rows}


def codes(data):
    return {finding.code for finding in data.findings}


@pytest.fixture
def voc(tmp_path):
    every = write_voc(tmp_path / "voc", SIZES)
    return tmp_path / "voc", every


def yolo(folder, lines, names=("square", "disc"), pictures=4, **more):
    """Pictures a0 … with the lines given for each, and data.yaml."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for at in range(pictures):
        drawn(at)[0].save(folder / "images" / f"a{at}.png")
        if lines.get(at) is not None:
            (folder / "labels" / f"a{at}.txt").write_text(lines[at])
    (folder / "data.yaml").write_text(yaml.safe_dump({"train": "images", "names": list(names), **more}))
    return folder


GOOD = dict.fromkeys(range(4), "0 0.5 0.5 0.25 0.5\n")


def test_voc_is_read(voc, tmp_path):
    folder, every = voc
    data = read(folder, ReadOptions(), tmp_path / "c")
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 6, "validation": 2, "test": 3}
    assert rows_of(data) == {name: sorted(boxes) for name, boxes in every.items()}
    (target,) = data.targets
    assert (target.name, target.kind, target.labels) == ("objects", "detect", ("disc", "square"))
    assert data.modality == "image"
    assert not data.quarantine


@pytest.mark.parametrize("style", ["yolo", "coco", "voc"])
def test_what_is_written_is_read_again(voc, tmp_path, style):
    data = read(voc[0], ReadOptions(), tmp_path / "c")
    convert(data, style, tmp_path / "out")
    again = read(tmp_path / "out", ReadOptions(), tmp_path / "c2")
    assert {s: len(r) for s, r in again.splits.items()} == {s: len(r) for s, r in data.splits.items()}
    assert again.targets == data.targets
    for name, boxes in rows_of(data).items():
        for ours, theirs in zip(boxes, rows_of(again)[name], strict=True):
            assert ours.label == theirs.label
            assert ours[1:5] == pytest.approx(theirs[1:5], abs=0.01)


def test_difficult_boxes_stay_difficult(voc, tmp_path):
    folder, every = voc
    place = folder / "Annotations" / "p001.xml"
    place.write_text(voc_xml("p001", every["p001"]).replace("<bndbox>", "<difficult>1</difficult><bndbox>", 1))
    data = read(folder, ReadOptions(), tmp_path / "c")
    first = rows_of(data)["p001"][0]
    assert (first.crowd, first.ignored, first.counted) == (False, True, False)
    assert any("difficult" in note for note in data.notes)
    marks = []
    for style in ("coco", "voc"):
        convert(data, style, tmp_path / "out" / style)
        again = read(tmp_path / "out" / style, ReadOptions(), tmp_path / f"{style} c")
        assert rows_of(again) == rows_of(data)
        assert any("neither taught nor counted" in note for note in again.notes)
    for file in (tmp_path / "out" / "coco").rglob("*.json"):
        marks += [(one["iscrowd"], one.get("ignore")) for one in json.loads(file.read_text())["annotations"]]
    assert sorted(marks, key=str) == [(0, 1), *[(0, None)] * (sum(map(len, every.values())) - 1)]
    assert convert(data, "yolo", tmp_path / "out" / "yolo") == (
        "1 boxes to be ignored (difficult ones) were left out: YOLO has none.",
    )


def test_a_folder_with_something_in_it_is_left_alone(voc, tmp_path):
    data = read(voc[0], ReadOptions(), tmp_path / "c")
    with pytest.raises(DataError, match="something in it"):
        convert(data, "yolo", voc[0])


def test_a_data_yaml_is_a_source_and_no_file_of_tasks(tmp_path):
    folder = yolo(tmp_path / "y", GOOD)
    assert not is_several(folder / "data.yaml")
    data = read(folder / "data.yaml", ReadOptions(), tmp_path / "c")
    assert sum(map(len, data.splits.values())) == 4
    assert rows_of(data)["a0"] == [Box("square", 36, 16, 60, 48)]


def test_names_may_be_numbered_and_paths_absolute(tmp_path):
    folder = yolo(tmp_path / "y", GOOD, path=str(tmp_path / "y"))
    (folder / "data.yaml").write_text(
        yaml.safe_dump({"path": str(folder), "train": "images", "names": {0: "cup", 1: "pan"}})
    )
    data = read(folder, ReadOptions(), tmp_path / "c")
    assert data.targets[0].labels == ("cup", "pan")


def test_the_same_pictures_for_train_and_val_are_no_splits(tmp_path):
    folder = yolo(tmp_path / "y", GOOD, val="images")
    data = read(folder, ReadOptions(), tmp_path / "c")
    assert any("same pictures for train and validation" in note for note in data.notes)
    assert sum(map(len, data.splits.values())) == 4


def test_a_test_split_stays_where_train_and_val_are_the_same(tmp_path):
    folder = yolo(tmp_path / "y", GOOD, val="images", test="held")
    (folder / "held").mkdir()
    drawn(9)[0].save(folder / "held" / "t.png")
    (folder / "held" / "t.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    data = read(folder, ReadOptions(), tmp_path / "c")
    assert [row.inputs[0].stem for row in data.splits["test"]] == ["t"]
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 4
    assert any("they train, and what it names for test is kept" in note for note in data.notes)


def test_voc_s_list_of_train_and_val_together_trains(tmp_path):
    write_voc(tmp_path / "voc", {"trainval": 8, "test": 3})
    data = read(tmp_path / "voc", ReadOptions(), tmp_path / "c")
    assert sorted(row.inputs[0].stem for row in data.splits["test"]) == ["p008", "p009", "p010"]
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 8


def test_of_coco_s_own_annotations_those_of_instances_are_read(voc, tmp_path):
    data = read(voc[0], ReadOptions(), tmp_path / "c")
    convert(data, "coco", tmp_path / "out")
    files = sorted(path for path in (tmp_path / "out").rglob("*.json"))
    for path in files:
        plain = json.loads(path.read_text())
        other = {**plain, "categories": [{"id": 1, "name": "person"}]}
        path.with_name(f"person_keypoints_{path.name}").write_text(json.dumps(other))
        path.rename(path.with_name(f"instances_{path.name}"))
    drawn(77)[0].save(next((tmp_path / "out").rglob("*.jpg")).with_name("stray.png"))
    again = read(tmp_path / "out", ReadOptions(), tmp_path / "c2")
    assert again.targets == data.targets
    assert {s: len(r) for s, r in again.splits.items()} == {s: len(r) for s, r in data.splits.items()}
    assert any("no annotation file names them: 1 of" in note for note in again.notes)


def test_polygons_become_boxes(tmp_path):
    folder = yolo(tmp_path / "y", GOOD | {1: "1 0.25 0.25 0.75 0.25 0.5 0.75\n"})
    data = read(folder, ReadOptions(), tmp_path / "c")
    assert rows_of(data)["a1"] == [Box("disc", 24, 16, 72, 48)]


def test_an_empty_label_file_says_that_there_is_nothing(tmp_path):
    data = read(yolo(tmp_path / "y", GOOD | {2: ""}), ReadOptions(), tmp_path / "c")
    assert rows_of(data)["a2"] == []
    assert not data.quarantine
    assert "pictures-without-labels" not in codes(data)


def test_a_picture_without_label_file_is_named(tmp_path):
    data = read(yolo(tmp_path / "y", GOOD | {2: None}), ReadOptions(), tmp_path / "c")
    assert rows_of(data)["a2"] == []
    assert "pictures-without-labels" in codes(data)


def test_a_label_file_without_picture_is_set_aside(tmp_path):
    folder = yolo(tmp_path / "y", GOOD)
    (folder / "labels" / "lost.txt").write_text("0 .5 .5 .1 .1\n")
    data = read(folder, ReadOptions(max_bad=0.5), tmp_path / "c")
    (bad,) = data.quarantine
    assert bad.where.file.endswith("lost.txt")
    assert "without a picture" in bad.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7 0.5 0.5 0.1 0.1", "class 7, where"),
        ("0 0.5 0.5 0.1", "four were expected"),
        ("0 0.5 0.5 0.1 x", "numbers were expected"),
        ("0 0.5 0.5 nan 0.1", "four were expected"),
        ("0.5 0.5 0.5 0.1 0.1", "four were expected"),
        ("0 0.5 0.5 0 0.1", "without area"),
        ("0 0.5 0.5 -0.1 0.1", "inside out"),
        ("0 1.5 0.5 0.1 0.1", "outside the picture"),
        ("0 0.5 0.5 0.25 0.5", "same box twice"),
    ],
)
def test_a_bad_line_is_set_aside_by_file_and_line(tmp_path, line, reason):
    folder = yolo(tmp_path / "y", GOOD | {3: f"0 0.5 0.5 0.25 0.5\n{line}\n"})
    data = read(folder, ReadOptions(max_bad=0.5), tmp_path / "c")
    (bad,) = data.quarantine
    assert reason in bad.reason
    assert str(bad.where).endswith("labels/a3.txt:2")
    assert rows_of(data)["a3"] == [Box("square", 36, 16, 60, 48)]


def test_too_many_bad_boxes_stop_the_run(tmp_path):
    folder = yolo(tmp_path / "y", GOOD | {3: "5 0.5 0.5 0.25 0.5\n"})
    with pytest.raises(DataError, match=r"(?s)1 of 4 boxes cannot be used.*a3.txt:1: class 5"):
        read(folder, ReadOptions(), tmp_path / "c")


def test_a_box_beyond_the_edge_is_clipped_and_listed(tmp_path):
    folder = yolo(tmp_path / "y", GOOD | {3: "0 0.0 0.5 0.5 0.5\n"})
    data = read(folder, ReadOptions(), tmp_path / "c")
    assert rows_of(data)["a3"] == [Box("square", 0, 16, 24, 48)]
    assert "boxes-outside" in codes(data)
    assert data.quarantine[0].reason.startswith("clipped")


def test_tiny_boxes_are_named(tmp_path):
    data = read(yolo(tmp_path / "y", GOOD | {3: "0 0.5 0.5 0.005 0.005\n"}), ReadOptions(), tmp_path / "c")
    assert "tiny-boxes" in codes(data)


@pytest.mark.parametrize(("name", "content"), [("cut.jpg", b"\xff\xd8\xff\xe0 no picture"), ("dot.png", None)])
def test_a_picture_that_cannot_be_used_is_set_aside(tmp_path, name, content):
    folder = yolo(tmp_path / "y", GOOD)
    place = folder / "images" / name
    if content is None:
        Image.new("RGB", (1, 1)).save(place)
    else:
        place.write_bytes(content)
    place.parent.parent.joinpath("labels", place.stem + ".txt").write_text("0 .5 .5 .5 .5\n")
    data = read(folder, ReadOptions(max_bad=0.5), tmp_path / "c")
    assert sum(map(len, data.splits.values())) == 4
    assert [bad.where.file.rsplit("/", 1)[-1] for bad in data.quarantine] == [name]


def test_no_box_at_all_is_refused(tmp_path):
    with pytest.raises(DataError, match="no box in any of 4 pictures"):
        read(yolo(tmp_path / "y", dict.fromkeys(range(4), "")), ReadOptions(), tmp_path / "c")


def test_a_data_yaml_that_points_nowhere_is_refused(tmp_path):
    folder = yolo(tmp_path / "y", GOOD)
    (folder / "data.yaml").write_text("train: ../elsewhere/images\nnames: [a]\n")
    with pytest.raises(DataError, match="is not there") as error:
        read(folder, ReadOptions(), tmp_path / "c")
    assert "elsewhere/images" in error.value.hint


def test_other_tasks_are_refused(voc, tmp_path):
    with pytest.raises(DataError, match="ask for detection"):
        read(voc[0], ReadOptions(task="classify"), tmp_path / "c")
    table = tmp_path / "t.csv"
    table.write_text("text,label\na,b\nc,d\n")
    with pytest.raises(DataError, match="no boxes were found"):
        read(table, ReadOptions(task="detect"), tmp_path / "c")


def test_voc_names_the_line_and_what_is_missing(voc, tmp_path):
    folder, _ = voc
    flat = [Box("square", 5, 5, 5, 9), Box("disc", 50, 30, 70, 50)]
    (folder / "Annotations" / "p001.xml").write_text(voc_xml("p001", flat))
    (folder / "JPEGImages" / "p002.jpg").unlink()
    (folder / "Annotations" / "p003.xml").write_text("<annotation><object>")
    data = read(folder, ReadOptions(max_bad=0.9), tmp_path / "c")
    said = {bad.where.file.rsplit("/", 1)[-1]: (bad.where.line, bad.reason) for bad in data.quarantine}
    assert said["p001.xml"][0] == 4
    assert "without area" in said["p001.xml"][1]
    assert "p002.jpg is not there" in said["p002.xml"][1]
    assert "no XML" in said["p003.xml"][1]
    assert "without an annotation" in said["p003.jpg"][1]
    assert "size-differs" not in codes(data)


def test_a_declared_size_that_is_not_the_pictures(voc, tmp_path):
    folder, every = voc
    (folder / "Annotations" / "p001.xml").write_text(voc_xml("p001", every["p001"], (192, 128)))
    assert "size-differs" in codes(read(folder, ReadOptions(), tmp_path / "c"))


def test_coco_crowds_and_strays(tmp_path):
    for at, name in enumerate("abcefg"):
        drawn(at)[0].save(tmp_path / f"{name}.png")
    notes = [
        {"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 2, 30, 20], "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 5, "bbox": [40, 2, 30, 20], "iscrowd": 1},
        {"id": 3, "image_id": 9, "category_id": 5, "bbox": [1, 2, 30, 20]},
        {"id": 4, "image_id": 2, "category_id": 8, "bbox": [1, 2, 30, 20]},
    ]
    images = [{"id": i, "file_name": f"{name}.png", "width": 96, "height": 64} for i, name in enumerate("abcdefg", 1)]
    plain = {"images": images, "annotations": notes, "categories": [{"id": 5, "name": "cup"}]}
    (tmp_path / "all.json").write_text(json.dumps(plain))
    for source in (tmp_path, tmp_path / "all.json"):
        data = read(source, ReadOptions(max_bad=0.6), tmp_path / "cache")
        assert rows_of(data)["a"] == [Box("cup", 1, 2, 31, 22), Box("cup", 40, 2, 70, 22, True)]
        assert rows_of(data)["b"] == []
        reasons = sorted(bad.reason for bad in data.quarantine)
        assert any("category 8 is not" in reason for reason in reasons)
        assert any("not among the images" in reason for reason in reasons)
        assert any("d.png is not there" in reason for reason in reasons)


def test_the_area_of_an_outline_goes_from_file_to_file(tmp_path):
    for at, name in enumerate("abcdef"):
        drawn(at)[0].save(tmp_path / f"{name}.png")
    given = [300.5, 600, None, "much", 0]  # the second is the box's own
    notes = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [i, 2, 30, 20], "area": area}
        for i, area in enumerate(given, 1)
    ]
    notes.append({"id": 9, "image_id": 2, "category_id": 1, "bbox": [1, 2, 30, 20]})
    images = [{"id": i, "file_name": f"{name}.png", "width": 96, "height": 64} for i, name in enumerate("abcdef", 1)]
    plain = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "cup"}]}
    (tmp_path / "all.json").write_text(json.dumps(plain))
    data = read(tmp_path / "all.json", ReadOptions(), tmp_path / "cache")
    assert [box.area for box in rows_of(data)["a"]] == [300.5, None, None, None, None]
    convert(data, "coco", tmp_path / "out")
    written = [
        note for file in (tmp_path / "out").rglob("*.json") for note in json.loads(file.read_text())["annotations"]
    ]
    assert sorted(note["area"] for note in written) == [300.5, *[600] * 5]


def test_turned_pictures_are_measured_upright(tmp_path):
    folder = yolo(tmp_path / "y", GOOD)
    picture = drawn(0)[0]
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(folder / "images" / "a0.png", exif=exif)
    data = read(folder, ReadOptions(), tmp_path / "c")
    assert rows_of(data)["a0"] == [Box("square", 24, 24, 40, 72)]
