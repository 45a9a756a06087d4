"""One block of the feature cache on disk: rows of named tensors, unpadded, in one file that is whole or absent.

A file is the values, batch by batch, then an index (where each row of each field begins, and its length),
then the index's size, a checksum of all that precedes it, and a magic word. It is read through a memory map
that keeps no file open: a million rows in several views are more blocks than a process may have open files.
"""

from __future__ import annotations

import errno
import json
import math
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash

from ukulele.tools.files import replace_atomic
from ukulele.types import Field, Tensors

MAGIC = b"ukefeat1"
FOOTER = struct.Struct("<QQ8s")
CHUNK = 1 << 24


class DamagedBlockError(Exception):
    """A block that is not what was written."""


class Block:
    """Rows of one block, read when touched. A row handed out is a copy: stages may work in place."""

    def __init__(self, path: Path) -> None:
        self._bytes = _mapped(path)
        header, index = _open(self._bytes)
        self.fields = {n: Field(f["axis"], f["pad"]) for n, f in header["fields"].items()}
        self._dtypes = {n: getattr(torch, f["dtype"]) for n, f in header["fields"].items()}
        self._trailing = {n: tuple(f["trailing"]) for n, f in header["fields"].items()}
        self._offsets = {n: index[2 * i] for i, n in enumerate(self.fields)}
        self._lengths = {n: index[2 * i + 1] for i, n in enumerate(self.fields)}

    def __len__(self) -> int:
        return len(next(iter(self._offsets.values())))

    def row(self, number: int) -> Tensors:
        """All fields of one row."""
        return {name: self.value(name, number) for name in self.fields}

    def value(self, name: str, number: int) -> torch.Tensor:
        """One field of one row."""
        dtype, trailing = self.form(name)
        shape = trailing if self.fields[name].axis is None else (int(self._lengths[name][number]), *trailing)
        return torch.from_numpy(self.bytes(name, number).copy()).view(dtype).view(shape)

    def bytes(self, name: str, number: int) -> np.ndarray:
        """The bytes of one field of one row, as they lie in the file: not to be written to."""
        dtype, trailing = self.form(name)
        start = int(self._offsets[name][number])
        return self._bytes[start : start + int(self._lengths[name][number]) * math.prod(trailing) * dtype.itemsize]

    def values(self, name: str) -> np.ndarray:
        """Every value of an integer field in the block, once and in order."""
        dtype, _ = self.form(name)
        spans = [self.bytes(name, number) for number in range(len(self))]
        return np.unique(torch.from_numpy(np.concatenate(spans)).view(dtype).numpy())

    def form(self, name: str) -> tuple[torch.dtype, tuple[int, ...]]:
        """The dtype of a field, and its shape behind a ragged axis."""
        return self._dtypes[name], self._trailing[name]

    def length(self) -> np.ndarray:
        """The longest ragged axis of each row; 1 where nothing is ragged."""
        ragged = [self._lengths[name] for name, field in self.fields.items() if field.axis is not None]
        return np.max(ragged, axis=0) if ragged else np.ones(len(self), np.int64)


def _mapped(path: Path) -> np.ndarray:
    """The bytes of a file; they outlive the file's name."""
    with path.open("rb") as file:  # refuses with an OSError that says why
        size = os.fstat(file.fileno()).st_size
        if size < FOOTER.size:
            raise DamagedBlockError
        try:
            return torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).numpy()
        except RuntimeError as error:
            if path.exists():
                raise OSError(errno.EIO, str(error)) from error
            raise FileNotFoundError(path) from error  # evicted meanwhile by another run


def _open(raw: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    size, checksum, magic = FOOTER.unpack(raw[-FOOTER.size :].tobytes())
    end = len(raw) - FOOTER.size
    if magic != MAGIC or size > end or _digest(raw[:end]) != checksum:
        raise DamagedBlockError
    packed = raw[end - size : end].tobytes()
    head = struct.unpack("<Q", packed[:8])[0]
    header = json.loads(packed[8 : 8 + head])
    index = np.frombuffer(packed[8 + head :], np.int64).reshape(2 * len(header["fields"]), -1)
    return header, index


def _digest(raw: np.ndarray) -> int:
    digest = xxhash.xxh3_64()
    for start in range(0, len(raw), CHUNK):
        digest.update(raw[start : start + CHUNK].data)
    return digest.intdigest()


def write(
    path: Path, count: int, fields: Mapping[str, Field], batches: Iterable[tuple[Sequence[int], Sequence[Tensors]]]
) -> None:
    """Write a block of `count` rows from batches of (row numbers, rows), in any order, a batch in memory at a time."""
    index = np.zeros((2 * len(fields), count), np.int64)
    described: dict[str, dict[str, Any]] = {}

    def fill(part: Path) -> None:
        digest = xxhash.xxh3_64()
        with part.open("wb") as file:

            def put(data: bytes) -> None:
                digest.update(data)
                file.write(data)

            for numbers, rows in batches:
                for i, (name, field) in enumerate(fields.items()):
                    start = file.tell()
                    for number, row in zip(numbers, rows, strict=True):
                        value = row[name].contiguous()
                        ragged = field.axis is not None
                        index[2 * i, number], index[2 * i + 1, number] = start, len(value) if ragged else 1
                        trailing = value.shape[1:] if ragged else value.shape
                        described.setdefault(name, _describe(field, value.dtype, trailing))
                        data = value.reshape(-1).view(torch.uint8).numpy().tobytes()
                        put(data)
                        start += len(data)
            head = json.dumps({"fields": {name: described[name] for name in fields}}).encode()
            packed = struct.pack("<Q", len(head)) + head + index.tobytes()
            put(packed)
            file.write(FOOTER.pack(len(packed), digest.intdigest(), MAGIC))

    replace_atomic(path, fill, "--cache")


def _describe(field: Field, dtype: torch.dtype, trailing: Sequence[int]) -> dict[str, Any]:
    return {
        "axis": field.axis, "pad": field.pad, "trailing": list(trailing), "dtype": str(dtype).removeprefix("torch."),
    }  # fmt: skip
