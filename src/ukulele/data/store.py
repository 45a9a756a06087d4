"""One memory-mapped Arrow file for all files of a source, found again by their paths, sizes and times of change."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ukulele.data.arrays import integers
from ukulele.data.columnar import read_parquet
from ukulele.data.delimited import read_delimited
from ukulele.data.frame import FILE, LINE, PROVENANCE, Frame
from ukulele.data.json_lines import read_json, read_json_lines
from ukulele.data.reader import Batch, Reader
from ukulele.errors import DataError
from ukulele.tools.files import replace_atomic, write_json
from ukulele.types import BadRow, Finding, Where

VERSION = 2  # of the stored form; raise it when a reader changes what it gives

FORMATS: dict[str, Callable[[Path], Reader]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".txt": read_delimited,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".parquet": read_parquet,
}


@dataclass(frozen=True)
class Stored:
    """A source in a frame, and what was noticed on the way."""

    frame: Frame
    bad: tuple[BadRow, ...] = ()
    findings: tuple[Finding, ...] = ()


def store_files(paths: Sequence[Path], cache: Path | None) -> Stored:
    """Files of rows as one frame: mapped from `cache`, or in memory where there is none.

    Raises
    ------
    DataError
        If a file is missing, empty, damaged or of no known format.
    """
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise DataError(f"{path}: unknown format.", hint=f"Expected one of {', '.join(FORMATS)}.")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty.", hint="Expected a header row and rows below it.")
    stamps = [(str(path.resolve()), str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    files = tuple(str(path) for path in paths)

    def readers() -> list[Reader]:
        return [FORMATS[path.suffix.lower()](path) for path in paths]

    return store(readers, files, stamps, cache)


def store(readers: Callable[[], Sequence[Reader]], files: tuple[str, ...], key: Any, cache: Path | None) -> Stored:
    """What the readers give as one frame; `key` is plain JSON that changes when they would give something else."""
    if cache is None:
        sources = readers()
        bad: list[BadRow] = []
        return Stored(Frame(tuple(_batches(sources, files, bad)), files), tuple(bad), _findings(sources))
    import xxhash

    name = xxhash.xxh3_128_hexdigest(json.dumps([VERSION, key]).encode())
    path, notes = cache / "tables" / f"{name}.arrow", cache / "tables" / f"{name}.json"
    if not (path.exists() and notes.exists()):
        _write(readers(), files, path, notes)
    try:
        return _open(path, notes, files)
    except (pa.ArrowInvalid, OSError, ValueError, KeyError, TypeError):  # damaged: made again
        _write(readers(), files, path, notes)
        return _open(path, notes, files)


def _write(sources: Sequence[Reader], files: tuple[str, ...], path: Path, notes: Path) -> None:
    bad: list[BadRow] = []

    def write(part: Path) -> None:
        with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, _schema(sources)) as writer:
            for batch in _batches(sources, files, bad):
                writer.write_batch(batch)

    replace_atomic(path, write, "--cache")
    said = [dataclasses.asdict(finding) for finding in _findings(sources)]
    set_aside = [[b.where.file, b.where.line, b.reason, b.content] for b in bad]
    write_json(notes, {"findings": said, "bad": set_aside}, "--cache")


def _open(path: Path, notes: Path, files: tuple[str, ...]) -> Stored:
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    batches = tuple(reader.get_batch(at) for at in range(reader.num_record_batches))
    said = json.loads(notes.read_bytes())
    bad = tuple(BadRow(Where(file, line), reason, content) for file, line, reason, content in said["bad"])
    return Stored(Frame(batches, files), bad, tuple(Finding(**finding) for finding in said["findings"]))


def _schema(sources: Sequence[Reader]) -> pa.Schema:
    fields: dict[str, pa.DataType] = {}
    for source in sources:
        for name, kind in source.fields.items():
            if fields.setdefault(name, kind) != kind:
                fields[name] = pa.string() if pa.binary() not in (kind, fields[name]) else pa.binary()
    return pa.schema([*(pa.field(name, kind) for name, kind in fields.items()), *PROVENANCE])


def _batches(sources: Sequence[Reader], files: tuple[str, ...], bad: list[BadRow]) -> Iterator[pa.RecordBatch]:
    schema = _schema(sources)
    for at, source in enumerate(sources):
        try:
            for batch in source.batches(bad):
                yield _record_batch(schema, batch, at)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{files[at]}: damaged ({error}).", hint="Make the file again.") from error


def _record_batch(schema: pa.Schema, batch: Batch, at: int) -> pa.RecordBatch:
    size = len(batch.lines)
    place = {FILE: integers(np.full(size, at, np.int32)), LINE: batch.lines}
    given = {**batch.columns, **place}
    columns = [
        _as(given[field.name], field.type) if field.name in given else pa.nulls(size, field.type) for field in schema
    ]
    return pa.record_batch(columns, schema=schema)


def _as(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if pa.types.is_list(array.type):
        return pa.array([None if v is None else ";".join(v) for v in array.to_pylist()], kind)
    return array.cast(kind)


def _findings(sources: Sequence[Reader]) -> tuple[Finding, ...]:
    return tuple(finding for source in sources for finding in source.findings)
