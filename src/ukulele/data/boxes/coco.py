"""COCO: one JSON file of pictures, boxes and classes, for each split or for all."""

from __future__ import annotations

import json
import math
import mmap
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ukulele.data.boxes.cells import Annotated, Drawn, Read
from ukulele.data.boxes.splits import split_of
from ukulele.errors import DataError
from ukulele.tools.pictures import SUFFIXES, size_of
from ukulele.types import BadRow, Box, Split, Where

INSTANCES = "instances_"  # beside person_keypoints_, captions_, stuff_ …
KEYS = ("images", "annotations", "categories")
SHOWN = 5  # pictures of one name that a reason lists
ODD = (ValueError, TypeError, KeyError, IndexError, AttributeError)


def find(root: Path) -> list[Path]:
    """The annotation files of a folder; of those that COCO itself publishes side by side the ones of instances."""
    places = {*root.glob("*.json"), *root.glob("annotations/*.json"), *root.glob("*/*.json")}
    published = {path.parent for path in places if path.name.startswith(INSTANCES)}
    wanted = (path for path in sorted(places) if path.parent not in published or path.name.startswith(INSTANCES))
    return [path for path in wanted if is_coco(path)]


def is_coco(path: Path) -> bool:
    """Whether a JSON file is one of COCO's kind: not parsed, for it may be large."""
    if path.suffix.lower() != ".json" or not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return all(content.find(f'"{key}"'.encode()) >= 0 for key in KEYS)


def read(root: Path, files: Sequence[Path]) -> Read:
    """All pictures of some annotation files with their boxes.

    Raises
    ------
    DataError
        If a file is damaged, or files disagree about the classes.
    """
    index: dict[str, list[Path]] = {}
    found: list[Annotated] = []
    bad: list[BadRow] = []
    aside: list[BadRow] = []
    names: tuple[str, ...] = ()
    for file in files:
        plain = _parsed(file)
        labels = _labels(plain, file)
        if names and set(labels.values()) != set(names):
            raise DataError(
                f"{file}: other classes than in {files[0].name}.", hint="Expected the same categories in all files."
            )
        names = names or tuple(labels.values())
        split = _split(file, root) if len(files) > 1 else None
        boxes = _boxes(plain, labels, file, aside)
        listed: dict[Any, str] = {}
        for image in plain["images"]:
            try:
                key, name = image["id"], str(image["file_name"])
                hash(key)
            except ODD:
                bad.append(BadRow(Where(str(file)), f"an image without id or file_name: {str(image)[:80]}"))
                continue
            if key in listed:
                said = f"image {key}: its id is that of {listed[key]}, which stands before it and has the boxes"
                bad.append(BadRow(Where(str(file)), f"{said}; left out: {name}"))
                continue
            listed[key] = name
            pictures = _pictures(name, file, root, index)
            if len(pictures) != 1:
                bad.append(BadRow(Where(str(file)), f"image {key}: {_unclear(name, pictures, root)}"))
                continue
            (picture,) = pictures
            found.append(Annotated(picture, tuple(boxes.get(key, ())), size_of(picture), split, _declared(image)))
        aside += [
            BadRow(drawn.where, f"a box of image {key}, which is not among the images")
            for key, rest in boxes.items()
            if key not in listed
            for drawn in rest
        ]
    boxes_read = [drawn.box for one in found for drawn in one.boxes]
    notes = ["Crowds are neither taught nor counted."] * any(box.crowd for box in boxes_read)
    notes += ["Boxes to be ignored are neither taught nor counted."] * any(box.ignored for box in boxes_read)
    if left := _unlisted({one.picture for one in found}):
        notes.append(f"Left out, for no annotation file names them: {left:,} of the pictures beside these.")
    given = any(one.split for one in found)
    return Read("COCO", found, names, tuple(bad), tuple(aside), tuple(notes), given=given)


