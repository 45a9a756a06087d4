"""`uke predict` and `uke evaluate`: rows in, answers or scores out."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, tee
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from ukulele import data, evaluate
from ukulele.errors import DataError
from ukulele.tools.files import disk_error
from ukulele.tools.pictures import open_picture, with_boxes
from ukulele.trial.asking import read, tasks_for, typed
from ukulele.trial.predict import WINDOW, Grouped, Predictor, load_model
from ukulele.types import BadRow, Joined, Kind, Row, Rows, Target, Task, Where, with_answer

TABLES = {".csv", ".tsv", ".jsonl", ".json", ".parquet", ".ndjson"}
PICTURES = 256  # in memory at a time
SHOWN = 5  # rows set aside that are said; a file lists them all


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
    folder = target if target is not None and not target.suffix else None
    if folder is not None and predictor.modality == "image":
        target = folder / "answers.jsonl"
    if draw and folder is None:
        raise DataError("--draw needs a folder to put the pictures into.", hint="Name one: --out DIR")
    for one in given:
        if predictor.modality != "image" and os.path.isfile(one) and not is_source(one, predictor.modality):  # noqa: PTH113
            err.print(f"{one}: answered as a text; a file of rows ends in {_endings()}", markup=False, soft_wrap=True)
    if abstain is not None:
        for task in predictor.tasks:
            predictor.reach(task, abstain)  # refused now rather than behind the first rows
    rows, bad, width = gather(given, predictor, columns)
    predictor = predictor.only(tasks_for(predictor, width))
    aside = None if target is None else target.with_suffix(".quarantine.csv")
    if aside is not None and (bad or aside.exists()):
        data.write_quarantine(aside, bad)
    _say_aside(bad, err, f"all are in {aside}" if aside else "with --out FILE all are listed beside it")
    began, count = time.perf_counter(), 0
    rows, asked = tee(rows)  # what is held between the two is a window of rows
    answers: Iterator[tuple[Row, dict[str, Any]]] = zip(
        rows, predictor.stream((row.inputs for row in asked), abstain, weigh=True), strict=True
    )
    answers = flagged = _Flagged(answers)
    if target is None:
        for row, answer in answers:
            out.print(_sentence(row, answer), markup=False, soft_wrap=True)
            count += 1
    else:
        if draw and folder is not None:
            answers = _drawn(answers, folder)
        counted = _Counted(answers)
        _save(target, _lines(counted, target.suffix.lower()))
        count = counted.count
        seconds = time.perf_counter() - began
        err.print(
            f"{count} rows in {seconds:.1f} s, {count / max(seconds, 1e-9):,.0f} rows/s: {target}",
            markup=False,
            soft_wrap=True,
        )
    if flagged.outside:
        err.print(
            f"{flagged.outside:,} of {count:,} rows are unlike those of training: answers may be wrong there",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    if not count:
        raise DataError(
            "nothing to answer: no row could be read.", hint="Name texts, pictures, a folder or a file of rows."
        )


def gather(
    given: Sequence[str], predictor: Predictor | Grouped, columns: tuple[str, ...]
) -> tuple[Iterator[Row], list[BadRow], int]:
    """Rows from texts, files of rows, pictures and folders, in the order given; those that cannot be read; and how
    many inputs each has. A row is made when it is asked for.
    """
    parts: list[Rows] = []
    bad: list[BadRow] = []
    texts: list[tuple[int, str]] = []
    found: set[int] = set()

    def take(source: Any, columns: tuple[str, ...] = ()) -> None:
        some, aside, width = read(source, predictor, columns)
        found.add(width)
        if len(found) > 1:
            raise DataError("rows of one text and rows of two were given at once.", hint="Ask for each by itself.")
        parts.append(some)
        bad.extend(aside)

    def flush() -> None:
        if not texts:
            return
        width = typed([text for _, text in texts], predictor)
        found.add(width)
        pairs: list[tuple[str, ...]] = []
        for start in range(0, len(texts), width):
            pair = texts[start : start + width]
            empty = [at for at, text in pair if not text.strip()]
            bad.extend(BadRow(Where(f"text {at}"), "it is empty") for at in empty[:1])
            if not empty:
                pairs.append(tuple(text for _, text in pair))
        if pairs:
            take(pairs)
        texts.clear()

    for at, one in enumerate(given, 1):
        if not is_source(one, predictor.modality):
            texts.append((at, one))
            continue
        flush()
        if not os.path.exists(one):  # noqa: PTH110
            raise DataError(f"no such file: {one}", hint=f"Looked in {Path.cwd()}.")
        take(Path(one), columns)
    flush()
    return chain.from_iterable(parts), bad, next(iter(found))


class _Counted:
    """Rows with their answers, counted as they pass."""

    def __init__(self, answers: Iterable[tuple[Row, dict[str, Any]]]) -> None:
        self._answers, self.count = answers, 0

    def __iter__(self) -> Iterator[tuple[Row, dict[str, Any]]]:
        for pair in self._answers:
            self.count += 1
            yield pair


class _Flagged:
    """Rows with their answers; those unlike the training rows are counted as they pass."""

    def __init__(self, answers: Iterator[tuple[Row, dict[str, Any]]]) -> None:
        self._answers, self.outside = answers, 0

    def __iter__(self) -> Iterator[tuple[Row, dict[str, Any]]]:
        return self

    def __next__(self) -> tuple[Row, dict[str, Any]]:
        row, answer = next(self._answers)
        self.outside += any(told.get("outside", False) for told in answer.values())
        return row, answer


def _lines(answers: Iterable[tuple[Row, dict[str, Any]]], kind: str) -> Iterator[dict[str, Any]]:
    """A line a row; in a table a line for each box."""
    for row, answer in answers:
        line = _line(row, answer)
        boxes = line.get("boxes") if kind in {".csv", ".tsv"} else None
        if boxes is None:
            yield line
            continue
        for box in boxes:
            edges = dict(zip(("left", "top", "right", "bottom"), box["box"], strict=True))
            yield {"row": line["row"], "label": box["label"], "score": box["score"], **edges}


def _drawn(answers: Iterable[tuple[Row, dict[str, Any]]], folder: Path) -> Iterator[tuple[Row, dict[str, Any]]]:
    """The answers, their boxes drawn on their pictures on the way."""
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
        yield row, answer


def is_source(given: str, modality: str) -> bool:
    """Whether an argument names rows rather than being one: by its ending, or a folder written as a path.

    >>> is_source("new.csv", "text"), is_source("README", "text"), is_source("README", "image")
    (True, False, True)
    """
    if modality == "image":
        return True
    ending = os.path.splitext(given)[1].lower()  # noqa: PTH122 - it may be any text
    if ending in TABLES and " " not in given:
        return True
    if ending in TABLES | {".txt"}:
        return os.path.isfile(given)  # noqa: PTH113
    return os.sep in given and os.path.isdir(given)  # noqa: PTH112


def _endings() -> str:
    return ", ".join(sorted(TABLES))


def _say_aside(bad: Sequence[BadRow], err: Console, where: str) -> None:
    """The first rows set aside, how many more there are, and where all are listed."""
    for row in bad[:SHOWN]:
        err.print(f"set aside {row.where}: {row.reason}", style="yellow", markup=False, soft_wrap=True)
    if len(bad) > SHOWN:
        err.print(f"and {len(bad) - SHOWN:,} more; {where}", style="yellow", markup=False, soft_wrap=True)


def _line(row: Row, answer: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    line: dict[str, Any] = {"row": str(row.where)}
    texts = [value for value in row.inputs if isinstance(value, str)]
    line |= {f"text{i or ''}": text for i, text in enumerate(texts)}
    for task, found in answer.items():
        prefix = "" if len(answer) == 1 else f"{task}."
        line |= {f"{prefix}{name}": value for name, value in found.items()}
    return line


def _sentence(row: Row, answer: Mapping[str, Mapping[str, Any]]) -> str:
    texts = [value for value in row.inputs if isinstance(value, str)]
    shown = " | ".join(texts) or str(row.where)
    named = [f"{task}: {_said(found)}" if len(answer) > 1 else _said(found) for task, found in answer.items()]
    return f"{'   '.join(named)}\t{shown if len(shown) < 100 else shown[:99] + '…'}"


def _said(found: Mapping[str, Any]) -> str:
    """One task's answer for people: what it is, and how sure."""
    answers = []
    for name, value in found.items():
        match name:
            case "label" | "labels":
                answers.append(value if isinstance(value, str) else "; ".join(value) or "(none)")
            case "output":
                answers.append(value)
            case "value":
                answers.append(f"{value:.4g}")
            case "boxes":
                counts = Counter(box["label"] for box in value)
                answers.append(", ".join(f"{label} {n}" for label, n in counts.most_common()) or "(nothing)")
            case "probability":
                answers.append(f"{value:.3f}")
            case "set" if found["abstained"]:
                answers.append(f"abstains: {' or '.join(value) or 'nothing fits'}")
            case "possible" if value:
                answers.append(f"in doubt: {'; '.join(value)}")
            case "low":
                answers.append(f"({value:.4g} to {found['high']:.4g})")
            case "outside" if value:
                answers.append("(unlike the training rows)")
    return "  ".join(answers)


