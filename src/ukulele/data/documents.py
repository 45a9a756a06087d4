"""Plain text as rows: documents, split in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ukulele.data import quarantine
from ukulele.data.options import ReadOptions
from ukulele.data.split_names import split_name
from ukulele.data.store import FORMATS
from ukulele.data.stretches import COLUMN, LOOK, Files, Spans, TextRows, text_of, whole_letters
from ukulele.errors import BadRowsError, DataError, PlanError
from ukulele.types import SPLITS, BadRow, Dataset, Finding, Rows, Split, Target, Where

CHUNK = 1024  # bytes of a row before windows are cut, about: to split by, and to learn a vocabulary from
TRAIN, BOTH = 0.9, 0.95  # of all bytes, in order: training ends, validation ends
TABLES = FORMATS.keys() - {".txt"}
DEFAULTS = ReadOptions()


def is_plain_text(source: Any, options: ReadOptions) -> bool:
    """Whether a source is text to be continued rather than a table: a file or a folder, and no column is named."""
    return options.task == "generate" and not options.target and is_text(source)


def is_text(source: Any) -> bool:
    """Whether a source is a file of text, or a folder of such without a table."""
    if not isinstance(source, str | Path):
        return False
    path = Path(source).expanduser()
    if path.is_file():
        return path.suffix.lower() not in TABLES
    return path.is_dir() and bool(_texts(path)) and not any(p.suffix.lower() in TABLES for p in path.iterdir())


def read_documents(source: Any, options: ReadOptions = DEFAULTS) -> Dataset:
    """Files of plain text, each a document, as a data set.

    A file's name may say its split (train.txt); where none does, the first 90 % of all bytes train and the rest is
    validation and test, half each: later text is asked for what earlier text taught. Files without text are set aside.

    Raises
    ------
    DataError
        If no file holds text, or a split would be without text.
    PlanError
        If an option is given that only tables have a use for.
    """
    refuse_options(options)
    path, found = _found(source)
    notes = [found.note]
    if any(found.splits):
        splits = _given(found, notes)
    else:
        splits = _in_order(np.concatenate(found.chunks))
        notes.append("Split in order: the first 90 % train, the next 5 % are validation, the last 5 % test.")
    for split in SPLITS:
        if not len(splits[split]):
            raise DataError(
                f"{path}: too little text for a {split} split; it has {sum(map(_size, found.chunks)):,} bytes.",
                hint=f"Expected some {20 * CHUNK:,} bytes at least, or files named train.txt, valid.txt and test.txt.",
            )
    return _dataset(path, found, {split: splits[split] for split in SPLITS}, notes)


def read_text(source: Any) -> Dataset:
    """Files of plain text as one split "test"; where their names tell splits, those of the last of them alone.

    Raises
    ------
    DataError
        If none of them holds text.
    """
    path, found = _found(source)
    held = next((split for split in reversed(SPLITS) if split in found.splits), None)
    chunks = [some for some, split in zip(found.chunks, found.splits, strict=True) if split == held]
    notes = [found.note] + ([f"Of {path.name} the {held} split is read."] if held else [])
    return _dataset(path, found, {"test": np.concatenate(chunks)}, notes)


def refuse_options(options: ReadOptions) -> None:
    """Refuse what plain text does not read.

    Raises
    ------
    PlanError
        That names every such option.
    """
    columns = "plain text has no columns"
    wrong = {
        f"--text {' '.join(options.inputs)} (or --prompt): {columns}": bool(options.inputs),
        f"--split {options.split}: {columns}; files named train.txt, valid.txt and test.txt are splits": options.split,
        f"--time {options.time}: {columns}; it is split in its order": options.time,
        f"--group {options.group}: {columns}; it is split in its order": options.group,
        f"--max-bad {options.max_bad}: plain text has no rows": options.max_bad != DEFAULTS.max_bad,
    }
    if any(wrong.values()):
        raise PlanError(
            "these options would change nothing:\n- " + "\n- ".join(said for said, there in wrong.items() if there),
            hint="Leave them out, or give a table (.csv, .tsv, .jsonl, .parquet).",
        )


@dataclass(frozen=True)
class _Found:
    """Files as chunks, the split that each one's name tells, and what is wrong with them."""

    files: Files
    chunks: Sequence[Spans]
    splits: Sequence[Split | None]
    findings: tuple[Finding, ...]
    bad: tuple[BadRow, ...]

    @property
    def note(self) -> str:
        """How much there is."""
        count = len(self.chunks)
        return f"Plain text: {count:,} document{'s' * (count > 1)}, {sum(map(_size, self.chunks)):,} bytes."


