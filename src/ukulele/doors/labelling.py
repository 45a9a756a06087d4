"""`uke label-next`: which of some unlabelled rows to label next."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ukulele import data, diagnose
from ukulele.doors.show import say_aside, table
from ukulele.errors import DataError, InternalError, PlanError
from ukulele.tools.files import write_csv
from ukulele.trial.asking import read, tasks_for
from ukulele.trial.predict import Predictor, load_model
from ukulele.types import Row, Rows

LONGEST = 80  # letters of a text on the screen


def label_next(
    run: Path,
    source: Path,
    wanted: int,
    target: Path | None,
    columns: tuple[str, ...],
    consoles: tuple[Console, Console],
) -> None:
    """Write the rows of a file or folder that are worth labelling most to `target`, or print them.

    Raises
    ------
    DataError
        If there is nothing to choose from.
    PlanError
        If the model has no answer that it could be unsure of.
    """
    out, err = consoles
    if not source.exists():
        raise DataError(f"no such file: {source}", hint=f"Looked in {Path.cwd()}.")
    found = load_model(run)
    members = [found] if isinstance(found, Predictor) else list(found.members)
    for member in members:
        _refuse(member)
    rows, bad, width = read(source, found, columns)
    aside = None if target is None else target.with_suffix(".quarantine.csv")
    if aside is not None and bad:
        data.write_quarantine(aside, bad)
    say_aside(bad, err, f"all are in {aside}" if aside else "with --out FILE all are listed beside it")
    if not len(rows):
        raise DataError("nothing to choose from: no row could be read.", hint="Name a file or a folder of rows.")
    asked = tasks_for(found, width)
    mine = ((member, [task for task in asked if task in member.tasks]) for member in members)
    lines = worthwhile([member.only(some) for member, some in mine if some], rows, wanted)
    header = ("rank", "row", "input", "answer", "unsure")
    if target is not None:
        write_csv(target, header, lines)
        err.print(f"{len(lines):,} of {len(rows):,} rows to label next: {target}", markup=False, soft_wrap=True)
        return
    table(out, header, [[textwrap.shorten(str(cell), LONGEST, placeholder=" …") for cell in line] for line in lines])


def worthwhile(predictors: Sequence[Predictor], rows: Rows, wanted: int) -> list[list[Any]]:
    """A line for each row to label next: rank, place, input, the models' answers, and how unsure they are."""
    doubts, parts, said = zip(*(_seen(predictor, rows) for predictor in predictors), strict=True)
    unsure, features = np.concatenate(doubts).mean(0), np.concatenate(parts, 1)
    answers = [" / ".join(one) for one in zip(*said, strict=True)]
    chosen = diagnose.next_labels(unsure, features, wanted)
    return [
        [rank, str(rows[at].where), _input(rows[at]), answers[at], f"{unsure[at]:.3f}"]
        for rank, at in enumerate(chosen, 1)
    ]


def _seen(predictor: Predictor, rows: Rows) -> tuple[Any, Any, list[str]]:
    """Of each row how unsure the model is of each task (tasks, rows), its features, and the answers in words."""
    unsure, features, answers = [], [], list[str]()
    for start in range(0, len(rows), predictor.window):
        some = [row.inputs for row in rows.take(range(start, min(start + predictor.window, len(rows))))]
        raw, found = predictor.seen(some, features=True)
        doubts, said = [], list[list[str]]()
        for name, task in predictor.tasks.items():
            final = task.decode(raw[name])
            doubts.append(_doubt(predictor, task.kind, final, found))
            said.append([_said(one) for one in task.plain(final)])  # type: ignore[attr-defined]
        unsure.append(np.stack(doubts))
        features.append(found)
        answers += [" / ".join(one) for one in zip(*said, strict=True)]
    return np.concatenate(unsure, 1), np.concatenate(features), answers


def _doubt(predictor: Predictor, kind: str, final: Sequence[Any], features: Any) -> Any:
    """How unsure the model is of each row; of a number, how far the row lies from those of training."""
    match kind:
        case "classify":
            return diagnose.unsure_of_class(np.asarray(final, np.float64))
        case "multilabel":
            return diagnose.unsure_of_labels(np.asarray(final, np.float64))
        case "regress" if predictor.domain is not None:
            return predictor.domain.distance(features) / max(predictor.domain.limit, 1e-9)
    raise InternalError(f"no doubt about a task of the kind {kind!r}")


def _refuse(predictor: Predictor) -> None:
    """Refuse a model that cannot say what it is unsure of."""
    served = {"classify", "multilabel"} | ({"regress"} if predictor.domain is not None else set())
    wrong = [name for name, task in predictor.tasks.items() if task.kind not in served]
    if wrong:
        raise PlanError(
            f"label-next: the model cannot say what it is unsure of: {', '.join(wrong)}.",
            hint="It serves labels and numbers; for numbers, fit the model again if it is an old one.",
        )


def _said(plain: dict[str, Any]) -> str:
    for name in ("label", "labels", "value"):
        if name in plain:
            value = plain[name]
            return value if isinstance(value, str) else f"{value:.4g}" if isinstance(value, float) else "; ".join(value)
    return ""


def _input(row: Row) -> str:
    return " | ".join(value if isinstance(value, str) else row.where.file for value in row.inputs)
