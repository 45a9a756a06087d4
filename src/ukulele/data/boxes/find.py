"""Which format a folder or file is in, and its pictures and boxes as a table."""

from __future__ import annotations

from pathlib import Path

from ukulele.data.boxes import coco, voc, yolo
from ukulele.data.boxes.gather import Boxed, gather
from ukulele.data.boxes.yolo import is_data_yaml

__all__ = ["is_data_yaml", "read_boxes"]


def read_boxes(path: Path) -> Boxed | None:
    """The pictures and boxes of a folder, a data.yaml or a COCO file; None where it holds none of these.

    Raises
    ------
    DataError
        If it does, and cannot be read.
    """
    if path.is_file():
        if is_data_yaml(path):
            return gather(yolo.read(path), path.resolve().parent.name)
        return gather(coco.read(path.parent, [path]), path.stem) if coco.is_coco(path) else None
    name = path.resolve().name
    if files := coco.find(path):
        return gather(coco.read(path, files), name)
    if source := yolo.find(path):
        return gather(yolo.read(source), name)
    if annotations := voc.find(path):
        return gather(voc.read(path, annotations), name)
    return gather(yolo.read(path), name) if yolo.is_flat(path) else None
