"""PASCAL VOC: one XML file a picture, and lists of names by split.

Corners are taken as they stand. Objects marked as difficult are neither taught nor counted, as in VOC's own figures.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from ukulele.data.boxes.cells import Annotated, Drawn, Read
from ukulele.data.boxes.splits import split_of
from ukulele.tools.pictures import SUFFIXES, size_of
from ukulele.types import BadRow, Box, Split, Where

# a later list has the last word: trainval names what train and val name, too, where they are there
LISTS: Mapping[str, Split] = {"trainval": "train", "train": "train", "val": "validation", "test": "test"}
ANNOTATIONS = "Annotations"
MASKS = frozenset({"SegmentationClass", "SegmentationObject"})
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass
class Node:
    """An element with its line."""

    tag: str
    line: int
    text: str = ""
    below: list[Node] = field(default_factory=list)

    def find(self, path: str) -> Node | None:
        """The first element at a path."""
        head, _, rest = path.partition("/")
        found = next((node for node in self.below if node.tag == head), None)
        return found if found is None or not rest else found.find(rest)

    def said(self, path: str) -> str:
        """The text at a path, "" where there is none."""
        found = self.find(path)
        return found.text.strip() if found else ""


def parse(content: bytes) -> Node:
    """An XML document as nodes.

    Raises
    ------
    expat.ExpatError
        If it is none.
    """
    stack = [Node("", 0)]
    parser = expat.ParserCreate()

    def start(tag: str, _: Mapping[str, str]) -> None:
        node = Node(tag, parser.CurrentLineNumber)
        stack[-1].below.append(node)
        stack.append(node)

    def text(data: str) -> None:
        stack[-1].text += data

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = text
    parser.Parse(content, True)
    return stack[0].below[0]


def find(root: Path) -> list[Path]:
    """The annotations of a folder: its own or those of each folder below with Annotations, or XML beside pictures."""
    folder = root / ANNOTATIONS
    if folder.is_dir():
        return sorted(folder.rglob("*.xml"))
    return [path for path in sorted(root.rglob("*.xml")) if _is_annotation(path, root)]


def _is_annotation(path: Path, root: Path) -> bool:
    return ANNOTATIONS in path.relative_to(root).parts or b"<annotation" in path.read_bytes()[:2000]


def read(root: Path, annotations: Sequence[Path]) -> Read:
    """All pictures of a folder with their boxes; each folder that holds Annotations has its own pictures and lists."""
    homes: dict[Path, list[Path]] = {}
    for path in annotations:
        homes.setdefault(_home(path, root), []).append(path)
    found: list[Annotated] = []
    bad: list[BadRow] = []
    aside: list[BadRow] = []
    for home, own in homes.items():
        names = {_name(path, home): path for path in own}
        splits = _splits(home, {*names, *(path.stem for path in own)})
        pictures = _pictures(home, [other for other in homes if home in other.parents])
        used: set[Path] = set()
        for name, path in names.items():
            try:
                node = parse(path.read_bytes())
            except (expat.ExpatError, OSError, IndexError) as error:
                bad.append(BadRow(Where(str(path)), f"no XML that can be read ({error})"))
                continue
            picture = _picture(path, home, node.said("filename"), pictures)
            if picture is None:
                named = node.said("filename") or path.stem
                bad.append(BadRow(Where(str(path)), f"an annotation without a picture: {named} is not there"))
                continue
            used.add(picture)
            boxes = tuple(_boxes(node, str(path), aside))
            listed = name if name in splits or path.stem in names else path.stem
            split = splits.get(listed) if splits else split_of(path.relative_to(root).parts[:-1])
            found.append(Annotated(picture, boxes, size_of(picture), split, _size(node)))
        bad += _alone(home, splits, names, [path for path in pictures.values() if path not in used])
    notes = ["Objects marked as difficult are neither taught nor counted."] * any(
        drawn.box.ignored for one in found for drawn in one.boxes
    )
    given = any(one.split for one in found)
    return Read("VOC", found, (), tuple(bad), tuple(aside), tuple(notes), given=given)


def _home(path: Path, root: Path) -> Path:
    """The folder whose Annotations an annotation lies in; without such the root."""
    parts = path.relative_to(root).parts[:-1]
    return root.joinpath(*parts[: parts.index(ANNOTATIONS)]) if ANNOTATIONS in parts else root


def _name(path: Path, home: Path) -> str:
    """The name of an annotation, as a list has it: with the folders below Annotations."""
    parts = path.relative_to(home).with_suffix("").parts
    return "/".join(parts[parts[0] == ANNOTATIONS :])


def _alone(home: Path, splits: Collection[str], names: Mapping[str, Path], left: Sequence[Path]) -> Iterator[BadRow]:
    """Pictures, and names in the lists, without an annotation."""
    for picture in left:
        yield BadRow(Where(str(picture)), "a picture without an annotation")
    stems = {path.stem for path in names.values()}
    for name in splits:
        if name not in names and name not in stems:
            yield BadRow(Where(str(home / "ImageSets" / "Main")), f"{name!r} is listed and has no annotation")


def _splits(root: Path, known: Collection[str]) -> dict[str, Split]:
    """The split of each name, from ImageSets/Main."""
    found: dict[str, Split] = {}
    for name, split in LISTS.items():
        file = root / "ImageSets" / "Main" / f"{name}.txt"
        if file.is_file():
            lines = file.read_text("utf-8", errors="replace").splitlines()
            found |= {_named(line, known): split for line in lines if line.strip()}
    return found


def _named(line: str, known: Collection[str]) -> str:
    """The name in a line of a list, which may have spaces; VOC's lists of a class say -1, 0 or 1 behind it."""
    name = line.strip()
    return name if name in known else re.sub(r"\s+(-1|0|1)$", "", name)