def _found(source: Any) -> tuple[Path, _Found]:
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(f"{source}: no such file or folder.", hint=f"Looked in {Path.cwd()}.")
    paths = [path] if path.is_file() else _texts(path)
    if not paths:
        raise DataError(f"{path}: no file of text in this folder.", hint="Expected files that end in .txt.")
    every = Files(tuple(map(str, paths)))
    kept, bad, findings = list[Path](), list[BadRow](), list[Finding]()
    for number, one in enumerate(paths):
        damaged, fault = _looked_through(every, number)
        if fault:
            bad.append(BadRow(Where(str(one)), fault))
            continue
        kept.append(one)
        findings += [_damage(str(one), damaged)] if damaged else []
    if not kept:
        said, hint = f"{bad[0].where}: {bad[0].reason}.", "Expected text in UTF-8."
        if len(bad) == 1:
            raise DataError(said, hint=hint)
        raise BadRowsError(f"{said} None of the other {len(bad) - 1:,} files holds text, either.", hint=hint, bad=bad)
    files = Files(tuple(map(str, kept)))
    splits = [split_name(one.stem) if len(paths) > 1 else None for one in kept]
    chunks = [_chunks(files, number) for number in range(len(kept))]
    findings += quarantine.bad_rows_finding(bad, len(paths), "files")
    return path, _Found(files, chunks, splits, tuple(findings), tuple(bad))


def _dataset(path: Path, found: _Found, splits: Mapping[Split, Spans], notes: Sequence[str]) -> Dataset:
    rows: dict[Split, Rows] = {split: TextRows(found.files, spans) for split, spans in splits.items()}
    target = Target(COLUMN, "generate", free=True)
    return Dataset(path.resolve().stem, "text", (COLUMN,), (target,), rows, tuple(notes), found.findings, found.bad)


def _texts(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*.txt") if path.is_file()]
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


def _size(spans: Spans) -> int:
    return int((spans[:, 2] - spans[:, 1]).sum())


def _looked_through(files: Files, number: int) -> tuple[int, str]:
    """In how many places a file is damaged, and why it is no text; "" where it is one."""
    content = files.content(number)
    damaged, blank, at = 0, True, 0
    while at < len(content):
        stop = whole_letters(content, min(len(content), at + LOOK))
        text = text_of(files, number, at, stop)
        if "\0" in text:
            return 0, "this is no text: it holds zero bytes"
        damaged, blank, at = damaged + text.count("\ufffd"), blank and not text.strip(), stop
    return damaged, "the file is empty" if blank else ""


def _damage(name: str, places: int) -> Finding:
    return Finding(
        "warning",
        "damaged-text",
        f"{name} is not UTF-8 in {places:,} places; they are read as the sign for what is unknown.",
        {"file": name, "places": places},
        "Write the file anew in UTF-8.",
    )


def _chunks(files: Files, number: int) -> Spans:
    """A file in stretches of whole lines, of about `CHUNK` bytes; a line is cut where it is far longer."""
    content = files.content(number)
    breaks = np.flatnonzero(content == ord("\n")) + 1
    edges, at = [0], 0
    while at + CHUNK < len(content):
        near = int(np.searchsorted(breaks, at + CHUNK))
        at = int(breaks[near]) if near < len(breaks) else len(content)
        if at - edges[-1] > 4 * CHUNK:
            at = whole_letters(content, edges[-1] + CHUNK)
        edges.append(at)
    if edges[-1] < len(content):
        edges.append(len(content))
    bounds = np.array(edges, np.int64)
    lines = 1 + np.searchsorted(breaks, bounds[:-1], "right")
    last = np.zeros(len(lines), np.int64)
    last[-1] = 1
    return np.stack([np.full(len(lines), number), bounds[:-1], bounds[1:], last, lines], 1)


def _in_order(spans: Spans) -> dict[Split, Spans]:
    ends = np.cumsum(spans[:, 2] - spans[:, 1])
    first, second = (int(np.searchsorted(ends, share * ends[-1])) for share in (TRAIN, BOTH))
    return {"train": spans[:first], "validation": spans[first:second], "test": spans[second:]}


def _given(found: _Found, notes: list[str]) -> dict[Split, Spans]:
    """By the files' names; a validation or test split that is missing is the end of what trains."""
    pairs = list(zip(found.chunks, found.splits, strict=True))
    left = [Path(name).name for name, split in zip(found.files.names, found.splits, strict=True) if split is None]
    if left:
        notes.append(f"Not read, for their names are no splits: {', '.join(left)}.")
    empty = np.zeros((0, 5), np.int64)
    splits: dict[Split, Spans] = {
        split: np.concatenate([empty, *(chunks for chunks, name in pairs if name == split)]) for split in SPLITS
    }
    for split in ("validation", "test"):
        if not len(splits[split]) and len(splits["train"]):
            parts = _in_order(splits["train"])
            splits[split] = np.concatenate([parts["validation"], parts["test"]])
            splits["train"] = parts["train"]
            notes.append(f"There is no {split} file: it is the last 10 % of what trains.")
    return splits