def _save(target: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write lines by the ending of the name: .csv, .tsv, .jsonl or .json."""
    kind = target.suffix.lower()
    if kind not in {".csv", ".tsv", ".jsonl", ".json"}:
        raise DataError(f"--out {target}: .csv, .tsv or .jsonl was expected.")
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="") as file:
            for line in _written(lines, file, kind):
                del line
        part.replace(target)
    except OSError as error:
        raise disk_error(target, error) from error
    finally:
        part.unlink(missing_ok=True)


def _written(lines: Iterable[Mapping[str, Any]], file: IO[str], kind: str) -> Iterator[Mapping[str, Any]]:
    writer: Any = None
    for line in lines:
        if kind in {".jsonl", ".json"}:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        else:
            flat = _flat(line)
            if writer is None:
                writer = csv.DictWriter(file, list(flat), delimiter="\t" if kind == ".tsv" else ",")
                writer.writeheader()
            writer.writerow(flat)
        yield line


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in line.items():
        if isinstance(value, Mapping):
            singular = {"probabilities": "probability"}.get(name, name)
            flat |= {f"{singular} {key}": v for key, v in value.items()}
        elif isinstance(value, list | tuple):
            flat[name] = ";".join(map(str, value))
        else:
            flat[name] = value
    return flat


def evaluate_on(
    run: Path,
    source: Any,
    slice_by: str | None,
    max_bad: float = 0.05,
    quarantine: Path | None = None,
    err: Console | None = None,
) -> dict[str, Any]:
    """Scores of a run's model on labelled rows, by metric and, where asked, by slice; by task, too, of several.

    At most the share `max_bad` of the rows may be set aside; `quarantine` lists them, and `err` is told of the first.

    Raises
    ------
    RunError
        If the run holds no model.
    DataError
        If no row can be used, or too many cannot.
    """
    err = err or Console(stderr=True, highlight=False)
    predictor = load_model(run)
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
    dataset = data.read_labelled(
        source, predictor.columns, tuple(targets), predictor.modality, max_bad=max_bad, joined=joined
    )
    if quarantine is not None:
        data.write_quarantine(quarantine, dataset.quarantine, "--quarantine")
    for said in (*dataset.notes, *(f.message for f in dataset.findings if f.code == "file-without-rows")):
        err.print(said, markup=False, soft_wrap=True)
    dataset = predictor.windowed(dataset)
    rows = dataset.splits["test"]
    tasks = {name: task for name, task in predictor.tasks.items() if name in {t.name for t in dataset.targets}}
    raw, values, numbers = _raw(predictor, rows, tasks)
    scores, slices, particulars = {}, {}, {}
    for name, task in tasks.items():
        if task.kind == "detect":
            _say_strange(name, getattr(task, "labels", ()), values[name])
        table = task.table(task.decode(raw[name]), values[name])
        if task.kind == "detect":
            particulars = evaluate.details(task, table, [])
        scores[name] = evaluate.plain(evaluate.estimates(task, table))
        if slice_by is not None:
            slices[name] = list(evaluate.slices(task, table, rows.take(numbers[name]).column(slice_by), slice_by))
    _say_aside(dataset.quarantine, err, f"all are in {quarantine}" if quarantine else "--quarantine FILE lists all")
    alone = next(iter(scores)) if len(predictor.tasks) == 1 else None
    found: dict[str, Any] = {
        "rows": len(rows),
        "set_aside": len(dataset.quarantine),
        "test": scores[alone] if alone is not None else scores,
    }
    found |= {name: particulars[name] for name in ("per_class", "sizes") if name in particulars}
    if slice_by is not None:
        found["slices"] = slices[alone] if alone is not None else slices
    return found


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
