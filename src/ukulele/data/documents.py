"""Plain text as rows: documents, split in their order, and cut into windows of as many tokens as a model takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ukulele.data.delimited import encoding
from ukulele.data.options import ReadOptions
from ukulele.data.split_names import split_name
from ukulele.data.store import FORMATS
from ukulele.errors import DataError, InternalError
from ukulele.types import SPLITS, Dataset, Finding, GoesOn, Row, Rows, Split, Target, Where

Spans = NDArray[np.int64]  # a row each: file, first byte, byte behind the last, 1 where the document ends, first line
Cut = Callable[[str], Sequence[tuple[int, int]]]  # a text to spans of characters, each a window
COLUMN = "text"
CHUNK = 1024  # bytes of a row before windows are cut, about: to split by, and to learn a vocabulary from
BLOCK = 1 << 16  # bytes that are cut at a time
LOOK = 1 << 20  # bytes that are looked through at a time
TRAIN, BOTH = 0.9, 0.95  # of all bytes, in order: training ends, validation ends
TABLES = FORMATS.keys() - {".txt"}


def is_plain_text(source: Any, options: ReadOptions) -> bool:
    """Whether a source is text to be continued rather than a table: a file or a folder, and no column is named."""
    if options.task != "generate" or options.target or not isinstance(source, str | Path):
        return False
    path = Path(source).expanduser()
    if path.is_file():
        return path.suffix.lower() not in TABLES
    return path.is_dir() and bool(_texts(path)) and not any(p.suffix.lower() in TABLES for p in path.iterdir())


def read_documents(source: Any) -> Dataset:
    """Files of plain text, each a document, as a data set.

    A file's name may say its split (train.txt); where none does, the first 90 % of all bytes train and the rest is
    validation and test, half each: later text is asked for what earlier text taught.

    Raises
    ------
    DataError
        If a file is empty or no text, or a split would be without text.
    """
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
        If there is none, or a file is empty or no text.
    """
    path, found = _found(source)
    held = next((split for split in reversed(SPLITS) if split in found.splits), None)
    chunks = [some for some, split in zip(found.chunks, found.splits, strict=True) if split == held]
    notes = [found.note] + ([f"Of {path.name} the {held} split is read."] if held else [])
    return _dataset(path, found, {"test": np.concatenate(chunks)}, notes)


@dataclass(frozen=True)
class _Found:
    """Files as chunks, the split that each one's name tells, and what is wrong with them."""

    files: Files
    chunks: Sequence[Spans]
    splits: Sequence[Split | None]
    findings: tuple[Finding, ...]

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
    files = Files(tuple(map(str, paths)))
    numbers = range(len(paths))
    findings = tuple(finding for number in numbers for finding in _damage(files, number))
    splits = [split_name(one.stem) if len(paths) > 1 else None for one in paths]
    return path, _Found(files, [_chunks(files, number) for number in numbers], splits, findings)


def _dataset(path: Path, found: _Found, splits: Mapping[Split, Spans], notes: Sequence[str]) -> Dataset:
    rows: dict[Split, Rows] = {split: TextRows(found.files, spans) for split, spans in splits.items()}
    target = Target(COLUMN, "generate", free=True)
    return Dataset(path.resolve().stem, "text", (COLUMN,), (target,), rows, tuple(notes), found.findings)


def windows(dataset: Dataset, cut: Cut, tokens: int) -> Dataset:
    """The same text in rows of at most `tokens` tokens, as many in each as go in; `cut` knows how many that are."""
    found = {split: _windowed(rows, cut) for split, rows in dataset.splits.items() if isinstance(rows, TextRows)}
    counts = ", ".join(f"{len(rows):,} {split}" for split, rows in found.items())
    note = f"Windows of at most {tokens} tokens: {counts}."
    return replace(dataset, splits=found, notes=(*dataset.notes, note))


def replayed(dataset: Dataset, other: Dataset, share: float, seed: int) -> Dataset:
    """Plain text with windows of another among those that train: `share` for each of its own, drawn by `seed`."""
    ours, theirs = dataset.splits["train"], other.splits["train"]
    if not isinstance(ours, TextRows) or not isinstance(theirs, TextRows):
        raise InternalError("only plain text can be replayed")
    count = min(len(theirs), round(share * len(ours)))
    picked = np.sort(np.random.default_rng(seed).choice(len(theirs), count, replace=False))
    spans = theirs.spans[picked] + np.array([len(ours.files.names), 0, 0, 0, 0])
    files = Files((*ours.files.names, *theirs.files.names))
    rows = TextRows(files, np.concatenate([ours.spans, spans]))
    note = f"Replay: {count:,} windows of {other.name} train, too, beside {len(ours):,} of {dataset.name}."
    return replace(dataset, splits={**dataset.splits, "train": rows}, notes=(*dataset.notes, note))


