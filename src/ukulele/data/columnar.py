"""Sources that are columns already: Parquet, DataFrames, lists and any stream of Arrow batches."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ukulele.data.arrays import integers
from ukulele.data.frame import BATCH, BYTES
from ukulele.data.headers import own_names
from ukulele.data.plain import cells, columns_of, plain, plain_type
from ukulele.data.reader import Batch, Reader
from ukulele.errors import DataError
from ukulele.tools.pictures import open_picture, upright
from ukulele.types import BadRow

PNG_MODES = ("RGB", "L", "RGBA", "1", "P", "LA", "I;16")  # of pictures that PNG holds without loss

Classes = Mapping[str, Sequence[str]]


def read_parquet(path: Path) -> Reader:
    """A Parquet file, batch by batch; a row's line is its number.

    Raises
    ------
    DataError
        If the file is damaged or has no columns.
    """
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)  # else it holds what it has read
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a Parquet file that can be read ({error}).") from error
    schema, told = file.schema_arrow, file.metadata
    size = sum(told.row_group(at).total_byte_size for at in range(told.num_row_groups))
    batches = partial(file.iter_batches, batch_size=at_once(size, told.num_rows))
    return read_arrow(schema, batches, _classes(schema), path.name)


def at_once(size: int, rows: int) -> int:
    """How many rows of a source of `size` bytes are read at a time.

    >>> at_once(1 << 20, 10_000), at_once(1 << 30, 10_000)
    (8192, 312)
    """
    return max(1, min(BATCH, BYTES * rows // max(1, size)))


def read_arrow(schema: pa.Schema, batches: Any, classes: Classes, place: str = "data") -> Reader:
    """Arrow batches from `batches()`; `classes` names what integers stand for, by column; `place` is for findings."""
    ats = [at for at, name in enumerate(schema.names) if not name.startswith("__index_level_")]
    given = [schema.names[at] for at in ats]
    names, findings = own_names(place, given)
    fields = {
        name: pa.string() if schema.names[at] in classes else plain_type(schema.field(at).type)
        for name, at in zip(names, ats, strict=True)
    }
    places = dict(zip(names, ats, strict=True))
    meanings = {name: classes.get(one, ()) for name, one in zip(names, given, strict=True)}
    return Reader(fields, lambda _bad: _arrow(batches(), places, meanings), findings)


def _arrow(batches: Iterable[pa.RecordBatch], places: Mapping[str, int], classes: Classes) -> Iterator[Batch]:
    start = 1
    for batch in batches:
        columns = {name: plain(batch.column(at), classes[name]) for name, at in places.items()}
        yield Batch(columns, integers(np.arange(start, start + batch.num_rows)))
        start += batch.num_rows


def _classes(schema: pa.Schema) -> Classes:
    """The class names that Hugging Face writes beside a Parquet schema."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        features = info["info"]["features"]
        return {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}


def read_dataframe(frame: Any) -> Reader:
    """A pandas DataFrame; a row's line is its number."""
    names, findings = own_names("DataFrame", [str(name) for name in frame.columns])
    columns: dict[str, pa.Array] = {}
    for at, name in enumerate(names):
        column = frame.iloc[:, at]  # by its place: two columns may share a name
        try:
            columns[name] = plain(pa.Array.from_pandas(column))
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
            values = [as_cell(value) for value in column.tolist()]
            columns[name] = cells(values, columns_of([{"": value} for value in values]).get("", pa.string()))
    return replace(_in_memory({name: _one(array) for name, array in columns.items()}, len(frame)), findings=findings)


def read_list(items: Sequence[Any]) -> Reader:
    """A list of dicts, or of tuples (input, target) or (input, input, target).

    Raises
    ------
    DataError
        If an item is neither or is of another length than the first.
    """
    records: list[Mapping[str, Any]] = []
    for at, item in enumerate(items, 1):
        names = {2: ("text", "label"), 3: ("text1", "text2", "label")}
        if isinstance(item, Mapping):
            records.append({str(key): as_cell(value) for key, value in item.items()})
        elif isinstance(item, tuple | list) and len(item) in names and len(item) == len(items[0]):
            records.append(dict(zip(names[len(item)], map(as_cell, item), strict=True)))
        else:
            raise DataError(
                f"item {at} of the list is {type(item).__name__} {str(item)[:60]!r}.",
                hint='Expected dicts such as {"text": …, "label": …} or tuples (text, label) of one length.',
            )
    return read_records(records)


def read_records(records: Sequence[Mapping[str, Any]]) -> Reader:
    """Dicts in memory."""
    fields = columns_of(records)
    return _in_memory(
        {name: cells([r.get(name) for r in records], kind) for name, kind in fields.items()}, len(records)
    )


def _in_memory(columns: Mapping[str, pa.Array], size: int) -> Reader:
    def batches(_bad: list[BadRow]) -> Iterator[Batch]:
        for start in range(0, size, BATCH):
            part = {name: array.slice(start, BATCH) for name, array in columns.items()}
            yield Batch(part, integers(np.arange(start + 1, min(start + BATCH, size) + 1)))

    return Reader({name: array.type for name, array in columns.items()}, batches)


def _one(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def as_cell(value: Any) -> Any:
    """A cell of a Python container: pictures become bytes that are read as their files are, paths strings."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "save") and hasattr(value, "convert"):  # a PIL image
        buffer = io.BytesIO()
        turned = upright(value)  # PNG is written without the orientation of EXIF
        (turned if turned.mode in PNG_MODES else open_picture(turned)).save(buffer, "PNG")
        return buffer.getvalue()
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
