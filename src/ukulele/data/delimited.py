"""CSV and TSV, line by line, so that every fault has its line."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ukulele.data.arrays import integers, strings
from ukulele.data.frame import BATCH
from ukulele.data.headers import own_names
from ukulele.data.quotes import Rows, rows_of
from ukulele.data.reader import Batch, Reader
from ukulele.errors import DataError
from ukulele.tools.encodings import encoding
from ukulele.types import BadRow, Finding, Where

DELIMITERS = ",\t;|"
RESTARTS = 200
SHOWN = 200  # characters of a bad row that are kept
ENCODED, SHOWN_LINES = 500, 5  # lines beyond ASCII that are looked at, and shown
FOREIGN = re.compile(r"[^\x00-\x7f]{3}")  # letters of another alphabet stand together, accents and quotes hardly do
STRANGE = 0.2  # share of such lines, of those beyond ASCII, from which another encoding is likely


@dataclass(frozen=True)
class Layout:
    """How a file is written: encoding, delimiter, quoting, header and where it ends, and how its rows look."""

    codec: str
    dialect: dict[str, Any]
    header: tuple[str, ...]
    body: int  # lines up to the end of the header
    rows: Rows
    findings: tuple[Finding, ...] = field(default=())


def read_delimited(path: Path) -> Reader:
    """A CSV or TSV file whose first row names the columns.

    Raises
    ------
    DataError
        If the file is empty or cannot be decoded.
    """
    layout = _layout(path)
    return Reader({name: pa.string() for name in layout.header}, partial(_batches, path, layout), layout.findings)


def _layout(path: Path) -> Layout:
    codec = encoding(path)
    with path.open(encoding=codec, errors="surrogateescape", newline="") as file, _long_fields(), _translated(path):
        sample = list(islice(file, 200))
        dialect = _dialect(path, sample)
        reader = csv.reader(sample, **dialect)
        header = next((record for record in reader if any(cell.strip() for cell in record)), None)
        rows = rows_of(sample[reader.line_num :], len(header or ()), dialect)
    if header is None:
        raise DataError(f"{path}: the file is empty.", hint="Expected a header row and rows below it.")
    cells = [cell.encode("utf-8", "replace").decode().strip() for cell in header]
    names, findings = own_names(path.name, cells)
    if codec not in ("utf-8", "utf-8-sig"):
        findings = (*findings, _other_encoding(path, codec))
    return Layout(codec, dialect, names, reader.line_num, rows, findings)


def _other_encoding(path: Path, codec: str) -> Finding:
    """That a file is not UTF-8; a warning where it can hardly be Windows-1252 either."""
    message = f"{path.name} is not UTF-8; it was read as {codec}."
    evidence: dict[str, Any] = {"file": str(path), "encoding": codec}
    if codec == "cp1252":
        lines = list(islice(_foreign_lines(path), ENCODED))
        runs = [bool(FOREIGN.search(line)) for _, line in lines]
        if sum(runs) > STRANGE * len(runs):
            at, line = lines[0]
            shown = _shown(line)[:80]
            message = (
                f"{path.name} is not UTF-8. It was read as Windows-1252, which is for western European languages, but "
                f"in {sum(runs)} of {len(runs)} such lines letters came out foreign, as in {path}:{at}: {shown}"
            )
            evidence["examples"] = [{"row": f"{path}:{at}", "input": _shown(line)} for at, line in lines[:SHOWN_LINES]]
            advice = "Save the file as UTF-8: for example `iconv -f SHIFT_JIS -t UTF-8`, with the encoding it has."
            return Finding("warning", "other-encoding", message, evidence, advice)
    return Finding("info", "other-encoding", message, evidence, "If names or accents look wrong, save it as UTF-8.")


def _foreign_lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for at, line in enumerate(file, 1):
            if not line.isascii():
                yield at, line.decode("cp1252", "surrogateescape")


def _dialect(path: Path, sample: list[str]) -> dict[str, Any]:
    """The delimiter that cuts most rows of the sample into as many cells as the header."""
    choices = "\t" if path.suffix.lower() == ".tsv" else DELIMITERS
    best, most = choices[0], (0.0, 0)
    for delimiter in choices:
        records = [record for record in csv.reader(sample, delimiter=delimiter) if record]
        width = len(records[0]) if records else 1
        score = (sum(len(record) == width for record in records) / max(len(records), 1), width)
        if width > 1 and score[0] > most[0] + 1e-9:
            best, most = delimiter, score
    plain = best == "\t" and _bare_quotes(sample)
    return {"delimiter": best, "quoting": csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL}


def _bare_quotes(sample: list[str]) -> bool:
    """Whether quotes are ordinary characters: every line is whole, yet a cell opens a quote and leaves it open."""
    rows = [line.rstrip("\r\n").split("\t") for line in sample if line.strip()]
    if len({len(row) for row in rows}) != 1:
        return False
    return any(cell.startswith('"') and (len(cell) == 1 or not cell.endswith('"')) for row in rows for cell in row)


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as rows of cells ({error}).", hint="Save it as CSV in UTF-8."
        ) from error


class _Tape:
    """Lines on their way to the csv reader: remembers those of the present record, and whether the file is over."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.held: list[str] = []
        self.over = False
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        held = None
        for line in self._lines:
            if held is not None:
                self.held.append(held)
                yield held
            held = line
        self.over = True
        if held is not None:
            self.held.append(held)
            yield held


