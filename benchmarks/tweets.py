"""The four tweet tasks: laid out alike for every program, trained as one model, read back from its record."""

from __future__ import annotations

import csv
import json
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness
import stage
from ukulele import evaluate

TASKS = ("irony", "hate", "offensive", "emotion")
SHOWN = ("accuracy", "macro_f1")


def staged(shared: Path, folder: Path, final: bool) -> dict[str, Path]:
    """A folder of train.csv, dev.csv and test.csv for each task."""
    found = {}
    for task in TASKS:
        given = folder / "given" / task
        given.mkdir(parents=True)
        for name, here in (("train", "train"), ("val", "dev"), ("test", "test")):
            (given / f"{here}.csv").symlink_to((shared / "data" / "tweets" / task / f"{name}.csv").resolve())
        found[task] = stage.csv_splits(given, folder / "staged" / task, final)
    return found


def thinned(folders: Mapping[str, Path], target: Path, sizes: Mapping[str, int], seed: int = 0) -> dict[str, Path]:
    """The same with at most `sizes` rows a split, drawn at random."""
    found = {task: target / task for task in folders}
    for task, folder in folders.items():
        found[task].mkdir(parents=True)
        for split in ("train", "dev", "test"):
            header, rows = read(folder / f"{split}.csv")
            random.Random(f"{seed} {task} {split}").shuffle(rows)
            stage.write(found[task] / f"{split}.csv", header, rows[: sizes.get(split, len(rows))])
    return found


def as_one_task(folders: Mapping[str, Path], target: Path) -> Path:
    """The rows of all tasks as one task: to tell which of them a text comes from."""
    target.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        rows = []
        for task, folder in folders.items():
            header, body = read(folder / f"{split}.csv")
            rows += [(row[header.index("text")], task) for row in body]
        stage.write(target / f"{split}.csv", ("text", "label"), rows)
    return target


def read(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def together(folders: Mapping[str, Path], flags: Sequence[str], name: str = harness.OURS) -> harness.Command:
    """`uke fit irony=… hate=… …`: one model for all tasks."""
    sources = [f"{task}={folder}" for task, folder in folders.items()]

    def argv(out: Path) -> list[str]:
        return [sys.executable, "-m", "ukulele.cli", "fit", *sources, *flags, "--out", str(out / "run")]

    return harness.Command(name, argv, lambda _, out: from_record(out / "run" / "record.json"))


def from_record(path: Path) -> harness.Json:
    """Each task's figures on the test rows and their mean, Δm, the grouping, and the single-task controls."""
    record = json.loads(path.read_text(encoding="utf-8"))
    several = record["multitask"]
    tests = {task: record["test"][task] for task in TASKS}
    return {
        "accuracy": statistics.mean(test["accuracy"]["value"] for test in tests.values()),
        "tasks": {task: {name: test[name]["value"] for name in SHOWN} for task, test in tests.items()},
        "metrics": {task["name"]: task["metric"] for task in several["tasks"]},
        "delta_m_percent": several["delta_m_percent"],
        "grouping": several["grouping"],
        "controls": {control["name"]: control["test"] for control in record["controls"]},
        "seconds": record["cost"]["seconds"],
    }


def delta_m(run: harness.Run) -> dict[str, Any]:
    """Δm with its interval."""
    found = run.result["delta_m_percent"]
    if found is None:
        raise harness.RunFailedError("the record has no delta_m_percent: were the single-task controls run?")
    return dict(found)


def delta_m_against(run: harness.Run, alone: harness.Json) -> float:
    """Δm of a run without controls against the single-task controls of another run on the same rows and seed."""
    changes = []
    for task, metric in run.result["metrics"].items():
        if metric not in SHOWN:
            raise harness.RunFailedError(f"{task} is decided by {metric}; of {' and '.join(SHOWN)} more is better")
        changes.append(float(evaluate.change(run.result["tasks"][task][metric], alone[task][metric])))
    return statistics.mean(changes)


def alone(run: harness.Run) -> harness.Json:
    """The test figures of each task's control, by task."""
    controls = run.result["controls"]
    return {task: {name: controls[f"{task} alone"][task][name]["value"] for name in SHOWN} for task in TASKS}


def mean(values: Sequence[float]) -> harness.Json:
    """Mean, standard deviation and the values themselves."""
    return {
        "mean": round(statistics.mean(values), 4),
        "deviation": round(statistics.stdev(values), 4) if len(values) > 1 else None,
        "values": [round(value, 4) for value in values],
    }
