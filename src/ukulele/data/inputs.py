"""Inputs without targets: what a trained model is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ukulele.data.columnar import read_list, read_records
from ukulele.data.folders import picture_frame, pictures_below
from ukulele.data.frame import Frame
from ukulele.data.sources import Loaded, load
from ukulele.data.store import FORMATS, store
from ukulele.errors import DataError


def load_inputs(source: Any, columns: Sequence[str], modality: str, cache: Path | None) -> Loaded:
    """A table, a folder, a picture, or a list of texts, pairs, pictures, dicts or paths."""
    if modality == "image":
        if isinstance(source, str | Path) and Path(source).suffix.lower() not in FORMATS:
            source = [source]
        if isinstance(source, list | tuple) and source and all(isinstance(item, str | Path) for item in source):
            return _picture_files([Path(item).expanduser() for item in source], columns)
        if isinstance(source, list | tuple):
            source = [_content(item) if isinstance(item, str | Path) else item for item in source]
    if not isinstance(source, list | tuple):
        return load(source, cache)
    if not source:
        raise DataError("there is nothing to predict: the list is empty.")
    if all(isinstance(item, Mapping) for item in source):
        return _memory(read_list(source))
    return _memory(read_records([_record(item, columns, at) for at, item in enumerate(source, 1)]))


def _memory(reader: Any) -> Loaded:
    stored = store(lambda: [reader], ("<list>",), None, None)
    return Loaded("list", stored.frame)


def _content(picture: str | Path) -> bytes:
    """A picture that stands among others that are in memory."""
    try:
        return Path(picture).expanduser().read_bytes()
    except OSError as error:
        raise DataError(f"{picture}: cannot be read ({error.strerror or error}).") from error


def _record(item: Any, columns: Sequence[str], at: int) -> dict[str, Any]:
    from ukulele.data.columnar import as_cell

    cells = tuple(item) if isinstance(item, tuple | list) else (item,)
    if len(cells) != len(columns):
        takes = "two texts" if len(columns) == 2 else "one input"
        raise DataError(
            f"item {at} of the list has {len(cells)} inputs; the model takes {takes} a row ({', '.join(columns)}).",
            hint="Give a pair as a tuple: (text, text)." if len(columns) == 2 else "Give each row as one item.",
        )
    return {name: as_cell(cell) for name, cell in zip(columns, cells, strict=True)}


def _picture_files(paths: Sequence[Path], columns: Sequence[str]) -> Loaded:
    found: list[str] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder.")
        found += pictures_below(path) if path.is_dir() else [str(path)]
    if not found:
        raise DataError(f"{paths[0]}: no pictures in this folder.")
    frame = picture_frame(found)
    renamed = [batch.rename_columns([columns[0], *batch.schema.names[1:]]) for batch in frame.batches]
    return Loaded("pictures", Frame(tuple(renamed), frame.files))
