"""Folders of pictures, one a class, with or without folders of splits above."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ukulele.data.arrays import integers, strings
from ukulele.data.frame import FILE, LINE, Frame
from ukulele.data.split_names import NAMES, first_split
from ukulele.tools.pictures import SUFFIXES
from ukulele.types import Finding, Split

LISTED = 20  # stray files that a finding lists


@dataclass(frozen=True)
class Pictures:
    """Pictures found, their classes and the splits their folders name, and files that are none of it."""

    frame: Frame
    labels: list[str]
    splits: list[Split | None]
    stray: list[str]
    other: dict[str, int]  # folders beside those of splits, and how many pictures each holds
    unsorted: tuple[str, ...] = ()  # folders of splits that hold pictures and no folders of classes
    doubted: tuple[str, ...] = ()  # folders that were taken for classes and are called as splits are


def find_pictures(root: Path) -> Pictures:
    """The pictures of `<class>/…` or `<split>/<class>/…`; nothing is decoded.

    Folders are splits where their names say so and they hold folders of classes, whatever lies beside them.
    """
    files = [path.relative_to(root).parts for path in _walk(root)]
    pictures = [parts for parts in files if _is_picture(parts[-1])]
    classes: dict[str, set[str]] = {parts[0]: set() for parts in pictures if len(parts) > 1}
    for parts in pictures:
        if len(parts) > 2:
            classes[parts[0]].add(parts[1])
    tops = sorted(classes)
    splits, certain = _splits(classes), _certain(tops)
    depth = 2 if splits else 0 if certain else 1

    def used(parts: tuple[str, ...]) -> bool:
        return depth > 0 and _is_picture(parts[-1]) and len(parts) > depth and (not splits or parts[0] in splits)

    found = [parts for parts in files if used(parts)]
    paths, labels = [str(root.joinpath(*parts)) for parts in found], [parts[depth - 1] for parts in found]
    stray = [str(Path(*parts)) for parts in files if not used(parts)]
    folders = dict.fromkeys((parts[0] for parts in files if splits and len(parts) > 1 and parts[0] not in splits), 0)
    for parts in pictures:
        if parts[0] in folders:
            folders[parts[0]] += 1
    named = [top for top in tops if first_split(top)]
    doubted = named if _several(named) else [top for top in named if top.lower() in NAMES and classes[top]]
    return Pictures(
        picture_frame(paths, labels),
        labels,
        [first_split(parts[0]) if splits else None for parts in found],
        stray,
        folders,
        tuple(tops) if depth == 0 else (),
        tuple(doubted) if depth == 1 else (),
    )


def _splits(classes: Mapping[str, set[str]]) -> set[str]:
    """The folders that are splits, given the folders in each that hold pictures."""
    named = {top for top in classes if first_split(top)}
    if not any(classes[top] for top in named):
        return set()
    if _certain(classes) or _several(named):
        return named
    exact = {top for top in named if top.lower() in NAMES}
    below = set[str]().union(*(classes[top] for top in exact))
    # a split alone: what lies beside it has either no folders of classes or the same ones
    return exact if len(below) > 1 and all(classes[top] <= below for top in classes) else set()


def _certain(tops: Collection[str]) -> bool:
    """Whether all folders are splits by their names alone.

    Of longer names ("test_strips", "train_station") one split does not tell: they may well be classes.
    """
    exact = all(top.lower() in NAMES for top in tops)
    return bool(tops) and (exact or (all(map(first_split, tops)) and _several(tops)))


def _several(names: Iterable[str]) -> bool:
    """Whether names are those of a train split and of another."""
    named = {first_split(name) for name in names}
    return "train" in named and len(named) > 1


def folder_findings(root: Path, found: Pictures) -> Iterator[Finding]:
    """What of a folder of pictures was left out, and classes whose names are those of splits."""
    if found.stray:
        named = ", ".join(Path(file).name for file in found.stray[:3]) + (", …" if len(found.stray) > 3 else "")
        message = f"{len(found.stray)} files in {root.name} are no pictures of a class and were left out: {named}."
        advice = "Remove them, or move pictures into the folder of their class."
        evidence = {"count": len(found.stray), "files": found.stray[:LISTED]}
        yield Finding("info", "stray-files", message, evidence, advice)
    if found.other:
        splits = ", ".join(sorted({Path(path).relative_to(root).parts[0] for path in found.frame.files}))
        said = ", ".join(f"{name} ({count or 'no'} picture{'s' * (count != 1)})" for name, count in found.other.items())
        yield Finding(
            "warning" if any(found.other.values()) else "info",
            "stray-folders",
            f"{root.name} is split by the folders {splits}; what lies beside them was left out: {said}.",
            {"folders": found.other},
            "Remove them, or move their pictures into the folder of a class of a split.",
        )
    if found.doubted:
        names = ", ".join(found.doubted)
        yield Finding(
            "warning",
            "classes-named-as-splits",
            f"Folders of {root.name} were taken for classes, though their names are those of splits: {names}.",
            {"folders": list(found.doubted)},
            "If they are splits, leave only folders of splits in it, and in each one folder a class: "
            "train/<class>/…, test/<class>/….",
        )


def picture_frame(paths: Sequence[str], labels: Sequence[str] | None = None) -> Frame:
    """A frame of picture files: columns "path" and, if given, "label"; each row's file is the picture itself."""
    columns = {"path": strings([Path(path).name for path in paths])}
    if labels is not None:
        columns["label"] = strings(labels)
    size = len(paths)
    columns |= {FILE: integers(np.arange(size, dtype=np.int32)), LINE: integers(np.zeros(size, np.int64))}
    return Frame((pa.record_batch(columns),), tuple(paths))


def pictures_below(path: Path) -> list[str]:
    """All pictures of a folder, however deep, in order."""
    return [str(p) for p in _walk(path) if _is_picture(p.name)]


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def _walk(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(files))