@dataclass(frozen=True)
class Files:
    """Files of text, as UTF-8."""

    names: tuple[str, ...]

    @cached_property
    def _held(self) -> dict[int, Any]:
        return {}

    def content(self, number: int) -> Any:
        """A file's bytes: mapped where they are UTF-8 already."""
        if number not in self._held:
            path = Path(self.names[number])
            codec = encoding(path)
            mapped = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
            if codec == "utf-8-sig":
                mapped = mapped[3:]
            elif codec != "utf-8":
                text = path.read_bytes().decode(codec, "replace")
                mapped = np.frombuffer(text.encode(), np.uint8)
            self._held[number] = mapped
        return self._held[number]

    def text(self, number: int, begin: int, end: int) -> str:
        """Some bytes of a file as text."""
        found: bytes = self.content(number)[begin:end].tobytes()
        return found.decode("utf-8", "replace")


@dataclass(frozen=True)
class TextRows:
    """Stretches of documents as rows: nothing is asked, the text itself is the answer. Read when touched."""

    files: Files
    spans: Spans

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> Row:
        file, begin, end, last, line = self.spans[range(len(self))[index]].tolist()
        text = self.files.text(file, begin, end)
        return Row(("",), {COLUMN: text if last else GoesOn(text)}, Where(self.files.names[file], line))

    def __iter__(self) -> Iterator[Row]:
        return (self[at] for at in range(len(self)))

    @property
    def groups(self) -> None:
        """None: each is by itself."""
        return None

    def take(self, indices: Sequence[int]) -> TextRows:
        """The rows at `indices`, in that order."""
        return replace(self, spans=self.spans[np.asarray(indices, np.int64)])

    def column(self, name: str) -> list[Any]:
        """The text of every row.

        Raises
        ------
        DataError
            If another column is asked for: plain text has none.
        """
        if name != COLUMN:
            raise DataError(f"{self.files.names[0]}: plain text has no column {name!r}.")
        return [row.targets[COLUMN] for row in self]


def _texts(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*.txt") if path.is_file()]
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


def _size(spans: Spans) -> int:
    return int((spans[:, 2] - spans[:, 1]).sum())


def _damage(files: Files, number: int) -> Iterator[Finding]:
    """What is wrong with a file, one finding; nothing in it at all is an error."""
    content, name = files.content(number), files.names[number]
    damaged, blank, at = 0, True, 0
    while at < len(content):
        stop = _whole_letters(content, min(len(content), at + LOOK))
        text = files.text(number, at, stop)
        if "\0" in text:
            raise DataError(f"{name}: this is no text: it holds zero bytes.", hint="Expected a file of text in UTF-8.")
        damaged, blank, at = damaged + text.count("\ufffd"), blank and not text.strip(), stop
    if blank:
        raise DataError(f"{name}: the file is empty.", hint="Expected text.")
    if damaged:
        yield Finding(
            "warning",
            "damaged-text",
            f"{name} is not UTF-8 in {damaged:,} places; they are read as the sign for what is unknown.",
            {"file": name, "places": damaged},
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
            at = _whole_letters(content, edges[-1] + CHUNK)
        edges.append(at)
    if edges[-1] < len(content):
        edges.append(len(content))
    bounds = np.array(edges, np.int64)
    lines = 1 + np.searchsorted(breaks, bounds[:-1], "right")
    last = np.zeros(len(lines), np.int64)
    last[-1] = 1
    return np.stack([np.full(len(lines), number), bounds[:-1], bounds[1:], last, lines], 1)


def _whole_letters(content: Any, at: int) -> int:
    """The first place from `at` on where no letter is cut."""
    while at < len(content) and (int(content[at]) & 0xC0) == 0x80:
        at += 1
    return at


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


def _windowed(rows: TextRows, cut: Cut) -> TextRows:
    found: list[tuple[int, int, int, int, int]] = []
    for file, begin, end, last, first in _stretches(rows.spans):
        at, line = begin, first
        for piece, more in _pieces(rows.files, file, begin, end, cut):
            size = len(piece.encode("utf-8", "surrogatepass"))
            found.append((file, at, at + size, int(bool(last) and not more), line))
            line += piece.count("\n")
            at += size
    return replace(rows, spans=np.array(found, np.int64).reshape(-1, 5))


def _stretches(spans: Spans) -> Iterator[tuple[int, int, int, int, int]]:
    """Chunks that follow each other in a document, as one."""
    held: list[int] | None = None
    for file, begin, end, last, line in spans.tolist():
        if held is not None and held[0] == file and held[2] == begin and not held[3]:
            held[2], held[3] = end, last
            continue
        if held is not None:
            yield held[0], held[1], held[2], held[3], held[4]
        held = [file, begin, end, last, line]
    if held is not None:
        yield held[0], held[1], held[2], held[3], held[4]


def _pieces(files: Files, file: int, begin: int, end: int, cut: Cut) -> Iterator[tuple[str, bool]]:
    """The windows of a stretch, and whether it goes on behind each: a block at a time, what is left over goes on."""
    content, rest, at = files.content(file), "", begin
    while at < end:
        stop = min(end, _whole_letters(content, at + BLOCK))
        rest, at = rest + files.text(file, at, stop), stop
        found = list(cut(rest))
        for first, second in found if at == end else found[:-1]:
            yield rest[first:second], at < end or second < len(rest)
        rest = rest[found[-1][0] :] if found else ""
