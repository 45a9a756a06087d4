"""Lay data out so that every program reads the same files, and so that a test split is opened only when asked.

A staged folder holds train, test and (but for `train_and_test`) dev or val. With `final` they are the real ones.
Without, they are a rehearsal made from the other parts alone: "test" is the real dev split (or a part of train, where
there is none) and "dev" a part of train, drawn with a fixed seed.
"""

from __future__ import annotations

import csv
import random
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

SEED = 20240229
DEARER = 5  # a picture, against a text
PICTURES = {".jpg", ".jpeg", ".png"}


def csv_splits(source: Path, target: Path, final: bool) -> Path:
    """Stage a folder of train.csv, dev.csv and test.csv."""
    target.mkdir(parents=True, exist_ok=True)
    if final:
        for name in ("train", "dev", "test"):
            (target / f"{name}.csv").symlink_to((source / f"{name}.csv").resolve())
        return target
    (target / "test.csv").symlink_to((source / "dev.csv").resolve())
    with (source / "train.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    with (source / "dev.csv").open(newline="", encoding="utf-8") as file:
        size = sum(1 for _ in csv.reader(file)) - 1
    random.Random(SEED).shuffle(rows)
    write(target / "dev.csv", header, rows[:size])
    write(target / "train.csv", header, rows[size:])
    return target


def no_dev(source: Path, target: Path, size: int = 3000) -> Path:
    """A rehearsal of train.csv and test.csv: "test" is a part of train, and validation is left to the program."""
    target.mkdir(parents=True, exist_ok=True)
    with (source / "train.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    random.Random(SEED).shuffle(rows)
    write(target / "test.csv", header, rows[:size])
    write(target / "train.csv", header, rows[size:])
    return target


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def laid_out(source: Path, folder: Path, final: bool) -> Path:
    """The splits of a data set, known by the name of its folder, in a folder of their own."""
    match source.name:
        case "hymenoptera":
            return train_and_test(source, folder, final)
        case "flowers5":
            return picture_splits(source, folder, final)
        case "sst2" | "stsb":
            return csv_splits(source, folder, final)
        case "banking77" if not final:
            return no_dev(source, folder)
        case _:
            shutil.copytree(source, folder)
            return folder


def fewer(staged: Path, rows: int) -> Path:
    """Leave at most so many training rows in a staged folder, drawn with a fixed seed; of pictures, which take longer,
    a fifth of that, of each class its share. 0: all.
    """
    table = staged / "train.csv"
    if rows and table.is_file():
        with table.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
        if len(lines) > rows:
            random.Random(SEED).shuffle(lines)
            table.unlink()
            write(table, header, lines[:rows])
    elif rows:
        classes = {folder: sorted(folder.iterdir()) for folder in sorted((staged / "train").iterdir())}
        share = rows / DEARER / sum(map(len, classes.values()))
        for files in classes.values():
            random.Random(SEED).shuffle(files)
            for file in files[max(1, round(share * len(files))) :]:
                file.unlink()
    return staged


def halves(staged: Path, target: Path, rows: int) -> tuple[Path, Path]:
    """A staged folder twice, with training rows that the other has not, drawn with a fixed seed: in each at most `rows`
    texts, or a fifth as many pictures, of each class its share; 0: half of all.
    """
    folders = target / "first", target / "second"
    table = staged / "train.csv"
    if table.is_file():
        with table.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
        random.Random(SEED).shuffle(lines)
        size = min(rows or len(lines), len(lines) // 2)
        for at, folder in enumerate(folders):
            shutil.copytree(staged, folder, ignore=shutil.ignore_patterns("train.csv"))
            write(folder / "train.csv", header, lines[at * size : (at + 1) * size])
        return folders
    classes = labelled(staged / "train")
    share = min(rows / DEARER / sum(map(len, classes.values())) if rows else 0.5, 0.5)
    others = {place.name: labelled(place) for place in staged.iterdir() if place.name != "train"}
    parts = split(classes, {folder.name: share for folder in folders})
    for folder in folders:
        link({"train": parts[folder.name], **others}, folder)
    return folders


def labelled(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class of a folder."""
    return {place.name: pictures(place) for place in sorted(folder.iterdir())}


def picture_splits(source: Path, target: Path, final: bool) -> Path:
    """Stage a folder of one folder a class, without splits: 70 / 15 / 15 %, stratified, equal files on one side."""
    classes = {folder.name: pictures(folder) for folder in sorted(source.iterdir()) if folder.is_dir()}
    parts = split(classes, {"test": 0.15, "val": 0.15})
    return link(parts if final else rehearsal(parts["train"]), target)


def train_and_test(source: Path, target: Path, final: bool) -> Path:
    """Stage a set of train/<class> and val/<class> alone: val is the test, and validation is left to the program."""
    folders = {name: labelled(source / name) for name in ("train", "val")}
    if final:
        return link({"train": folders["train"], "test": folders["val"]}, target)
    return link(split(folders["train"], {"test": 0.25}), target)


def rehearsal(train: Mapping[str, Sequence[Path]]) -> dict[str, dict[str, list[Path]]]:
    return split(train, {"test": 0.15, "val": 0.15})


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)


def split(
    classes: Mapping[str, Sequence[Path]], shares: Mapping[str, float], seed: int = SEED
) -> dict[str, dict[str, list[Path]]]:
    """Cut every class by `shares`; what is left is train. Files with equal bytes go together, whatever their class."""
    parts: dict[str, dict[str, list[Path]]] = {name: {c: [] for c in classes} for name in (*shares, "train")}
    sides: dict[str, str] = {}
    for label, files in classes.items():
        groups: dict[str, list[Path]] = defaultdict(list)
        for path in files:
            groups[sha256(path.read_bytes()).hexdigest()].append(path)
        digests = sorted(groups)
        random.Random(f"{seed} {label}").shuffle(digests)
        wanted = {name: round(share * len(files)) for name, share in shares.items()}
        for digest in digests:
            open_side = next((name for name in shares if len(parts[name][label]) < wanted[name]), "train")
            parts[sides.setdefault(digest, open_side)][label] += groups[digest]
    return parts


def link(parts: Mapping[str, Mapping[str, Sequence[Path]]], target: Path) -> Path:
    for name, classes in parts.items():
        for label, files in classes.items():
            folder = target / name / label
            folder.mkdir(parents=True, exist_ok=True)
            for path in files:
                (folder / path.name).symlink_to(path.resolve())
    return target
