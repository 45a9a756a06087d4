"""JSON lines and JSON arrays of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from ukulele.data.arrays import integers
from ukulele.data.frame import BATCH, BYTES
from ukulele.data.plain import cells, columns_of
from ukulele.data.reader import Batch, Reader
from ukulele.errors import DataError
from ukulele.types import BadRow, Where

Numbered: TypeAlias = list[tuple[int, Mapping[str, Any]]]
Records: TypeAlias = Iterator[tuple[int, Mapping[str, Any]]]


def read_json_lines(path: Path) -> Reader:
    """One JSON object a line. Lines that are none are set aside.

    Raises
    ------
    DataError
        If no line holds an object.
    """
    fields: dict[str, pa.DataType] = {}
    records = _lines(path, [])
    for chunk in _chunks(records):
        for name, kind in columns_of([record for _, record in chunk]).items():
            fields[name] = kind if kind != pa.string() else fields.get(name, kind)
    if not fields:
        raise DataError(
            f"{path}: no line holds a JSON object.", hint='Expected lines such as {"text": "…", "label": "…"}.'
        )
    return Reader(fields, lambda bad: _batches(_lines(path, bad), fields))


def read_json(path: Path) -> Reader:
    """A JSON array of objects, read whole; a row's line is its number in the array.

    Raises
    ------
    DataError
        If the file holds something else.
    """
    try:
        records = json.loads(path.read_bytes())
    except ValueError as error:
        if b"\n{" in path.read_bytes()[:1_000_000]:
            return read_json_lines(path)
        raise DataError(f"{path}: not JSON ({error}).") from error
    if isinstance(records, dict):
        return read_json_lines(path)
    if not isinstance(records, list) or not any(isinstance(record, dict) for record in records):
        raise DataError(f"{path}: expected an array of objects.", hint='Such as [{"text": "…", "label": "…"}, …].')
    good: Numbered = [(at, record) for at, record in enumerate(records, 1) if isinstance(record, dict)]
    faults = [
        BadRow(Where(str(path), at), "not a JSON object", json.dumps(record)[:200])
        for at, record in enumerate(records, 1)
        if not isinstance(record, dict)
    ]
    return Reader(columns_of([record for _, record in good]), partial(_whole, good, faults))


def _whole(good: Numbered, faults: list[BadRow], bad: list[BadRow]) -> Iterator[Batch]:
    bad.extend(faults)
    return _batches(iter(good), columns_of([record for _, record in good]))


def _lines(path: Path, bad: list[BadRow]) -> Records:
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            line = raw.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else raw
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except UnicodeDecodeError:
                record, reason = None, "not UTF-8"
            except (ValueError, RecursionError) as error:
                record, reason = None, f"not JSON ({error})"
            else:
                reason = "not a JSON object"
            if isinstance(record, dict):
                yield number, record
            else:
                bad.append(BadRow(Where(str(path), number), reason, raw.decode(errors="replace").strip()[:200]))


def _chunks(records: Records) -> Iterator[Numbered]:
    """Some records at a time: at most `BATCH`, whose texts are about `BYTES` together."""
    held, size = Numbered(), 0
    for number, record in records:
        held.append((number, record))
        size += sum(len(cell) for cell in record.values() if isinstance(cell, str))
        if len(held) == BATCH or size >= BYTES:
            yield held
            held, size = Numbered(), 0
    if held:
        yield held


def _batches(records: Records, fields: Mapping[str, pa.DataType]) -> Iterator[Batch]:
    for chunk in _chunks(records):
        columns = {name: cells([record.get(name) for _, record in chunk], kind) for name, kind in fields.items()}
        yield Batch(columns, integers(np.array([line for line, _ in chunk])))
