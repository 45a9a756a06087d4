"""What the rows answer: each target's distinct values, and which row has which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ukulele.data.frame import Frame, Indices
from ukulele.data.rows import columns_of, value_of
from ukulele.types import Box, Target


@dataclass(frozen=True)
class Answers:
    """A target's distinct values, and for each row of the frame the place of its own among them (-1: none)."""

    codes: NDArray[np.int64]
    values: tuple[Any, ...]

    def known(self, rows: Indices) -> Indices:
        """Those of some rows that have a value."""
        return rows[self.codes[rows] >= 0]

    def counts(self, rows: Indices, target: Target) -> dict[str, int]:
        """Rows of each label; of boxes, how many there are."""
        found = dict.fromkeys(target.labels, 0)
        codes = self.codes[self.known(rows)]
        for value, n in zip(self.values, np.bincount(codes, minlength=len(self.values)).tolist(), strict=True):
            for label in labels_in(value):
                if n:
                    found[label] = found.get(label, 0) + n
        return found


def labels_in(value: Any) -> Iterable[str]:
    """The labels that a value carries, one for each box where it is boxes.

    >>> list(labels_in("joy")), list(labels_in(("joy", "fear"))), list(labels_in((Box("cup", 0, 0, 1, 1),)))
    (['joy'], ['joy', 'fear'], ['cup'])
    """
    if isinstance(value, str):
        return (value,)
    return (part.label if isinstance(part, Box) else part for part in value or ())


def answers(frame: Frame, target: Target) -> Answers:
    """The values of a target for every row."""
    columns = columns_of(target, frame)
    parse = value_of(target)
    places: dict[Any, int] = {}
    codes = np.empty(len(frame), np.int64)
    seen: dict[Any, int] = {}
    for start, cells in frame.blocks(columns):
        for row, record in enumerate(zip(*cells, strict=True), start):
            key = record if not isinstance(record[0], list) else tuple(record[0])
            code = seen.get(key)
            if code is None:
                value = parse(record)
                code = seen[key] = -1 if value is None else places.setdefault(value, len(places))
            codes[row] = code
    return Answers(codes, tuple(places))
