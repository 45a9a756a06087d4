"""YOLO's folders as people have them: without names of the classes, counted wrongly, flat."""

import pytest
import yaml
from detect_kit import drawn

from ukulele.data import ReadOptions, convert, read
from ukulele.errors import DataError

BOX = "0.5 0.5 0.25 0.5"


def pictures(root, lines, labels="labels", images="images"):
    """Pictures a0 … with the lines given for each."""
    for at, said in enumerate(lines):
        for folder in (labels, images):
            (root / folder).mkdir(parents=True, exist_ok=True)
        drawn(at)[0].save(root / images / f"a{at}.png")
        if said is not None:
            (root / labels / f"a{at}.txt").write_text(said)
    return root


def test_classes_without_names_keep_their_numbers(tmp_path):
    numbers = [0, 2, 10, 1] * 4
    folder = pictures(tmp_path / "y", [f"{number} {BOX}\n" for number in numbers])
    data = read(folder, ReadOptions(), tmp_path / "c")
    assert data.targets[0].labels == tuple(f"class {number}" for number in range(11))
    convert(data, "yolo", tmp_path / "out")
    assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["names"][10] == "class 10"
    written = {path.stem: path.read_text().split()[0] for path in (tmp_path / "out" / "labels").rglob("*.txt")}
    assert written == {f"a{at}": str(number) for at, number in enumerate(numbers)}


@pytest.mark.parametrize("number", ["-1", "1e9"])
def test_a_number_that_is_none_of_a_class_is_set_aside(tmp_path, number):
    folder = pictures(tmp_path / "y", [f"0 {BOX}\n"] * 4 + [f"{number} {BOX}\n"])
    data = read(folder, ReadOptions(max_bad=0.5), tmp_path / "c")
    assert data.targets[0].labels == ("class 0",)
    (bad,) = data.quarantine
    assert bad.reason == f"class {int(float(number))}, expected 0 to 9999"


def told(folder, data):
    """data.yaml written, and the findings on the number of classes."""
    (folder / "data.yaml").write_text(yaml.safe_dump({"train": "images", **data}))
    found = read(folder, ReadOptions(), folder.parent / "c")
    return [finding for finding in found.findings if finding.code == "classes-miscounted"]


def test_a_count_of_classes_other_than_the_names_is_told(tmp_path):
    folder = pictures(tmp_path / "y", [f"0 {BOX}\n"] * 4)
    (finding,) = told(folder, {"names": ["cup", "pan"], "nc": 3})
    assert finding.severity == "warning"
    assert "data.yaml: `nc` is 3, and `names` has 2: the 2 names are used" in finding.message
    assert told(folder, {"names": ["cup", "pan"], "nc": "many"})
    for fine in ({"names": ["cup", "pan"], "nc": 2}, {"names": {0: "cup", 4: "pan"}, "nc": 5}, {"nc": 2}):
        assert not told(folder, fine)


@pytest.mark.parametrize("nc", ["many", -1, 1.5, 10**9])
def test_a_count_of_classes_that_is_none_is_refused(tmp_path, nc):
    folder = pictures(tmp_path / "y", [f"0 {BOX}\n"] * 4)
    with pytest.raises(DataError, match="`nc` is"):
        told(folder, {"nc": nc})


def flat(root, count=6, line=f"1 {BOX}\n"):
    return pictures(root, [line] * count, ".", ".")


@pytest.mark.parametrize("listed", ["classes.txt", "obj.names", None])
def test_labels_beside_pictures_are_read(tmp_path, monkeypatch, listed):
    folder = flat(tmp_path / "images" / "test")  # neither of the two names means anything here
    (folder / "notes.txt").write_text("drawn in May\n")
    (folder / "lost.txt").write_text(f"0 {BOX}\n")
    if listed:
        (folder / listed).write_text("\ufeffcup\npan\n", "utf-8")
    monkeypatch.chdir(folder)
    for source in (folder, "."):
        data = read(source, ReadOptions(max_bad=0.5), tmp_path / "c")
        assert data.targets[0].labels == (("cup", "pan") if listed else ("class 0", "class 1"))
        assert sum(map(len, data.splits.values())) == 6
        assert len(data.splits["train"]) > 2
        assert [(bad.where.file.rpartition("/")[2], bad.reason) for bad in data.quarantine] == [
            ("lost.txt", "a label file without a picture")
        ]


def test_folders_with_labels_beside_pictures_are_splits(tmp_path):
    for part in ("train", "valid", "test"):
        (flat(tmp_path / "y" / part) / "_darknet.labels").write_text("cup\npan\n")
    (tmp_path / "y" / "test.txt").write_text("test/a0.png\n")
    data = read(tmp_path / "y", ReadOptions(), tmp_path / "c")
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 6, "validation": 6, "test": 6}
    assert data.targets[0].labels == ("cup", "pan")
    assert any(note.startswith("Not read: test.txt") for note in data.notes)
    (tmp_path / "y" / "valid" / "_darknet.labels").write_text("pan\ncup\n")
    with pytest.raises(DataError, match=r"valid/_darknet\.labels: other classes than in .*test/_darknet\.labels"):
        read(tmp_path / "y", ReadOptions(), tmp_path / "c")


@pytest.mark.parametrize("line", ["a cup on a table\n", "3 cups\n", "1 2\n"])
def test_other_texts_beside_pictures_are_no_boxes(tmp_path, line):
    for kind in ("cup", "pan"):
        flat(tmp_path / "y" / kind, 12, line)
    data = read(tmp_path / "y", ReadOptions(), tmp_path / "c")
    assert data.targets[0].kind == "classify"


def test_texts_of_numbers_beside_a_list_of_classes_are_boxes_that_are_off(tmp_path):
    (flat(tmp_path / "y", 6, "1 0.5 0.5 0.1\n") / "classes.txt").write_text("cup\npan\n")
    with pytest.raises(DataError, match=r"a0\.txt:1: 3 numbers behind the class; four were expected"):
        read(tmp_path / "y", ReadOptions(), tmp_path / "c")
