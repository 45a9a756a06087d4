"""`uke predict`: rows in, answers out, on the screen or in a file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import tee
from pathlib import Path
from typing import Any

from rich.console import Console

from ukulele import data
from ukulele.doors.given import TABLES, endings, gather, is_source
from ukulele.doors.lines import BOXES, WRITTEN, lines, save, sentence
from ukulele.doors.show import say_aside, say_cut
from ukulele.errors import DataError
from ukulele.tools.files import disk_error
from ukulele.tools.pictures import SUFFIXES, open_picture, with_boxes
from ukulele.trial.asking import source_endings, tasks_for
from ukulele.trial.predict import Grouped, Predictor, load_model
from ukulele.types import Row

FILES = {*WRITTEN, *TABLES, *SUFFIXES, ".txt", ".xlsx", ".docx"}  # endings of files, written by us or not


def answer_to(  # noqa: PLR0913 - what a command was given
    run: Path,
    given: Sequence[str],
    target: Path | None,
    columns: tuple[str, ...],
    tasks: tuple[str, ...],
    machine: tuple[str, str],
    consoles: tuple[Console, Console],
    decoding: Mapping[str, Any] | None = None,
    draw: bool = False,
    abstain: float | None = None,
) -> None:
    """Read what is given, answer (for `tasks`, or all), and write CSV or JSONL to `target`, or lines to the screen.

    `decoding` are numbers of a detector's, `confidence` and `overlap`, or those of `Writing`. Where `target` is a
    folder, answers.jsonl is written there and, with `draw`, every picture with its boxes. Rows that cannot be read
    are listed in a file beside `target`.
    """
    out, err = consoles
    predictor = load_model(run, *machine).only(tasks).decoding(**(decoding or {}))
    folder = _folder(target, predictor.modality)
    if folder is not None:
        target = folder / "answers.jsonl"
    if draw and folder is None:
        raise DataError("--draw needs a folder to put the pictures into.", hint="Name one: --out DIR")
    lined = source_endings(predictor)
    for one in given:
        if predictor.modality != "image" and os.path.isfile(one) and not is_source(one, predictor.modality, lined):  # noqa: PTH113
            err.print(f"{one}: answered as a text; a file of rows ends in {endings()}", markup=False, soft_wrap=True)
    if abstain is not None:
        for task in predictor.tasks:
            predictor.reach(task, abstain)  # refused now rather than behind the first rows
    rows, bad, width = gather(given, predictor, columns)
    predictor = predictor.only(tasks_for(predictor, width))
    aside = None if target is None else target.with_suffix(".quarantine.csv")
    if aside is not None and (bad or aside.exists()):
        data.write_quarantine(aside, bad)
    say_aside(bad, err, f"all are in {aside}" if aside else "with --out FILE all are listed beside it")
    began = time.perf_counter()
    rows, asked = tee(rows)  # what is held between the two is a window of rows
    found = predictor.stream((row.inputs for row in asked), abstain, weigh=True)
    counted = _Counted(zip(rows, found, strict=True))
    if target is None:
        for row, answer in counted:
            out.print(sentence(row, answer), markup=False, soft_wrap=True)
    else:
        answers = _drawn(counted, folder) if draw and folder is not None else counted
        save(target, lines(answers, target.suffix.lower()), _columns(predictor))
        seconds = time.perf_counter() - began
        err.print(
            f"{counted.count} rows in {seconds:.1f} s, {counted.count / max(seconds, 1e-9):,.0f} rows/s: {target}",
            markup=False,
            soft_wrap=True,
        )
    if counted.empty and target is not None:
        err.print(
            f"{counted.empty:,} of {counted.count:,} pictures have no box; a lower --conf shows less sure ones",
            markup=False,
            soft_wrap=True,
        )
    if counted.outside:
        err.print(
            f"{counted.outside:,} of {counted.count:,} rows are unlike those of training: answers may be wrong there",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    say_cut(predictor.cut, counted.count, err)
    if not counted.count:
        raise DataError(
            "nothing to answer: no row could be read.", hint="Name texts, pictures, a folder or a file of rows."
        )


def _columns(predictor: Predictor | Grouped) -> tuple[str, ...]:
    """The columns of a table of boxes; () where the answers say themselves what they hold."""
    if isinstance(predictor, Grouped) or any(task.kind != "detect" for task in predictor.tasks.values()):
        return ()
    return BOXES if predictor.domain is None else (*BOXES, "outside")


def _folder(target: Path | None, modality: str) -> Path | None:
    """Where `target` is a folder: one that is there, or, of pictures, a name that does not end as a file's."""
    if target is None or target.is_dir():
        return target
    return target if modality == "image" and target.suffix.lower() not in FILES else None


class _Counted:
    """Rows with their answers, counted as they pass; and those unlike the training rows, and pictures without a box."""

    def __init__(self, answers: Iterator[tuple[Row, dict[str, Any]]]) -> None:
        self._answers, self.count, self.outside, self.empty = answers, 0, 0, 0

    def __iter__(self) -> Iterator[tuple[Row, dict[str, Any]]]:
        for row, answer in self._answers:
            self.count += 1
            self.outside += any(told.get("outside", False) for told in answer.values())
            self.empty += any(told.get("boxes") == [] for told in answer.values())
            yield row, answer


def _drawn(answers: Iterable[tuple[Row, dict[str, Any]]], folder: Path) -> Iterator[tuple[Row, dict[str, Any]]]:
    """The answers, their boxes drawn on their pictures on the way, and `drawn`, the name of that file."""
    taken: set[str] = set()
    for row, answer in answers:
        boxes = [
            (f"{box['label']} {box['score']:.2f}", box["box"])
            for one in answer.values()
            for box in one.get("boxes", ())
        ]
        name, number = Path(row.where.file).stem, 1
        while name in taken:
            number += 1
            name = f"{Path(row.where.file).stem}-{number}"
        taken.add(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with_boxes(open_picture(row.inputs[0]), boxes).save(folder / f"{name}.jpg", quality=92)
        except OSError as error:
            raise disk_error(folder, error) from error
        yield row, {task: {**found, "drawn": f"{name}.jpg"} for task, found in answer.items()}
