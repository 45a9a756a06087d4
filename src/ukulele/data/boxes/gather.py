"""What a reader found as one table: boxes checked one by one, what is wrong set aside and listed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ukulele.data.arrays import integers, strings
from ukulele.data.boxes.cells import Annotated, Drawn, Read, dump
from ukulele.data.frame import FILE, LINE, Frame
from ukulele.errors import DataError
from ukulele.types import SPLITS, BadRow, Box, Finding, Where

COLUMN = "objects"
LEFT_OUT = -2  # in the place of a split
LEAST = 8  # pixels of a picture's shorter side
TINY = 0.01  # of the picture's longer side: 4 pixels where that becomes 416
SLACK = 1.0  # pixels that a box may reach beyond the picture by rounding
SHOWN = 5


@dataclass(frozen=True)
class Boxed:
    """Pictures with boxes as a table, the splits as places in SPLITS (-2: in none), and all that was set aside."""

    name: str
    frame: Frame
    names: tuple[str, ...]
    given: NDArray[np.int8] | None
    bad: tuple[BadRow, ...]  # pictures
    aside: tuple[BadRow, ...]  # boxes that are out, and boxes that were clipped
    lost: int  # boxes that are out
    total: int  # boxes in all
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]


def gather(read: Read, name: str) -> Boxed:
    """The table of what was read.

    Raises
    ------
    DataError
        If there is no picture, or no box in any.
    """
    checked = _Checked([], [], [], [], [])
    bad = list(read.bad)
    pictures: list[Annotated] = []
    cells: list[tuple[Box, ...]] = []
    for one in read.pictures:
        if one.size is not None and min(one.size) < LEAST:
            bad.append(BadRow(Where(str(one.picture)), f"a picture of {one.size[0]} × {one.size[1]} pixels"))
            continue
        pictures.append(one)
        cells.append(tuple(_kept(one, checked)))
    if not pictures:
        first = f" The first reason, {bad[0].where}: {bad[0].reason}." if bad else ""
        raise DataError(f"{name}: no picture with an annotation.{first}", hint="Expected VOC, COCO or YOLO.")
    out = (*read.aside, *checked.out)
    counts = Counter(box.label for boxes in cells for box in boxes)
    if not counts:
        first = f" The first reason, {out[0].where}: {out[0].reason}." if out else ""
        raise DataError(
            f"{name}: no box in any of {len(pictures)} pictures.{first}", hint="Expected one object at least."
        )
    total = sum(counts.values()) + len(out)
    notes = (
        f"Input: pictures with boxes, read as {read.style}: {sum(counts.values()):,} boxes in {len(pictures):,} "
        f"pictures, {sum(not boxes for boxes in cells):,} of them without any.",
        *read.notes,
    )
    left = sum(one.split is None for one in pictures) if read.given else 0
    notes += (f"{left:,} pictures are in no split and were left out.",) * bool(left)
    clipped = tuple(checked.clipped)
    findings = (*read.findings, *_findings(checked, total), *_of_pictures(read, pictures))
    return Boxed(
        name,
        _frame(pictures, cells),
        read.names or tuple(sorted(counts)),
        _given(pictures) if read.given else None,
        tuple(bad),
        (*out, *clipped),
        len(out),
        total,
        notes,
        findings,
    )


@dataclass
class _Checked:
    """What came to light box by box."""

    out: list[BadRow]
    clipped: list[BadRow]
    twice: list[Where]
    tiny: list[Where]
    empty: list[Where]


def _kept(one: Annotated, checked: _Checked) -> Iterator[Box]:
    """The boxes of a picture that can be used, clipped to it."""
    seen: set[Box] = set()
    for drawn in one.boxes:
        box = _clipped(drawn, one.size, checked)
        if box is None:
            continue
        if (same := box._replace(area=None)) in seen:
            checked.twice.append(drawn.where)
            checked.out.append(BadRow(drawn.where, f"the same box twice: {_said(drawn.box)}"))
            continue
        seen.add(same)
        longest = max(one.size) if one.size else 0
        if math.sqrt((box.right - box.left) * (box.bottom - box.top)) < TINY * longest:
            checked.tiny.append(drawn.where)
        yield box


def _clipped(drawn: Drawn, size: tuple[int, int] | None, checked: _Checked) -> Box | None:
    box = drawn.box
    if not (box.right > box.left and box.bottom > box.top):
        checked.empty.append(drawn.where)
        what = "a box turned inside out" if box.right < box.left or box.bottom < box.top else "a box without area"
        checked.out.append(BadRow(drawn.where, f"{what}: {_said(box)}"))
        return None
    if size is None:
        return box
    width, height = size
    inside = box._replace(
        left=max(box.left, 0), top=max(box.top, 0), right=min(box.right, width), bottom=min(box.bottom, height)
    )
    if not (inside.right > inside.left and inside.bottom > inside.top):
        checked.out.append(BadRow(drawn.where, f"a box outside the picture of {width} × {height}: {_said(box)}"))
        return None
    beyond = max(-box.left, -box.top, box.right - width, box.bottom - height)
    if beyond > SLACK:
        said = f"clipped: a box reaches beyond the picture of {width} × {height} by {beyond:.0f} pixels: {_said(box)}"
        checked.clipped.append(BadRow(drawn.where, said))
    return inside


def _said(box: Box) -> str:
    return f"{box.label} {box.left:g},{box.top:g} to {box.right:g},{box.bottom:g}"


def _findings(checked: _Checked, total: int) -> Iterator[Finding]:
    if checked.clipped:
        yield Finding(
            "warning",
            "boxes-outside",
            f"{len(checked.clipped)} of {total:,} boxes reach beyond their picture and were clipped to it.",
            _evidence([bad.where for bad in checked.clipped]),
            "All are listed in quarantine.csv. Many of them mean that boxes were drawn on pictures of another size.",
        )
    if checked.out:
        reasons = Counter(bad.reason.split(":")[0] for bad in checked.out)
        said = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(4))
        yield Finding(
            "warning",
            "bad-boxes",
            f"{len(checked.out)} of {total:,} boxes were set aside: {said}.",
            _evidence([bad.where for bad in checked.out]),
            "They are listed in quarantine.csv with file, line and reason; their pictures are kept.",
        )
    if checked.tiny:
        yield Finding(
            "info" if len(checked.tiny) < 0.05 * total else "warning",
            "tiny-boxes",
            f"{len(checked.tiny)} of {total:,} boxes are smaller than 1 % of their picture's longer side: "
            "about 4 pixels where that becomes 416.",
            _evidence(checked.tiny),
            "They may be lost when pictures are made smaller; larger pictures or tiles keep them.",
        )


def _of_pictures(read: Read, pictures: Sequence[Annotated]) -> Iterator[Finding]:
    if read.unlabelled:
        count = len(read.unlabelled)
        yield Finding(
            "info" if count < 0.2 * len(read.pictures) else "warning",
            "pictures-without-labels",
            f"{count} of {len(read.pictures):,} pictures have no label file: they are taken as having no object.",
            {"count": count, "examples": list(read.unlabelled[:SHOWN])},
            "Write an empty label file where that is meant.",
        )
    other = [one for one in pictures if one.declared and one.size and one.declared != one.size]
    if other:
        examples = [f"{p.picture}: {p.declared} declared, {p.size} found" for p in islice(other, SHOWN)]
        yield Finding(
            "warning",
            "size-differs",
            f"{len(other)} of {len(pictures):,} pictures have another size than their annotation says.",
            {"count": len(other), "examples": examples},
            "Boxes may have been drawn on other versions of the pictures; look at some of them.",
        )


def _evidence(places: Sequence[Where]) -> dict[str, object]:
    return {"count": len(places), "examples": [str(place) for place in places[:SHOWN]]}


def _given(pictures: Sequence[Annotated]) -> NDArray[np.int8]:
    return np.array([LEFT_OUT if one.split is None else SPLITS.index(one.split) for one in pictures], np.int8)


def _frame(pictures: Sequence[Annotated], cells: Sequence[tuple[Box, ...]]) -> Frame:
    size = len(pictures)
    columns = {
        "path": strings([one.picture.name for one in pictures]),
        COLUMN: strings([dump(boxes) for boxes in cells]),
        FILE: integers(np.arange(size, dtype=np.int32)),
        LINE: integers(np.zeros(size, np.int64)),
    }
    return Frame((pa.record_batch(columns),), tuple(str(one.picture) for one in pictures))
