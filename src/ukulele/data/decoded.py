"""Every picture decoded once: which can be read, and what they look like. The answers are remembered."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ukulele.data.frame import FILE, Frame
from ukulele.data.near import Prints
from ukulele.data.rows import picture
from ukulele.errors import DataError
from ukulele.tools.files import replace_atomic
from ukulele.tools.pictures import dhash, open_picture

PASSING = ("cannot be read (", "no such picture: ", "too little memory")  # faults of a moment, not of the bytes
SMALL = 64  # pixels kept of the shorter side: enough for the difference hash, cheap to decode
SEEN = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("mtime", pa.int64()),
        ("fault", pa.string()),
        ("content", pa.uint64()),
        ("high", pa.uint64()),
        ("low", pa.uint64()),
    ]
)
Verdict = tuple[str, int, int, int]  # fault ("" for none), hash of the content, the halves of the difference hash


@dataclass(frozen=True)
class Decoded:
    """By row: why a picture cannot be read ("" if it can), a hash of its content, and its difference hash (rows, 2)."""

    faults: list[str]
    content: Prints
    difference: NDArray[np.uint64]


def decode_all(frame: Frame, column: str, cache: Path | None) -> Decoded:
    """Decode the pictures of a column, in threads, all that are new since the last time."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        if frame.fields[column] == pa.binary():  # the data hold the pictures themselves: only some are kept in memory
            verdicts = [verdict for some in _sources(frame, column) for verdict in threads.map(_judge, some)]
        else:
            verdicts = _files(list(chain.from_iterable(_sources(frame, column))), cache, threads)
    numbers = np.array([verdict[1:] for verdict in verdicts], np.uint64).reshape(-1, 3)
    return Decoded([verdict[0] for verdict in verdicts], numbers[:, 0], numbers[:, 1:])


def _files(sources: Sequence[Path | bytes], cache: Path | None, threads: ThreadPoolExecutor) -> list[Verdict]:
    """What is wrong with files, and how they look, remembered or judged."""
    seen = _lasting(_remembered(cache, sources))
    keys = [_key(source) for source in sources]
    missing = [at for at, key in enumerate(keys) if key is None or key not in seen]
    fresh = dict(zip(missing, threads.map(_judge, (sources[at] for at in missing)), strict=True))
    verdicts = [fresh[at] if at in fresh else seen[key] for at, key in enumerate(keys) if at in fresh or key]
    new = _lasting({keys[at]: verdict for at, verdict in fresh.items() if keys[at]})
    if cache is not None and new:
        _remember(_memory(cache, sources), seen | new)
    return verdicts


def _lasting(verdicts: dict[Any, Verdict]) -> dict[Any, Verdict]:
    return {key: verdict for key, verdict in verdicts.items() if not verdict[0].startswith(PASSING)}


def _sources(frame: Frame, column: str) -> Iterator[list[Path | bytes]]:
    for _, (cells, files) in frame.blocks([column, FILE]):
        yield [picture(cell or "", frame.files[file]) for cell, file in zip(cells, files, strict=True)]


def _key(source: Path | bytes) -> tuple[str, int, int] | None:
    if isinstance(source, bytes):
        return None
    try:
        stat = source.stat()
    except OSError:
        return None
    return str(source.absolute()), stat.st_size, stat.st_mtime_ns


def _judge(source: Path | bytes) -> Verdict:
    import xxhash

    try:
        if isinstance(source, Path) and not source.is_file():
            return (f"no such picture: {source}", 0, 0, 0)
        content = source if isinstance(source, bytes) else source.read_bytes()
        code = dhash(open_picture(content, at_least=SMALL))
    except (DataError, OSError) as error:
        said = error.message if isinstance(error, DataError) else f"cannot be read ({error.strerror})"
        return (said.removeprefix("a picture: ").rstrip("."), 0, 0, 0)
    return ("", xxhash.xxh3_64_intdigest(content), code >> 64, code & (1 << 64) - 1)


def _memory(cache: Path, sources: Sequence[Path | bytes]) -> Path:
    import xxhash

    folder = os.path.commonpath([str(s.absolute()) for s in sources if isinstance(s, Path)])
    return cache / "pictures" / f"{xxhash.xxh3_128_hexdigest(folder.encode())}.arrow"


def _remembered(cache: Path | None, sources: Sequence[Path | bytes]) -> dict[Any, Verdict]:
    if cache is None or not any(isinstance(source, Path) for source in sources):
        return {}
    try:
        with pa.memory_map(str(_memory(cache, sources))) as file:
            columns = [column.to_pylist() for column in pa.ipc.open_file(file).read_all().select(SEEN.names)]
    except (OSError, pa.ArrowInvalid, KeyError):
        return {}
    return {(row[0], row[1], row[2]): (row[3], row[4], row[5], row[6]) for row in zip(*columns, strict=True)}


def _remember(path: Path, seen: dict[Any, Verdict]) -> None:
    columns = zip(*((*key, *verdict) for key, verdict in seen.items()), strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SEEN, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=SEEN)

    def write(part: Path) -> None:
        with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, SEEN) as writer:
            writer.write_table(table)

    replace_atomic(path, write, "--cache")