def _unlisted(pictures: Collection[Path]) -> int:
    """How many pictures in their folders are none of them."""
    folders = {picture.parent for picture in pictures}
    there = (path for folder in folders for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return sum(path not in pictures for path in there)


def _parsed(file: Path) -> Mapping[str, Any]:
    try:
        plain = json.loads(file.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{file}: no JSON that can be read: {error}.") from error
    lists = isinstance(plain, Mapping) and all(isinstance(plain.get(key), list) for key in KEYS)
    if not lists:
        raise DataError(f"{file}: lists of {', '.join(KEYS)} were expected.")
    known: Mapping[str, Any] = plain
    return known


def _labels(plain: Mapping[str, Any], file: Path) -> dict[Any, str]:
    """Names of the classes by id; a class without boxes that all others belong to (Roboflow's) is left out."""
    try:
        rows = sorted(plain["categories"], key=lambda one: one["id"])
        used = {note.get("category_id") for note in plain["annotations"]}
        parents = {one.get("supercategory") for one in rows}
        rows = [one for one in rows if one["id"] in used or one["name"] not in parents or len(rows) == 1]
        labels = {one["id"]: str(one["name"]) for one in rows}
    except ODD as error:
        raise DataError(f"{file}: categories need an id and a name each ({error}).") from error
    if len(set(labels.values())) < len(labels):
        raise DataError(f"{file}: two categories have one name.", hint="Give each a name of its own.")
    return labels


def _declared(image: Mapping[str, Any]) -> tuple[int, int] | None:
    try:
        return int(image["width"]), int(image["height"])
    except (*ODD, OverflowError):
        return None


def _boxes(
    plain: Mapping[str, Any], labels: Mapping[Any, str], file: Path, aside: list[BadRow]
) -> defaultdict[Any, list[Drawn]]:
    found: defaultdict[Any, list[Drawn]] = defaultdict(list)
    for note in plain["annotations"]:
        where = Where(str(file))
        try:
            left, top, width, height = map(float, note["bbox"])
            key, category = note["image_id"], note["category_id"]
            hash(key)
        except ODD:
            aside.append(BadRow(where, f"an annotation without image or box: {str(note)[:120]}"))
            continue
        said = f"annotation {note.get('id', '?')} of image {key}"
        if category not in labels:
            aside.append(BadRow(where, f"{said}: category {category} is not among the categories"))
        elif not all(map(math.isfinite, (left, top, width, height))):
            aside.append(BadRow(where, f"{said}: a box without four numbers"))
        else:
            crowd, ignored = bool(note.get("iscrowd")), bool(note.get("ignore"))
            box = Box(labels[category], left, top, left + width, top + height, crowd, ignored and not crowd)
            box = box._replace(area=_outlined(note, box.size))
            found[key].append(Drawn(box, Where(f"{file}#{note.get('id', '?')}")))
    return found


def _outlined(note: Mapping[str, Any], whole: float) -> float | None:
    """The area of an object's outline, where one is given that is not merely the box's."""
    try:
        area = float(note["area"])
    except ODD:
        return None
    return area if math.isfinite(area) and area > 0 and not math.isclose(area, whole, rel_tol=1e-3) else None


def _pictures(name: str, file: Path, root: Path, index: dict[str, list[Path]]) -> list[Path]:
    """The pictures that a name in a file may mean: beside it, in the usual folders, or wherever below the root."""
    if (file.parent / name).is_file():
        return [file.parent / name]
    folder = file.stem.replace("instances_", "").replace("_annotations.coco", "")
    bases = (file.parent / "images", root, root / "images", root / folder, root / "images" / folder)
    found = [path for path in dict.fromkeys(base / name for base in bases) if path.is_file()]
    if not found:
        found = _of_name(name, root, index)
    if len(found) < 2:
        return found
    split = _split(file, root)
    marks: tuple[Callable[[Path], bool], ...] = (
        lambda path: folder in path.relative_to(root).parts[:-1],
        lambda path: split is not None and split_of(path.relative_to(root).parts[:-1]) == split,
        lambda path: file.parent in path.parents,
    )
    for mark in marks:
        found = [path for path in found if mark(path)] or found
    return found


def _of_name(name: str, root: Path, index: dict[str, list[Path]]) -> list[Path]:
    """Pictures of a file name below the root; of several those whose folders agree with the name's the longest."""
    if not index:
        index[""] = []
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                index.setdefault(path.name, []).append(path)
    parts = PurePosixPath(name.replace("\\", "/")).parts
    found = index.get(parts[-1] if parts else "", [])
    alike = {path: _shared(path.parts, parts) for path in found}
    return [path for path in found if alike[path] == max(alike.values())]


def _shared(parts: Sequence[str], others: Sequence[str]) -> int:
    """How many parts are the same, from the last one on."""
    pairs = zip(reversed(parts), reversed(others), strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(parts), len(others)))


def _split(file: Path, root: Path) -> Split | None:
    return split_of([*file.relative_to(root).parts[:-1], file.stem])


def _unclear(name: str, pictures: Sequence[Path], root: Path) -> str:
    """Why a name means no one picture."""
    if not pictures:
        return f"{name} is not there"
    listed = ", ".join(str(path.relative_to(root)) for path in pictures[:SHOWN])
    more = f" and {len(pictures) - SHOWN} more" if len(pictures) > SHOWN else ""
    return f"{name} may be {listed}{more}; write the folder into its file_name"
