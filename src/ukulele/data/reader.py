"""What every format is read into."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from ukulele.types import BadRow, Finding


class Batch(NamedTuple):
    """Some rows: the columns that are there, and the line of each row."""

    columns: Mapping[str, pa.Array]
    lines: pa.Array


@dataclass(frozen=True)
class Reader:
    """A source that can be streamed once: its columns, its batches (bad rows go to the list), what was noticed."""

    fields: Mapping[str, pa.DataType]
    batches: Callable[[list[BadRow]], Iterator[Batch]]
    findings: tuple[Finding, ...] = ()
