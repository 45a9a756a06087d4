"""From whatever the user names to one frame: a file, a folder, a data set of the hub, a DataFrame, a list."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ukulele.data import parallel
from ukulele.data.beside import passed_over, refuse_unsorted
from ukulele.data.boxes import Boxed, read_boxes
from ukulele.data.columnar import read_dataframe, read_list
from ukulele.data.folders import Pictures, find_pictures, folder_findings
from ukulele.data.frame import FILE, Frame
from ukulele.data.split_names import split_name
from ukulele.data.store import FORMATS, store, store_files
from ukulele.errors import DataError
from ukulele.types import SPLITS, BadRow, Finding, Split

LISTED = 8  # names of a folder that an error shows
LEFT_OUT = -2  # in the place of a split
TABLES = FORMATS.keys() - {".txt"}  # in a folder, where a .txt is more often a note


@dataclass(frozen=True)
class Loaded:
    """A source as a frame; `given` is the split of each row as its place in SPLITS (-1: none, -2: left out)."""

    name: str
    frame: Frame
    given: NDArray[np.int8] | None = None
    bad: tuple[BadRow, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    pictures: bool = False  # files of pictures: column "path", and "label" or "objects"
    boxed: Boxed | None = None  # "objects": pictures with boxes


def load(source: Any, cache: Path | None) -> Loaded:
    """Read any source.

    Raises
    ------
    DataError
        If there is no such file, or it cannot be read.
    """
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        boxed = read_boxes(path) if path.exists() else None
        if boxed is not None:
            return _boxes(boxed)
        if path.is_file():
            return _file(path, cache)
        if path.is_dir():
            return _folder(path, cache)
        return _hub(str(source), path, cache)
    module = type(source).__module__.partition(".")[0]
    if module == "pandas":
        return _memory(read_dataframe(source), "DataFrame")
    if module == "datasets":
        from ukulele.data.hub import readers_of

        return _splits_of(readers_of(source), "datasets", None, None)
    if isinstance(source, list | tuple):
        if not source:
            raise DataError("the list is empty.", hint="Expected rows such as (text, label).")
        return _memory(read_list(source), "list")
    raise DataError(
        f"cannot read rows from {type(source).__name__}.",
        hint="Expected a path, a DataFrame, or a list of (text, label) or of dicts.",
    )


def _memory(reader: Any, name: str) -> Loaded:
    stored = store(lambda: [reader], (f"<{name}>",), None, None)
    return Loaded("data", stored.frame, bad=stored.bad, findings=stored.findings)


def _file(path: Path, cache: Path | None) -> Loaded:
    stored = store_files([path], cache)
    return Loaded(path.stem, stored.frame, None, stored.bad, (), stored.findings)


def _folder(path: Path, cache: Path | None) -> Loaded:
    if any((path / name).exists() for name in ("dataset_dict.json", "dataset_info.json")):
        from ukulele.data.hub import load_saved

        return _splits_of(load_saved(path), path.name, str(path.resolve()), cache)
    found = find_pictures(path)
    tables = sorted(p for p in path.iterdir() if p.suffix.lower() in TABLES and not p.name.startswith("."))
    named = [p for p in tables if split_name(p.stem)]
    tabular = named or (tables if len(tables) == 1 else [])
    if len(set(found.labels)) > 1 or (found.labels and not tabular):
        return _pictures(path, found, tables)
    if not tabular and (pairs := parallel.find(path)):
        return _parallel(path, pairs, cache)
    if not tabular:
        refuse_unsorted(path, found, tables)
        listed = ", ".join(p.name for p in sorted(path.iterdir())[:6]) or "nothing"
        raise DataError(
            f"{path}: no data set found in this folder; it holds {listed}.",
            hint="Expected train.csv and test.csv (or .tsv, .jsonl, .parquet), or one folder of pictures a class.",
        )
    stored = store_files(tabular, cache)
    left = [p.name for p in tables if p not in tabular]
    notes = [f"Files of {path.name}: {', '.join(p.name for p in tabular)}."]
    notes += [f"Not read, for their names are no splits: {', '.join(left)}."] * bool(left)
    splits = [split_name(p.stem) for p in tabular]
    given = _given(stored.frame, splits) if any(splits) else None
    findings = (*stored.findings, *_without_rows(stored.frame))
    return Loaded(path.resolve().name, stored.frame, given, stored.bad, tuple(notes), findings)


def _parallel(path: Path, found: Mapping[str, parallel.Sides], cache: Path | None) -> Loaded:
    named = {stem: sides for stem, sides in found.items() if split_name(stem)}
    for stem, both in named.items():
        if len(both) == 1:
            ((ending, file),) = both.items()
            others = {one for languages in found.values() for one in languages} - {ending}
            wanted = " or ".join(f"{stem}.{other}" for other in sorted(others))
            raise DataError(
                f"{file} is alone: a file with the same lines in another language was expected beside it.",
                hint=f"Add {wanted}, or move {file.name} elsewhere.",
            )
    named = named or {stem: sides for stem, sides in found.items() if len(sides) > 1}
    if len(named) > 1 and not any(split_name(stem) for stem in named):
        raise DataError(
            f"{path}: which of {', '.join(named)} trains?", hint="Expected names such as train, val and test."
        )
    stamps = [
        (str(one.resolve()), str(one), one.stat().st_size, one.stat().st_mtime_ns)
        for both in named.values()
        for one in both.values()
    ]
    sides = list(named.values())
    files = tuple(map(parallel.name_of, sides))
    stored = store(lambda: [parallel.read_parallel(one) for one in sides], files, ["parallel", stamps], cache)
    splits = [split_name(stem) for stem in named]
    notes = [f"Parallel files of {path.name}: {', '.join(Path(file).name for file in files)}."]
    left = [file.name for stem, both in found.items() if stem not in named for file in both.values()]
    notes += [f"Not read: {', '.join(left)}."] * bool(left)
    given = _given(stored.frame, splits) if any(splits) else None
    return Loaded(path.resolve().name, stored.frame, given, stored.bad, tuple(notes), stored.findings)


def _without_rows(frame: Frame) -> Iterator[Finding]:
    """Files of several that hold no row that can be read: their splits are missing."""
    if not len(frame):  # an error, said elsewhere
        return
    counts = np.bincount(frame.whole(FILE), minlength=len(frame.files))
    for file, count in zip(frame.files, counts, strict=True):
        if not count:
            split = split_name(Path(file).stem)
            yield Finding(
                "warning",
                "file-without-rows",
                f"{file} has no rows{'' if split is None else f', so there is no {split} split in it'}.",
                {"file": file, "split": split},
                "Fill it or remove it; a split that is missing is made from the other rows.",
            )


def _given(frame: Frame, splits: Sequence[Split | None], other: int = -1) -> NDArray[np.int8]:
    codes = np.array([other if split is None else SPLITS.index(split) for split in splits], np.int8)
    return codes[frame.whole(FILE)] if len(frame) else np.zeros(0, np.int8)


def _boxes(found: Boxed) -> Loaded:
    return Loaded(
        found.name, found.frame, found.given, found.bad, found.notes, found.findings, pictures=True, boxed=found
    )


def _pictures(path: Path, found: Pictures, tables: Sequence[Path]) -> Loaded:
    findings = (*folder_findings(path, found), *passed_over(path, found, tables))
    given = np.array([-1 if s is None else SPLITS.index(s) for s in found.splits], np.int8)
    splits = given if any(found.splits) else None
    return Loaded(path.resolve().name, found.frame, splits, (), (), findings, pictures=True)


def _splits_of(readers: Any, name: str, key: str | None, cache: Path | None) -> Loaded:
    """Data sets of the `datasets` library: readers by split name, and a fingerprint."""
    by_name, fingerprint = readers
    stored = store(lambda: list(by_name.values()), tuple(f"{name}[{s}]" for s in by_name), [key, fingerprint], cache)
    splits = [split_name(split) for split in by_name]
    if not any(splits):
        return Loaded(name, stored.frame, None, stored.bad, (), stored.findings)
    rows = np.bincount(stored.frame.whole(FILE), minlength=len(splits)) if len(stored.frame) else [0] * len(splits)
    left = [f"{of} ({n:,} rows)" for of, split, n in zip(by_name, splits, rows, strict=True) if split is None]
    notes = (f"Not read: {', '.join(left)}.",) if left else ()
    given = _given(stored.frame, splits, other=LEFT_OUT) if len(by_name) > 1 or "test" in by_name else None
    return Loaded(name, stored.frame, given, stored.bad, notes, (*stored.findings, *_without_rows(stored.frame)))


def _hub(source: str, path: Path, cache: Path | None) -> Loaded:
    folder = path.parent
    near = difflib.get_close_matches(path.name, [p.name for p in folder.iterdir()], 3) if folder.is_dir() else []
    is_id = re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", source) and path.suffix.lower() not in FORMATS
    if is_id and not near and ("/" not in source or not folder.is_dir()):
        from ukulele.data.hub import load_hub

        return _splits_of(load_hub(source, nearby(path)), source, source, cache)
    raise DataError(f"{source}: no such file or folder.", hint=nearby(path))


def nearby(path: Path) -> str:
    """What a path that leads nowhere may have meant: what is called much the same, or all that lies there."""
    missing = path
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    try:
        there = sorted(p.name for p in missing.parent.iterdir() if not p.name.startswith("."))
    except OSError:
        return "Check the path."
    near = difflib.get_close_matches(missing.name, there, 3)
    if near:
        return f"Did you mean {' or '.join(str(missing.parent / name) for name in near)}?"
    listed = ", ".join(there[:LISTED]) + (f" and {len(there) - LISTED} more" if len(there) > LISTED else "")
    return f"Check the path: {missing.parent.resolve()} holds {listed or 'nothing'}."
