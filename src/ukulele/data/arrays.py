"""Arrow arrays from buffers: `pyarrow.array` imports pandas where it is installed, which costs half a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def strings(cells: Sequence[str]) -> pa.Array:
    """Texts as a string column; a lone surrogate raises UnicodeEncodeError.

    >>> strings(["a", "", "é"]).to_pylist()
    ['a', '', 'é']
    """
    data = [cell.encode() for cell in cells]
    ends = np.zeros(len(data) + 1, np.int64)
    np.cumsum([len(text) for text in data], out=ends[1:])
    if ends[-1] > np.iinfo(np.int32).max:
        raise pa.ArrowCapacityError(f"{len(data)} cells of more than 2 GB together")
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(data))]
    return pa.Array.from_buffers(pa.string(), len(data), buffers)


def integers(values: NDArray[Any]) -> pa.Array:
    """Whole numbers (int32 or int64) as a column of their type.

    >>> integers(np.array([3, 1], np.int32)).type
    DataType(int32)
    """
    kind = pa.int32() if values.dtype == np.int32 else pa.int64()
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def numbers(column: pa.Array) -> NDArray[Any]:
    """A column of whole numbers as NumPy; what stands for an empty cell is undefined."""
    kind = np.dtype(str(column.type))
    return np.frombuffer(column.buffers()[1], kind, column.offset + len(column))[column.offset :]


def flags(column: pa.Array) -> NDArray[np.bool_]:
    """A column of booleans as NumPy; an empty cell is False."""
    if not len(column):
        return np.zeros(0, bool)
    values = numbers(column.cast(pa.uint8())).astype(bool)
    return values & ~flags(column.is_null()) if column.null_count else values
