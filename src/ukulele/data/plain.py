"""Cells of every type as one of three: a string, bytes or a list of strings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ukulele.data.arrays import strings

STRINGS = pa.list_(pa.string())


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type a column is stored as."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return STRINGS
    picture = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if picture or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.binary()
    return pa.string()


def plain(array: pa.Array, names: Sequence[str] = ()) -> pa.Array:
    """An Arrow column as it is stored; `names` are the classes that its integers stand for."""
    kind = array.type
    if names:
        values = array.to_pylist()
        if plain_type(kind) == STRINGS:
            return pa.array([v if v is None else [names[i] for i in v] for v in values], STRINGS)
        return pa.array([None if v is None or not 0 <= v < len(names) else names[v] for v in values], pa.string())
    if pa.types.is_struct(kind) and plain_type(kind) == pa.binary():
        return array.field("bytes").cast(pa.binary())
    if plain_type(kind) == STRINGS:
        return pa.array([v if v is None else [text(i) or "" for i in v] for v in array.to_pylist()], STRINGS)
    if pa.types.is_floating(kind):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, kind), array)
    try:
        return array.cast(plain_type(kind))
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return pa.array([text(value) for value in array.to_pylist()], plain_type(kind))


def text(value: Any) -> str | None:
    """A Python value as a cell of a string column.

    >>> text(2.0), text(True), text(float("nan")), text({"a": 1})
    ('2', 'true', None, '{"a": 1}')
    """
    match value:
        case None:
            return None
        case str():
            return value.encode("utf-8", "replace").decode() if not value.isascii() else value
        case bool():
            return "true" if value else "false"
        case float():
            return None if value != value else str(int(value)) if value.is_integer() else repr(value)  # noqa: PLR0124
        case list() | tuple() | dict():
            return json.dumps(value, ensure_ascii=False, default=str)
        case _:
            return None if str(value) in ("NaT", "<NA>") else str(value)


def columns_of(records: Sequence[Mapping[str, Any]]) -> dict[str, pa.DataType]:
    """The columns of some records, in the order they appear, and the type that holds all their cells."""
    fields: dict[str, pa.DataType] = {}
    for record in records:
        for name, value in record.items():
            kind = type_of(value)
            fields[name] = kind if kind != pa.string() else fields.get(name, kind)
    return fields


def type_of(value: Any) -> pa.DataType:
    """The type of column that holds a Python value."""
    if isinstance(value, bytes):
        return pa.binary()
    if isinstance(value, list | tuple) and all(isinstance(item, str | int) for item in value):
        return STRINGS
    return pa.string()


def cells(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Python values as a column of that type."""
    if kind == STRINGS:
        lists = [v if isinstance(v, list | tuple) else None if v is None else [v] for v in values]
        return pa.array([v if v is None else [text(item) or "" for item in v] for v in lists], STRINGS)
    if kind == pa.binary():
        return pa.array([v if isinstance(v, bytes) else None if v is None else str(v).encode() for v in values], kind)
    texts = [text(value) for value in values]
    return pa.array(texts, kind) if None in texts else strings([cell for cell in texts if cell is not None])