def _pictures(home: Path, others: Collection[Path]) -> dict[str, Path]:
    """Pictures by their path without the ending; those of other homes, and masks, are none of them."""
    folder = home / "JPEGImages"
    base = folder if folder.is_dir() else home
    found = (path for path in sorted(base.rglob("*")) if path.suffix.lower() in SUFFIXES)
    return {
        str(path.with_suffix("")): path
        for path in found
        if not MASKS.intersection(path.relative_to(base).parts) and not any(other in path.parents for other in others)
    }


def _picture(path: Path, home: Path, named: str, pictures: Mapping[str, Path]) -> Path | None:
    """The picture of an annotation: of the same name, or the one it names; VOC's folder or the same."""
    above, below = path.parent.parent, Path(_name(path, home)).parent
    usual = (home / "JPEGImages", home / "images", home)
    folders = [path.parent, *(base / below for base in usual), above / "JPEGImages", above / "images", above]
    if home / ANNOTATIONS in path.parents and not any((base / below).is_dir() for base in usual):
        folders += usual  # annotations in folders, pictures in one
    for stem in dict.fromkeys((path.stem, Path(named.replace("\\", "/")).stem)):
        for folder in folders:
            found = pictures.get(str(folder / stem))
            if found is not None:
                return found
    return None


def _size(node: Node) -> tuple[int, int] | None:
    try:
        size = int(float(node.said("size/width"))), int(float(node.said("size/height")))
    except (ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def _boxes(node: Node, file: str, aside: list[BadRow]) -> Iterator[Drawn]:
    for item in (below for below in node.below if below.tag == "object"):
        where = Where(file, item.line)
        label = item.said("name")
        try:
            left, top, right, bottom = (float(item.said(f"bndbox/{name}")) for name in CORNERS)
        except ValueError:
            aside.append(BadRow(where, "a box without four numbers", label))
            continue
        if not label:
            aside.append(BadRow(where, "a box without a class"))
            continue
        yield Drawn(Box(label, left, top, right, bottom, ignored=item.said("difficult") == "1"), where)
