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
from ukulele.tools.pictures import SUFFIXES, size_of
from ukulele.types import BadRow, Box, Split, Where

# a later list has the last word: trainval names what train and val name, too, where they are there
LISTS: Mapping[str, Split] = {"trainval": "train", "train": "train", "val": "validation", "test": "test"}
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
    """The annotations of a folder: those in Annotations, or XML files beside pictures."""
    folder = root / "Annotations"
    if folder.is_dir():
        return sorted(folder.rglob("*.xml"))
    return [path for path in sorted(root.rglob("*.xml")) if b"<annotation" in path.read_bytes()[:2000]]


def read(root: Path, annotations: Sequence[Path]) -> Read:
    """All pictures of a folder with their boxes."""
    listed = {path.stem for path in annotations}
    splits = _splits(root, listed)
    pictures = _pictures(root)
    found: list[Annotated] = []
    bad: list[BadRow] = []
    aside: list[BadRow] = []
    used: set[Path] = set()
    for path in annotations:
        try:
            node = parse(path.read_bytes())
        except (expat.ExpatError, OSError, IndexError) as error:
            bad.append(BadRow(Where(str(path)), f"no XML that can be read ({error})"))
            continue
        picture = _picture(path, node.said("filename"), pictures)
        if picture is None:
            named = node.said("filename") or path.stem
            bad.append(BadRow(Where(str(path)), f"an annotation without a picture: {named} is not there"))
            continue
        used.add(picture)
        boxes = tuple(_boxes(node, str(path), aside))
        declared = _size(node)
        split = splits.get(path.stem) if splits else _by_folder(path, root)
        found.append(Annotated(picture, boxes, size_of(picture), split, declared))
    bad += [
        BadRow(Where(str(path)), "a picture without an annotation") for path in pictures.values() if path not in used
    ]
    bad += [
        BadRow(Where(str(root / "ImageSets" / "Main")), f"{name!r} is listed and has no annotation")
        for name in splits
        if name not in listed
    ]
    notes = ["Objects marked as difficult are neither taught nor counted."] * any(
        drawn.box.ignored for one in found for drawn in one.boxes
    )
    given = any(one.split for one in found)
    return Read("VOC", found, (), tuple(bad), tuple(aside), tuple(notes), given=given)


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


def _by_folder(path: Path, root: Path) -> Split | None:
    from ukulele.data.boxes.splits import split_of

    return split_of(path.relative_to(root).parts[:-1])


def _pictures(root: Path) -> dict[str, Path]:
    """Pictures by their path below the root without the ending."""
    folder = root / "JPEGImages"
    base = folder if folder.is_dir() else root
    return {str(path.with_suffix("")): path for path in sorted(base.rglob("*")) if path.suffix.lower() in SUFFIXES}


def _picture(path: Path, named: str, pictures: Mapping[str, Path]) -> Path | None:
    """The picture of an annotation: of the same name, or the one it names; VOC's folder or the same."""
    above = path.parent.parent
    folders = [path.parent, above / "JPEGImages", above / "images", above]
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
