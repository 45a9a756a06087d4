from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ukulele.data import ReadOptions, read
from ukulele.errors import DataError


def pictures(root: Path, folders: dict[str, int]) -> Path:
    seed = 0
    for name, count in folders.items():
        (root / name).mkdir(parents=True)
        for _ in range(count):
            grid = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(grid).resize((32, 24)).save(root / name / f"p{seed}.png")
            seed += 1
    return root


def found(root: Path):
    data = read(root, ReadOptions(), root.parent / "cache")
    return data, {finding.code: finding for finding in data.findings}


SORTED = {"train/ants": 8, "train/bees": 8, "val/ants": 4, "val/bees": 4}


def test_a_folder_without_pictures_beside_the_splits(tmp_path):
    root = pictures(tmp_path / "insects", SORTED)
    hidden = root / "__MACOSX" / "train" / "ants" / "._p0.png"
    hidden.parent.mkdir(parents=True)
    hidden.write_bytes(b"x")
    data, said = found(root)
    assert data.targets[0].labels == ("ants", "bees")
    assert len(data.splits["test"]) == 8  # the given validation rows
    assert said["stray-folders"].severity == "info"
    assert said["stray-folders"].evidence == {"folders": {"__MACOSX": 0}}
    assert said["stray-files"].evidence["files"] == ["__MACOSX/train/ants/._p0.png"]


@pytest.mark.parametrize("splits", [("train", "val"), ("train",), ("train_images", "test2017")])
def test_pictures_beside_the_splits_are_left_out_and_said(tmp_path, splits):
    inside = {f"{split}/{label}": 8 for split in splits for label in ("ants", "bees")}
    data, said = found(pictures(tmp_path / "insects", {**inside, "docs": 2}))
    assert data.targets[0].labels == ("ants", "bees")
    assert sum(map(len, data.splits.values())) == 16 * len(splits)
    assert said["stray-folders"].severity == "warning"
    assert "docs (2 pictures)" in said["stray-folders"].message


@pytest.mark.parametrize("names", [("train_images", "test_images"), ("train", "val"), ("Training", "holdout", "x")])
def test_splits_without_classes_are_refused(tmp_path, names):
    root = pictures(tmp_path / "flat", {name: 9 if name != "x" else 0 for name in names})
    with pytest.raises(DataError, match="named as splits are, and in no folders of classes") as caught:
        found(root)
    assert names[0] in caught.value.message
    assert "<class>" in caught.value.hint
    (root / "one.csv").write_text("id,label\n1,a\n")
    (root / "two.csv").write_text("id,label\n1,a\n")
    with pytest.raises(DataError, match=r"name the table .*one\.csv or .*two\.csv"):
        found(root)


def test_a_table_is_read_where_folders_tell_splits_and_no_classes(tmp_path):
    root = pictures(tmp_path / "flat", {"train_images": 20, "test_images": 5})
    rows = [f"train_images/p{i}.png,{'ab'[i % 2]}" for i in range(20)]
    (root / "train.csv").write_text("\n".join(["image,label", *rows]))
    data, _ = found(root)
    assert data.targets[0].labels == ("a", "b")
    assert sum(map(len, data.splits.values())) == 20


@pytest.mark.parametrize("names", [("train", "car", "bus"), ("test_positive", "test_negative"), ("valid", "invalid")])
def test_classes_that_are_called_like_a_split(tmp_path, names):
    data, said = found(pictures(tmp_path / "honest", dict.fromkeys(names, 12)))
    assert set(data.targets[0].labels) == set(names)
    assert "classes-named-as-splits" not in said


def test_classes_that_may_be_splits_are_said(tmp_path):
    data, said = found(pictures(tmp_path / "odd", {"train_a": 12, "test_a": 12, "sample": 12}))
    assert data.targets[0].labels == ("sample", "test_a", "train_a")
    assert said["classes-named-as-splits"].evidence == {"folders": ["test_a", "train_a"]}
    data, said = found(pictures(tmp_path / "vehicles", {"train/steam": 6, "train/diesel": 6, "car/small": 12}))
    assert data.targets[0].labels == ("car", "train")
    assert said["classes-named-as-splits"].evidence == {"folders": ["train"]}


@pytest.mark.parametrize(("cell", "advice"), [("cat/p{}.png", "name it as DATA"), ("p{}", "into its cells")])
def test_a_table_that_names_the_pictures_is_not_passed_over_in_silence(tmp_path, cell, advice):
    root = pictures(tmp_path / "pets", {"cat": 12, "dog": 12})
    (root / "labels.csv").write_text("\n".join(["image,age", *(f"{cell.format(i)},{i}" for i in range(12))]))
    (root / "sizes.csv").write_text("\n".join(["kilograms,height", *(f"{i},{i + 1}" for i in range(12))]))
    _, said = found(root)
    finding = said["table-passed-over"]
    assert finding.severity == "warning"
    assert finding.evidence["table"] == str(root / "labels.csv")
    assert advice in finding.advice
    assert str(root / "labels.csv") in finding.advice
