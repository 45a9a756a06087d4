"""Rows as a light view of a frame: an index, and how a row is made when it is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ukulele.data import boxes
from ukulele.data.conversations import MESSAGES, fault
from ukulele.data.frame import FILE, LINE, Frame, Indices, require
from ukulele.types import Box, Row, Target, Where

READ_AHEAD = 1024
LARGEST = 1e100  # of a number: sums of squares of larger ones are not finite
TRUE = frozenset({"1", "true", "yes", "1.0"})
FALSE = frozenset({"0", "false", "no", "0.0"})


@dataclass(frozen=True)
class Shape:
    """What a row is made of: its input columns, whether they hold pictures, and its targets."""

    inputs: tuple[str, ...]
    image: bool = False
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True)
class TableRows:
    """Rows of a frame in any order. Nothing is held but the index, and for each row of the frame its group: as splits
    have it (`bound`: nearly identical rows, too), and as `--group` names it alone.
    """

    frame: Frame
    shape: Shape
    index: Indices
    bound: Indices | None = None
    named: Indices | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Row:
        at = range(len(self.index))[index]
        return next(self._read(self.index[at : at + 1]))

    def __iter__(self) -> Iterator[Row]:
        for rows in self.frame.stretches(self.shape.inputs, self.index, READ_AHEAD):
            yield from self._read(rows)

    @property
    def groups(self) -> Indices | None:
        """The group of each row; None where each is by itself."""
        return None if self.bound is None else self.bound[self.index]

    @property
    def clusters(self) -> Indices | None:
        """The group of each row that `--group` names; None where each is by itself."""
        return None if self.named is None else self.named[self.index]

    def take(self, indices: Sequence[int]) -> TableRows:
        """The rows at `indices`, in that order."""
        return replace(self, index=self.index[np.asarray(indices, np.int64)])

    def column(self, name: str) -> list[Any]:
        """One column of the source for every row."""
        require(self.frame, name)
        return self.frame.take([name], self.index)[0]

    def _read(self, rows: Indices) -> Iterator[Row]:
        sources = {target.name: columns_of(target, self.frame) for target in self.shape.targets}
        names = list(dict.fromkeys([*self.shape.inputs, *(c for cs in sources.values() for c in cs), FILE, LINE]))
        cells = dict(zip(names, self.frame.take(names, rows), strict=True))
        files = [self.frame.files[file] for file in cells[FILE]]
        inputs = [cells[name] for name in self.shape.inputs]
        if self.shape.image:
            inputs = [[picture(cell, file) for cell, file in zip(column, files, strict=True)] for column in inputs]
        values = {
            target.name: list(map(value_of(target), zip(*(cells[c] for c in sources[target.name]), strict=True)))
            for target in self.shape.targets
        }
        for at, (file, line) in enumerate(zip(files, cells[LINE], strict=True)):
            answers = {name: column[at] for name, column in values.items()}
            yield Row(tuple(column[at] for column in inputs), answers, Where(file, line or None))


def picture(cell: str | bytes, file: str) -> Path | bytes:
    """The picture a cell holds: its bytes, or a path relative to the file that names it."""
    return cell if isinstance(cell, bytes) else Path(file).parent / cell


def column_of(target: Target) -> str:
    """The column that a target is read from."""
    return target.column or target.name


def columns_of(target: Target, frame: Frame) -> tuple[str, ...]:
    """The columns a target is read from: its own, or one 0/1 column a label."""
    column = column_of(target)
    if column not in frame.fields and target.kind == "multilabel" and target.labels:
        return target.labels
    return (column,)


def value_of(target: Target) -> Callable[[tuple[Any, ...]], Any]:
    """How the cells of a row become the value of a target: a label, a tuple of labels or boxes, a number or None.

    Labels that are not the target's are None, once its labels are known.

    >>> value_of(Target("mood", "classify", ("good", "bad")))((" good ",)), value_of(Target("stars", "regress"))(("?",))
    ('good', None)
    """
    known = frozenset(target.labels)

    def one(cells: tuple[Any, ...]) -> str | None:
        label = (cells[0] or "").strip()
        return label if label and (not known or label in known) else None

    def several(cells: tuple[Any, ...]) -> tuple[str, ...] | None:
        found = labels_of(cells, target.labels)
        return found if found is None or not known or known.issuperset(found) else None

    def measured(cells: tuple[Any, ...]) -> float | None:
        return number(cells[0])

    def told(cells: tuple[Any, ...]) -> str | None:
        return cells[0].strip() or None if isinstance(cells[0], str) else None

    def continued(cells: tuple[Any, ...]) -> str | None:
        if column_of(target) == MESSAGES and fault(cells[0]):
            return None
        return cells[0] if isinstance(cells[0], str) and cells[0].strip() else None

    def drawn(cells: tuple[Any, ...]) -> tuple[Box, ...] | None:
        return boxes.parse(cells[0])

    match target.kind:
        case "detect":
            return drawn
        case "regress":
            return measured
        case "classify":
            return one
        case "multilabel":
            return several
        case "translate" | "summarise":
            return told
        case "generate":
            return continued


def number(cell: Any) -> float | None:
    """A cell as a number that can be reckoned with, or None.

    >>> number(" 1.5 "), number("n/a"), number("inf"), number("1e300")
    (1.5, None, None, None)
    """
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if abs(value) <= LARGEST else None


def labels_of(cells: Sequence[Any], labels: Sequence[str] = ()) -> tuple[str, ...] | None:
    """Several labels, each once: from a `;`-separated cell or a list, in order of the alphabet, or a 0/1 cell each.

    >>> labels_of(["joy; anger"]), labels_of(["1", "0"], ["joy", "anger"]), labels_of([""])
    (('anger', 'joy'), ('joy',), None)
    """
    if len(cells) > 1:
        flags = [str(cell).strip().lower() for cell in cells]
        if not all(flag in TRUE or flag in FALSE for flag in flags):
            return None
        return tuple(label for label, flag in zip(labels, flags, strict=True) if flag in TRUE)
    (cell,) = cells
    if cell is None:
        return None
    parts = cell if isinstance(cell, list) else cell.split(";")
    found = tuple(sorted({part.strip() for part in parts if part and part.strip()}))  # `a;b` and `b;a` say the same
    return found if found or isinstance(cell, list) else None