def _batches(path: Path, layout: Layout, bad: list[BadRow]) -> Iterator[Batch]:
    rows = _rows(path, layout, bad)
    while chunk := list(islice(rows, BATCH)):
        try:
            yield _batch(layout, chunk)
        except UnicodeEncodeError:
            good = [row for row in chunk if _readable(path, row, layout, bad)]
            if good:
                yield _batch(layout, good)


def _batch(layout: Layout, rows: list[tuple[int, list[str]]]) -> Batch:
    columns = zip(*(record for _, record in rows), strict=True)
    arrays = {name: strings(cells) for name, cells in zip(layout.header, columns, strict=True)}
    return Batch(arrays, integers(np.array([line for line, _ in rows])))


def _rows(path: Path, layout: Layout, bad: list[BadRow]) -> Iterator[tuple[int, list[str]]]:
    """Rows of the right width with their first lines. Behind a stray quote, reading starts again at the next line."""
    start: int | None = layout.body
    for restart in range(RESTARTS + 1):
        if start is None:
            return
        start = yield from _stretch(path, layout, start, bad)
        if start is not None and restart == RESTARTS:
            raise DataError(
                f"{path}:{start}: more than {RESTARTS} quotes are opened and never closed.",
                hint="Double quotes inside a quoted cell must be doubled.",
            )


def _stretch(
    path: Path, layout: Layout, start: int, bad: list[BadRow]
) -> Generator[tuple[int, list[str]], None, int | None]:
    width, line = len(layout.header), start
    with (
        path.open(encoding=layout.codec, errors="surrogateescape", newline="") as file,
        _long_fields(),
        _translated(path),
    ):
        tape = _Tape(islice(file, start, None))
        reader = csv.reader(tape, **layout.dialect)
        for record in reader:
            first, line = line + 1, start + reader.line_num
            if line > first:
                raw = "".join(tape.held)
                if len(record) != width or (tape.over and raw.count('"') % 2):
                    reason = "a quote is opened in this line and the cells behind it do not fit"
                    bad.append(BadRow(Where(str(path), first), reason, _shown(tape.held[0])))
                    return first
                if layout.rows.run_together(tape.held):
                    reason = f"a quote is opened in this line and closed in line {line}, in another row"
                    bad.append(BadRow(Where(str(path), first), reason, _shown(tape.held[0])))
                    return first
            if len(record) == width:
                yield first, record
            elif record:
                reason = f"{len(record)} cells where the header has {width}"
                bad.append(BadRow(Where(str(path), first), reason, _shown(tape.held[0])))
            tape.held.clear()
    return None


def _readable(path: Path, row: tuple[int, list[str]], layout: Layout, bad: list[BadRow]) -> bool:
    """Whether a row could be decoded; undecodable bytes were kept as lone surrogates."""
    line, record = row
    content = layout.dialect["delimiter"].join(record)
    if not any("\ud800" <= character <= "\udfff" for character in content):
        return True
    bad.append(BadRow(Where(str(path), line), "not UTF-8", _shown(content)))
    return False


def _shown(content: str) -> str:
    return content.rstrip("\r\n")[:SHOWN].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
