"""Rows that cannot be used: found, listed, and limited in number."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ukulele.data.answers import Answers
from ukulele.data.arrays import flags, numbers
from ukulele.data.decoded import Decoded
from ukulele.data.frame import Frame
from ukulele.data.rows import Shape, columns_of, labels_of, number
from ukulele.errors import DataError
from ukulele.tools.files import write_atomic
from ukulele.types import BadRow, Finding, Target

Check = Callable[[Sequence[Any]], str]
"""The cells of a row to what is wrong with them, "" for nothing."""


def faulty_rows(
    frame: Frame, shape: Shape, answers: Mapping[str, Answers], decoded: Decoded | None = None
) -> dict[int, BadRow]:
    """The rows of a frame that cannot be used, with the first reason each: its input, then its targets."""
    checks: list[tuple[tuple[str, ...], Check]] = []
    if not shape.image:
        checks += [((name,), _empty_text(name)) for name in shape.inputs]
    checks += [(columns_of(target, frame), _target_check(target)) for target in shape.targets]
    names = list(dict.fromkeys([*shape.inputs, *(name for columns, _ in checks for name in columns)]))
    rows = np.flatnonzero(_suspects(frame, shape, answers, decoded))
    bad: dict[int, BadRow] = {}
    for row, record in zip(rows.tolist(), zip(*frame.take(names, rows), strict=True), strict=True):
        cells = dict(zip(names, record, strict=True))
        reason = decoded.faults[row] if decoded else ""
        for columns, check in checks:
            reason = reason or check([cells[name] for name in columns])
        if reason:
            bad[row] = BadRow(frame.where(row), reason, _content(record))
    return bad


def _suspects(frame: Frame, shape: Shape, answers: Mapping[str, Answers], decoded: Decoded | None) -> NDArray[np.bool_]:
    """Rows that may be bad, found column by column."""
    suspect = np.array([bool(fault) for fault in decoded.faults]) if decoded else np.zeros(len(frame), bool)
    for name in () if shape.image else shape.inputs:
        suspect |= np.concatenate([_empty(batch.column(name)) for batch in frame.batches])
    for target in shape.targets:
        found, known = answers[target.name], frozenset(target.labels)
        strange = [bool(known) and not known.issuperset(_labels(value)) for value in found.values]
        suspect |= np.array([*strange, True])[found.codes]  # -1, no answer, is the last
    return suspect


def _empty(texts: pa.Array) -> NDArray[np.bool_]:
    lengths = pc.binary_length(pc.utf8_trim_whitespace(texts))
    return (numbers(lengths) == 0) | flags(texts.is_null()) if len(texts) else np.zeros(0, bool)


def _labels(value: Any) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (value,) if isinstance(value, str) else ()


def _empty_text(name: str) -> Check:
    return lambda cells: "" if cells[0] and not str(cells[0]).isspace() else f"empty text in column {name!r}"


def _target_check(target: Target) -> Check:
    known = frozenset(target.labels)

    def missing(cell: Any) -> bool:
        return cell is None or (isinstance(cell, str) and not cell.strip())

    def classify(cells: Sequence[Any]) -> str:
        if missing(cells[0]):
            return f"missing target {target.name!r}"
        return _unknown(target.name, [cells[0].strip()], known)

    def regress(cells: Sequence[Any]) -> str:
        if missing(cells[0]):
            return f"missing target {target.name!r}"
        return "" if number(cells[0]) is not None else f"target {target.name!r} is {cells[0][:40]!r}, not a number"

    def multilabel(cells: Sequence[Any]) -> str:
        labels = labels_of(cells, target.labels)
        if labels is None:
            return (
                f"missing target {target.name!r}"
                if any(map(missing, cells))
                else "0 or 1 expected in each label column"
            )
        return _unknown(target.name, labels, known)

    return {"classify": classify, "regress": regress, "multilabel": multilabel}[target.kind]


def _unknown(name: str, labels: Iterable[str], known: frozenset[str]) -> str:
    strange = [label for label in labels if known and label not in known]
    return f"unknown label {strange[0]!r} in {name!r}" if strange else ""


def _content(cells: Iterable[Any]) -> str:
    return " | ".join("<bytes>" if isinstance(cell, bytes) else str(cell or "") for cell in cells)[:200]


def refuse_too_many(bad: Sequence[BadRow], rows: int, max_bad: float) -> None:
    """Stop where too large a share of all rows is bad.

    Raises
    ------
    DataError
        Naming the first few.
    """
    if not bad or len(bad) <= max_bad * rows:
        return
    first = "\n".join(f"  {b.where}: {b.reason}" for b in bad[:5])
    more = f"\n  … and {len(bad) - 5} more" if len(bad) > 5 else ""
    raise DataError(
        f"{len(bad)} of {rows} rows cannot be used, more than the {100 * max_bad:.3g} % allowed:\n{first}{more}",
        hint=f"Mend them, or go on without them: --max-bad {min(1.0, len(bad) / rows + 0.005):.2f}",
    )


def bad_rows_finding(bad: Sequence[BadRow], rows: int) -> Iterator[Finding]:
    """Bad rows in all, by reason."""
    if bad:
        reasons = Counter(b.reason.split(":")[0] for b in bad)
        said = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
        yield Finding(
            "warning",
            "bad-rows",
            f"{len(bad)} of {rows} rows were set aside: {said}.",
            {"count": len(bad), "rows": rows, "reasons": dict(reasons.most_common(20))}
            | {"examples": [f"{b.where}: {b.reason}" for b in bad[:5]]},
            "They are listed in quarantine.csv with file, line and reason.",
        )


def write_quarantine(path: Path, bad: Iterable[BadRow]) -> None:
    """All bad rows as CSV with the columns file, line, reason, content.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "line", "reason", "content"])
    writer.writerows([b.where.file, b.where.line or "", b.reason, b.content] for b in bad)
    write_atomic(path, text.getvalue())
