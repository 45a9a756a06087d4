"""Folders of pictures, one a class, with or without folders of splits above."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ukulele.data.arrays import integers, strings
from ukulele.data.frame import FILE, LINE, Frame
from ukulele.tools.pictures import SUFFIXES

SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})


@dataclass(frozen=True)
class Pictures:
    """Pictures found, their classes and the split folders they lie in, and files that are none of it."""

    frame: Frame
    labels: list[str]
    splits: list[str | None]
    stray: list[str]


def find_pictures(root: Path) -> Pictures:
    """The pictures of `<class>/…` or `<split>/<class>/…`; nothing is decoded."""
    top = [entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    by_split = bool(top) and all(name.lower() in SPLIT_FOLDERS for name in top)
    paths: list[str] = []
    labels: list[str] = []
    splits: list[str | None] = []
    stray: list[str] = []
    for path in _walk(root):
        parts = path.relative_to(root).parts
        depth = 2 if by_split else 1
        if path.suffix.lower() not in SUFFIXES or len(parts) <= depth or parts[-1].startswith("."):
            stray.append(str(path.relative_to(root)))
            continue
        paths.append(str(path))
        splits.append(parts[0] if by_split else None)
        labels.append(parts[depth - 1])
    return Pictures(picture_frame(paths, labels), labels, splits, stray)


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
    return [str(p) for p in _walk(path) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]


def _walk(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(files))
