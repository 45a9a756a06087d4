"""Boxes as the cell of a table, and what readers of every format give."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ukulele.types import BadRow, Box, Finding, Split, Where


@dataclass(frozen=True)
class Drawn:
    """A box as a file has it, in pixels, and the place it stands. `label` may be a number beyond the names."""

    box: Box
    where: Where


@dataclass(frozen=True)
class Annotated:
    """A picture with its boxes; its size is (width, height) in pixels, None where it cannot be read."""

    picture: Path
    boxes: tuple[Drawn, ...]
    size: tuple[int, int] | None
    split: Split | None = None
    declared: tuple[int, int] | None = None  # the size that the annotation names


@dataclass(frozen=True)
class Read:
    """All that one format's reader found."""

    style: str  # VOC, COCO or YOLO
    pictures: Sequence[Annotated]
    names: tuple[str, ...]  # of the classes, in the order of the data; empty where they follow from the boxes
    bad: tuple[BadRow, ...] = ()  # pictures that cannot be used
    aside: tuple[BadRow, ...] = ()  # boxes that cannot be used
    notes: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()  # pictures without an annotation, taken as having no object
    given: bool = False  # whether splits are given
    findings: tuple[Finding, ...] = ()


def dump(boxes: Sequence[Box]) -> str:
    """Boxes as a cell.

    >>> dump([Box("cup", 1, 2, 3.5, 4)])
    '[["cup", 1, 2, 3.5, 4]]'
    """
    return json.dumps([_plain(box) for box in boxes], ensure_ascii=False)


def _plain(box: Box) -> Sequence[object]:
    if box.area is not None:
        return list(box)
    return list(box)[:5] if box.counted else list(box)[:7]


def parse(cell: str | None) -> tuple[Box, ...] | None:
    """The boxes of a cell, or None where there is no cell.

    >>> parse('[["cup", 1, 2, 3.5, 4]]')
    (Box(label='cup', left=1, top=2, right=3.5, bottom=4, crowd=False, ignored=False, area=None),)
    """
    return None if not cell else tuple(Box(*entry) for entry in json.loads(cell))
