"""`uke evaluate`: scores of a run's model on labelled rows."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ukulele import data, diagnose, evaluate
from ukulele.doors.show import say_aside, say_cut
from ukulele.errors import DataError
from ukulele.models.libre import same
from ukulele.trial.predict import WINDOW, Grouped, Predictor, load_model
from ukulele.types import Dataset, Joined, Kind, Rows, Target, Task, with_answer

PICTURES = 256  # in memory at a time


def evaluate_on(
    run: Path,
    source: Any,
    slice_by: str | None,
    max_bad: float = 0.05,
    quarantine: Path | None = None,
    err: Console | None = None,
    group: str | None = None,
) -> dict[str, Any]:
    """Scores of a run's model on labelled rows, by metric and, where asked, by slice; by task, too, of several.

    Intervals are by groups of rows that share a value of the column `group`, where one is named. At most the share
    `max_bad` of the rows may be set aside; `quarantine` lists them, and `err` is told of the first.

    Raises
    ------
    RunError
        If the run holds no model.
    DataError
        If no row can be used, or too many cannot.
    """
    err = err or Console(stderr=True, highlight=False)
    predictor = load_model(run)
    with data.listing(quarantine):
        dataset = _labelled(predictor, source, max_bad, group)
    if quarantine is not None:
        data.write_quarantine(quarantine, dataset.quarantine, "--quarantine")
    for said in (*dataset.notes, *(f.message for f in dataset.findings if f.code == "file-without-rows")):
        err.print(said, markup=False, soft_wrap=True)
    dataset = predictor.windowed(dataset)
    rows = dataset.splits["test"]
    scores, slices, left, particulars = {}, {}, {}, {}
    for name, (task, table, mine) in _tables(predictor, dataset).items():
        if task.kind == "detect":
            particulars = evaluate.details(task, table, [])
        scores[name] = evaluate.plain(evaluate.estimates(task, table, mine.clusters))
        if slice_by is not None:
            cells = mine.column(slice_by)
            slices[name] = evaluate.slices(task, table, cells, slice_by, mine.clusters)
            left[name] = evaluate.left_out(cells, slice_by)
    say_cut(predictor.cut, len(rows), err)
    say_aside(dataset.quarantine, err, f"all are in {quarantine}" if quarantine else "--quarantine FILE lists all")
    alone = next(iter(scores)) if len(predictor.tasks) == 1 else None
    found: dict[str, Any] = {
        "rows": len(rows),
        "set_aside": len(dataset.quarantine),
        "cut": predictor.cut,
        "test": scores[alone] if alone is not None else scores,
    }
    found |= {name: particulars[name] for name in ("per_class", "sizes") if name in particulars}
    if slice_by is not None:
        found["slices"] = slices[alone] if alone is not None else slices
        found["slices_left_out"] = left[alone] if alone is not None else left
        for name, rest in left.items():
            for finding in diagnose.slices_left_out(rest, "" if alone is not None else name):
                err.print(finding.message, style="yellow", markup=False, soft_wrap=True)
    return found


def tables(run: Path, source: Any) -> dict[str, tuple[Task, NDArray[np.float64]]]:
    """By task, the row statistics of a run's answers on labelled rows, which metrics and comparisons are made of.

    Raises
    ------
    RunError
        If the run holds no model.
    DataError
        If no row can be used, or too many cannot.
    """
    predictor = load_model(run)
    dataset = predictor.windowed(_labelled(predictor, source, max_bad=0.05, group=None))
    return {name: (task, table) for name, (task, table, _) in _tables(predictor, dataset).items()}


def _tables(predictor: Predictor | Grouped, dataset: Dataset) -> dict[str, tuple[Task, NDArray[np.float64], Rows]]:
    """By task that the data have, with its rows that have the answer."""
    rows, found = dataset.splits["test"], {}
    tasks = {name: task for name, task in predictor.tasks.items() if name in {t.name for t in dataset.targets}}
    raw, values, numbers = _raw(predictor, rows, tasks)
    for name, task in tasks.items():
        if task.kind == "detect":
            values[name] = _by_name(getattr(task, "labels", ()), values[name])
            _say_strange(name, getattr(task, "labels", ()), values[name])
        found[name] = task, task.table(task.decode(raw[name]), values[name]), rows.take(numbers[name])
    return found


def _labelled(predictor: Predictor | Grouped, source: Any, max_bad: float, group: str | None) -> Dataset:
    """The rows, with the inputs and targets that the model was trained on."""
    asked = predictor.about.get("asked", {})
    targets = [
        Target(
            name,
            kind_of(task),
            tuple(getattr(task, "labels", ())),
            asked.get(name, {}).get("column", ""),
            free=bool(getattr(task, "free", False)),
        )
        for name, task in predictor.tasks.items()
    ]
    joined = [Joined(name, tuple(told["inputs"]), (name,)) for name, told in asked.items()]
    return data.read_labelled(
        source, predictor.columns, tuple(targets), predictor.modality, max_bad=max_bad, joined=joined, group=group
    )


def _by_name(known: Sequence[str], values: Sequence[Any]) -> list[Any]:
    """The boxes with their classes spelt as the model has them, where it knows them but for case, as a head rebuilt
    for them does.
    """
    strange = sorted({box.label for boxes in values for box in boxes} - set(known))
    numbers = zip(strange, same(strange, known), strict=True)
    spelt = {label: known[number] for label, number in numbers if number is not None}
    if spelt:
        said = ", ".join(f"{label} as {name}" for label, name in list(spelt.items())[:8])
        print(f"classes read by their names whatever the case: {said}", file=sys.stderr)
    return [tuple(box._replace(label=spelt.get(box.label, box.label)) for box in boxes) for boxes in values]


def _say_strange(name: str, known: Sequence[str], values: Sequence[Any]) -> None:
    """Say which classes of the data a detector does not know: their boxes count for nothing.

    Raises
    ------
    DataError
        If it knows none of them.
    """
    counts = Counter(box.label for boxes in values for box in boxes)
    strange = {label: count for label, count in counts.items() if label not in known}
    if counts and len(strange) == len(counts):
        raise DataError(
            f"the model has {len(known)} classes, and none of those of {name!r}: {', '.join(sorted(strange)[:8])}.",
            hint=f"It knows {', '.join(known[:8])}, …. To teach it these: `uke fit DATA --model` and this file.",
        )
    if strange:
        said = ", ".join(f"{label} ({count})" for label, count in sorted(strange.items())[:8])
        print(f"classes that the model does not know, left out: {said}", file=sys.stderr)


def _raw(
    predictor: Predictor | Grouped, rows: Rows, tasks: Mapping[str, Task]
) -> tuple[dict[str, list[Any]], dict[str, list[Any]], dict[str, list[int]]]:
    """By task: raw answers for the rows that have it, their true values and numbers; a window of rows in memory."""
    raw: dict[str, list[Any]] = {name: [] for name in tasks}
    values: dict[str, list[Any]] = {name: [] for name in tasks}
    numbers: dict[str, list[int]] = {name: [] for name in tasks}
    size = PICTURES if predictor.modality == "image" else WINDOW
    for start in range(0, len(rows), size):
        some = list(rows.take(range(start, min(start + size, len(rows)))))
        taught = next(iter(tasks)) if predictor.teaches else None
        found = predictor.raw([row.inputs if taught is None else with_answer(row, taught) for row in some])
        for name in tasks:
            mine = [i for i, row in enumerate(some) if row.targets[name] is not None]
            raw[name] += [found[name][i] for i in mine]
            values[name] += [some[i].targets[name] for i in mine]
            numbers[name] += [start + i for i in mine]
    return raw, values, numbers


def kind_of(task: Task) -> Kind:
    """The kind of a task, in the words of data sets."""
    found: Any = task.kind
    kind: Kind = found
    return kind
