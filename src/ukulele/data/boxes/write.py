"""Pictures with boxes written as VOC, COCO or YOLO, so that other tools can read them. Pictures are copied."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import yaml

from ukulele.errors import DataError
from ukulele.tools.files import disk_error
from ukulele.tools.pictures import size_of
from ukulele.types import Box, Dataset

SHORT = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Entry:
    """A picture to be written: its split, its source, its new name, its size and its boxes."""

    split: str
    source: Path
    name: str
    size: tuple[int, int]
    boxes: tuple[Box, ...]


def write(dataset: Dataset, style: str, folder: Path) -> tuple[str, ...]:
    """Write a data set into an empty folder; what the format cannot hold, in words.

    Raises
    ------
    DataError
        If the data have no boxes, or there is something in the folder.
    StorageError
        If the disk says no.
    """
    if style not in FORMATS:
        raise DataError(f"--to {style}: one of {', '.join(FORMATS)} was expected.")
    target = next((target for target in dataset.targets if target.kind == "detect"), None)
    if target is None:
        raise DataError(f"{dataset.name}: no boxes were found.", hint="Expected VOC, COCO or YOLO.")
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"--out {folder}: there is something in it.", hint="Name a new or an empty folder.")
    try:
        return FORMATS[style](list(_entries(dataset, target.name)), target.labels, folder)
    except OSError as error:
        raise disk_error(folder, error) from error


def _entries(dataset: Dataset, target: str) -> Iterator[Entry]:
    taken: set[str] = set()
    for split, rows in dataset.splits.items():
        for row in rows:
            source = row.inputs[0]
            name, number = source.name, 1
            while Path(name).stem in taken:  # of the same name in another folder
                number += 1
                name = f"{source.stem}-{number}{source.suffix}"
            taken.add(Path(name).stem)
            size = size_of(source)
            if size is not None:
                yield Entry(SHORT[split], source, name, size, row.targets[target])


def _copy(entry: Entry, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(entry.source, folder / entry.name)


def to_yolo(entries: Sequence[Entry], labels: Sequence[str], folder: Path) -> tuple[str, ...]:
    """`images/<split>`, `labels/<split>` and data.yaml."""
    number = {label: i for i, label in enumerate(labels)}
    crowds = ignored = 0
    for entry in entries:
        _copy(entry, folder / "images" / entry.split)
        width, height = entry.size
        lines = []
        for box in entry.boxes:
            crowds += box.crowd
            ignored += box.ignored
            if not box.counted:
                continue
            x, y = (box.left + box.right) / 2 / width, (box.top + box.bottom) / 2 / height
            shares = (x, y, (box.right - box.left) / width, (box.bottom - box.top) / height)
            lines.append(f"{number[box.label]} " + " ".join(f"{share:.8g}" for share in shares))
        place = folder / "labels" / entry.split / f"{Path(entry.name).stem}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    splits = {split: f"images/{split}" for split in dict.fromkeys(entry.split for entry in entries)}
    names = {"names": dict(enumerate(labels))}
    (folder / "data.yaml").write_text(yaml.safe_dump(splits | names, sort_keys=False, allow_unicode=True), "utf-8")
    left = ((crowds, "crowds"), (ignored, "boxes to be ignored (difficult ones)"))
    return tuple(f"{count} {what} were left out: YOLO has none." for count, what in left if count)


def to_coco(entries: Sequence[Entry], labels: Sequence[str], folder: Path) -> tuple[str, ...]:
    """`images/<split>` and `annotations/instances_<split>.json`."""
    number = {label: i for i, label in enumerate(labels, 1)}
    plain: dict[str, dict[str, list[object]]] = {}
    for key, entry in enumerate(entries, 1):
        _copy(entry, folder / "images" / entry.split)
        part = plain.setdefault(entry.split, {"images": [], "annotations": []})
        part["images"].append({"id": key, "file_name": entry.name, "width": entry.size[0], "height": entry.size[1]})
        for box in entry.boxes:
            wide, high = box.right - box.left, box.bottom - box.top
            part["annotations"].append(
                {
                    "id": sum(len(other["annotations"]) for other in plain.values()) + 1,
                    "image_id": key,
                    "category_id": number[box.label],
                    "bbox": [box.left, box.top, wide, high],
                    "area": box.size,
                    "iscrowd": int(box.crowd),
                    **({"ignore": 1} if box.ignored else {}),
                }
            )
    categories = [{"id": i, "name": label} for label, i in number.items()]
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for split, part in plain.items():
        place = folder / "annotations" / f"instances_{split}.json"
        place.write_text(json.dumps({**part, "categories": categories}, ensure_ascii=False), "utf-8")
    return ()


def to_voc(entries: Sequence[Entry], labels: Sequence[str], folder: Path) -> tuple[str, ...]:
    """`JPEGImages`, `Annotations` and `ImageSets/Main`."""
    del labels
    lists: dict[str, list[str]] = {}
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    for entry in entries:
        _copy(entry, folder / "JPEGImages")
        stem = Path(entry.name).stem
        lists.setdefault(entry.split, []).append(stem)
        (folder / "Annotations" / f"{stem}.xml").write_text(_xml(entry), "utf-8")
    main = folder / "ImageSets" / "Main"
    main.mkdir(parents=True, exist_ok=True)
    for split, stems in lists.items():
        (main / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems), "utf-8")
    crowds = sum(box.crowd for entry in entries for box in entry.boxes)
    return (f"{crowds} crowds are marked as difficult.",) * bool(crowds)


def _xml(entry: Entry) -> str:
    objects = "".join(
        f"\t<object>\n\t\t<name>{escape(box.label)}</name>\n\t\t<difficult>{int(not box.counted)}</difficult>\n"
        f"\t\t<bndbox>\n\t\t\t<xmin>{box.left:g}</xmin>\n\t\t\t<ymin>{box.top:g}</ymin>\n"
        f"\t\t\t<xmax>{box.right:g}</xmax>\n\t\t\t<ymax>{box.bottom:g}</ymax>\n\t\t</bndbox>\n\t</object>\n"
        for box in entry.boxes
    )
    width, height = entry.size
    return (
        f"<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>{escape(entry.name)}</filename>\n"
        f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n\t\t<depth>3</depth>\n\t</size>\n"
        f"{objects}</annotation>\n"
    )


FORMATS: Mapping[str, Callable[[Sequence[Entry], Sequence[str], Path], tuple[str, ...]]] = {
    "yolo": to_yolo,
    "coco": to_coco,
    "voc": to_voc,
}
