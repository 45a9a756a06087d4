"""Rows that cannot be used: found, listed, and limited in number."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ukulele.data.answers import Answers
from ukulele.data.arrays import flags, numbers
from ukulele.data.conversations import MESSAGES, fault
from ukulele.data.decoded import Decoded
from ukulele.data.frame import Frame, Indices
from ukulele.data.rows import LARGEST, Shape, column_of, columns_of, labels_of, number
from ukulele.errors import BadRowsError, StorageError
from ukulele.tools.files import write_csv
from ukulele.types import BadRow, Finding, Target

SHOWN = 5
NO_TIME = "no time that can be read"
Check = Callable[[Sequence[Any]], str]
"""The cells of a row to what is wrong with them, "" for nothing."""


def faulty_rows(
    frame: Frame, shape: Shape, answers: Mapping[str, Answers], decoded: Decoded | None = None
) -> dict[int, BadRow]:
    """The rows of a frame that cannot be used, with the first reason each: its input, or that it has no target."""
    texts = () if shape.image else shape.inputs
    asked = [(columns_of(target, frame), _target_check(target)) for target in shape.targets]
    names = list(dict.fromkeys([*shape.inputs, *(name for columns, _ in asked for name in columns)]))
    rows = np.flatnonzero(_suspects(frame, shape, answers, decoded))
    bad: dict[int, BadRow] = {}
    records = chain.from_iterable(zip(*frame.take(names, some), strict=True) for some in frame.stretches(names, rows))
    for row, record in zip(rows.tolist(), records, strict=True):
        cells = dict(zip(names, record, strict=True))
        reason = decoded.faults[row] if decoded else ""
        reason = reason or next((f"empty text in column {name!r}" for name in texts if _blank(cells[name])), "")
        reason = reason or _without_target([check([cells[name] for name in columns]) for columns, check in asked])
        if reason:
            bad[row] = BadRow(frame.where(row), reason, _content(record))
    return bad


def _without_target(reasons: Sequence[str]) -> str:
    """Why a row has no target, from what is wrong with each; "" where it has one."""
    if not reasons or not all(reasons):
        return ""
    return reasons[0] if len(reasons) == 1 else f"no target that can be used: {', '.join(reasons)}"


def _suspects(frame: Frame, shape: Shape, answers: Mapping[str, Answers], decoded: Decoded | None) -> NDArray[np.bool_]:
    """Rows that may be bad, found column by column."""
    suspect = np.array([bool(fault) for fault in decoded.faults]) if decoded else np.zeros(len(frame), bool)
    for name in () if shape.image else shape.inputs:
        suspect |= _missing(frame, name)
    if shape.targets:
        suspect |= np.logical_and.reduce([answers[target.name].codes < 0 for target in shape.targets])
    return suspect


def without_cell(frame: Frame, target: Target) -> NDArray[np.bool_]:
    """For each row, whether its cell of a target is empty; of several cells, whether one is."""
    found: NDArray[np.bool_] = np.logical_or.reduce([_missing(frame, name) for name in columns_of(target, frame)])
    return found


def _missing(frame: Frame, name: str) -> NDArray[np.bool_]:
    return np.concatenate([_empty(batch.column(name)) for batch in frame.batches])


def _empty(cells: pa.Array) -> NDArray[np.bool_]:
    nothing = flags(cells.is_null())
    if not len(cells) or cells.type != pa.string():
        return nothing
    nothing |= numbers(pc.binary_length(pc.utf8_trim_whitespace(cells))) == 0
    return nothing


def _blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def cell_findings(frame: Frame, shape: Shape, good: Indices, answers: Mapping[str, Answers]) -> Iterator[Finding]:
    """Of several targets: cells that are there and cannot be used, and how many are empty. The rows are kept."""
    empty: dict[str, int] = {}
    for target in shape.targets if len(shape.targets) > 1 else ():
        rows = good[answers[target.name].codes[good] < 0]
        nothing = without_cell(frame, target)[rows]
        if nothing.any():
            empty[target.name] = int(nothing.sum())
        strange = rows[~nothing]
        if len(strange):
            yield _bad_cells(frame, target, strange, len(good))
    if empty:
        said = ", ".join(f"{name!r} ({count:,})" for name, count in empty.items())
        yield Finding(
            "info",
            "empty-cells",
            f"Of {len(good):,} rows some have no value of a target: {said}. Such rows train their other targets.",
            {"rows": len(good), "counts": empty},
        )


def _bad_cells(frame: Frame, target: Target, rows: Indices, total: int) -> Finding:
    columns, check = columns_of(target, frame), _target_check(target)
    shown = rows[:SHOWN]
    reasons = [check(record) for record in zip(*frame.take(columns, shown), strict=True)]
    return Finding(
        "warning",
        "bad-cells",
        f"Cells of target {target.name!r} that cannot be used and count as empty: {len(rows):,}. "
        f"The first, {frame.where(shown[0])}: {reasons[0]}.",
        {"target": target.name, "count": len(rows), "rows": total}
        | {"examples": [f"{frame.where(row)}: {reason}" for row, reason in zip(shown, reasons, strict=True)]},
        "Mend them; until then their rows serve the other targets alone.",
    )


def _target_check(target: Target) -> Check:
    known, name = frozenset(target.labels), column_of(target)

    def classify(cells: Sequence[Any]) -> str:
        if _blank(cells[0]):
            return f"missing target {name!r}"
        return _unknown(name, [cells[0].strip()], known)

    def regress(cells: Sequence[Any]) -> str:
        if _blank(cells[0]):
            return f"missing target {name!r}"
        return "" if number(cells[0]) is not None else f"target {name!r} is {cells[0][:40]!r}, {_no_number(cells[0])}"

    def multilabel(cells: Sequence[Any]) -> str:
        labels = labels_of(cells, target.labels)
        if labels is not None:
            return _unknown(name, labels, known)
        if any(map(_blank, cells)):
            return f"missing target {name!r}"
        return "0 or 1 expected in each label column" if len(cells) > 1 else f"no label in target {name!r}"

    def detect(cells: Sequence[Any]) -> str:
        return f"missing target {name!r}" if _blank(cells[0]) else ""

    def write(cells: Sequence[Any]) -> str:
        if name == MESSAGES:
            return fault(cells[0])
        return f"empty target {name!r}" if _blank(cells[0]) else ""

    checks = {"classify": classify, "regress": regress, "multilabel": multilabel, "detect": detect}
    return checks.get(target.kind, write)


def _no_number(cell: str) -> str:
    try:
        return f"beyond {LARGEST:g}: squares of it cannot be computed" if math.isfinite(float(cell)) else "not a number"
    except ValueError:
        return "not a number"


def _unknown(name: str, labels: Iterable[str], known: frozenset[str]) -> str:
    strange = [label for label in labels if known and label not in known]
    return f"unknown label {strange[0]!r} in {name!r}" if strange else ""


def _content(cells: Iterable[Any]) -> str:
    return " | ".join("<bytes>" if isinstance(cell, bytes) else str(cell or "") for cell in cells)[:200]


def refuse_too_many(bad: Sequence[BadRow], rows: int, max_bad: float, what: str = "rows") -> None:
    """Stop where too large a share of all rows (or of `what`) is bad.

    Raises
    ------
    BadRowsError
        Naming the first few, with all of them.
    """
    if not bad or len(bad) <= max_bad * rows:
        return
    first = "\n".join(f"  {b.where}: {b.reason}" for b in bad[:SHOWN])
    more = f"\n  … and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    raise BadRowsError(
        f"{len(bad)} of {rows} {what} cannot be used, more than the {100 * max_bad:.3g} % allowed:\n{first}{more}",
        hint=f"Mend them, or go on without them: --max-bad {min(1.0, len(bad) / rows + 0.005):.2f}",
        bad=bad,
    )


def refuse_unreadable(bad: Sequence[BadRow], rows: int, left: int, max_bad: float) -> None:
    """Stop where the split or the time of too many of `rows`, or of all that are `left`, cannot be read.

    Raises
    ------
    BadRowsError
        Naming the first, and what was expected in its place.
    """
    if bad and not left:
        time = bad[0].reason.startswith(NO_TIME)
        raise BadRowsError(
            f"{len(bad)} of {rows} rows: {bad[0].reason}; the first is {bad[0].where}.",
            hint="Expected a number or a date such as 2024-05-31; name another column with --time, or leave it out."
            if time
            else "Expected train, validation or test; name another column with --split, or leave it out.",
            bad=bad,
        )
    refuse_too_many(bad, rows, max_bad)


def bad_rows_finding(bad: Sequence[BadRow], rows: int, what: str = "rows") -> Iterator[Finding]:
    """Bad rows (or `what`) in all, by reason."""
    if bad:
        reasons = Counter(b.reason.split(":")[0] for b in bad)
        said = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
        yield Finding(
            "warning",
            "bad-rows",
            f"{len(bad)} of {rows} {what} were set aside: {said}.",
            {"count": len(bad), "rows": rows, "reasons": dict(reasons.most_common(20))}
            | {"examples": [f"{b.where}: {b.reason}" for b in bad[:5]]},
            "They are listed in quarantine.csv with file, line and reason.",
        )


def write_quarantine(path: Path, bad: Iterable[BadRow], option: str = "--out") -> None:
    """All bad rows as CSV with the columns file, line, reason, content; `option` chose the place.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    rows = ((b.where.file, b.where.line or "", b.reason, b.content) for b in bad)
    write_csv(path, ("file", "line", "reason", "content"), rows, option)


def listed_in(path: Path, error: BadRowsError, option: str = "--out") -> BadRowsError:
    """An error of too many bad rows once all of them are written to `path`; it says where."""
    try:
        write_quarantine(path, error.bad, option)
    except StorageError as failed:
        said = f"They could not be listed in {path}: {failed.message}"
        return BadRowsError(f"{error.message}\n{said}", hint=error.hint, bad=error.bad)
    said = f"All are in {path} with file, line and reason."
    return BadRowsError(f"{error.message}\n{said}", hint=error.hint, bad=error.bad, listed=path)


@contextmanager
def listing(path: Path | None) -> Iterator[None]:
    """Bad rows that stop what is done inside are written to `path`, which --quarantine chose, before the error."""
    try:
        yield
    except BadRowsError as error:
        raise error if path is None else listed_in(path, error, "--quarantine") from error
