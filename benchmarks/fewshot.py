"""Eight labels a class: how good and how quick is contrastive tuning, against SetFit and the plain probe?

Every draw of the rows is seen by all; the same encoder (MiniLM), all test rows. `wall` and `cpu` are of whole programs,
test rows included, which ours scores by the probe as well; `fit` is from the loading of the model to its last head.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import harness
import stage

SETS = {"sst2": ("label", 10), "banking77": ("intent", 3)}  # target, draws
LABELS = 8  # a class
VALIDATION = 4  # rows a class, for the temperature alone
UKE = "--model minilm --layer last --controls none --precision auto"
PEER = "setfit"


def main() -> None:
    parser = harness.arguments(__doc__, rounds=1)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--draws", type=int, help="of each set (default: 10 of sst2, 3 of banking77)")
    parser.add_argument("--labels", type=int, default=LABELS, help="rows a class (default %(default)s)")
    parser.add_argument("--flags", default="", help="more options of `uke fit --strategy fewshot`")
    options = parser.parse_args()
    found: dict[str, Any] = {"labels_a_class": options.labels, "sets": {}}
    with harness.staging() as folder:
        for name in options.sets:
            target, draws = SETS[name]
            draws = 1 if options.quick else options.draws or draws
            taken = [_draw(options, name, folder / f"{name}-{seed}", seed) for seed in range(draws)]
            found["sets"][name] = _measured(taken, target, options)
    harness.report(__file__, options, found)


def _draw(options: argparse.Namespace, name: str, folder: Path, seed: int) -> Path:
    """A few rows of each class to train on, a few to validate on; test rows as they are."""
    whole = folder.with_name(f"{name}-whole")
    if not whole.exists():
        _whole(options.shared / "data" / name, whole, options.final)
    with (whole / "train.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    by_class: dict[str, list[list[str]]] = defaultdict(list)
    for row in rows:
        by_class[row[-1]].append(row)
    train, validation = [], []
    draw = random.Random(f"{stage.SEED} {name} {seed}")
    for label in sorted(by_class):
        some = draw.sample(by_class[label], options.labels + VALIDATION)
        train += some[: options.labels]
        validation += some[options.labels :]
    folder.mkdir(parents=True)
    stage.write(folder / "train.csv", header, train)
    stage.write(folder / "dev.csv", header, validation)
    (folder / "test.csv").symlink_to((whole / "test.csv").resolve())
    return folder


def _whole(source: Path, target: Path, final: bool) -> None:
    if (source / "dev.csv").exists():
        stage.csv_splits(source, target, final)
        return
    if final:
        target.mkdir(parents=True)
        for name in ("train", "test"):
            (target / f"{name}.csv").symlink_to((source / f"{name}.csv").resolve())
        return
    stage.no_dev(source, target)


def _measured(taken: list[Path], target: str, options: argparse.Namespace) -> dict[str, Any]:
    """Accuracy and seconds of each program over the draws."""
    figures: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for seed, data in enumerate(taken):
        flags = [*UKE.split(), "--target", target, "--seed", str(seed)]
        programs = [
            harness.ours(data, [*flags, "--strategy", "fewshot", *options.flags.split()]),
            harness.ours(data, [*flags, "--strategy", "probe"], "probe"),
            harness.peer(PEER, "setfit_trainer.py", data, "--target", target, "--seed", seed),
        ]
        for program in programs if seed % 2 == 0 else reversed(programs):
            if program.name not in (options.only or [program.name]):
                continue
            run = harness.measure(program)
            harness.note(f"draw {seed}  {program.name}: {run.wall:.1f} s, {run.cpu:.1f} s of CPU, {run.result}")
            told = {"accuracy": run.result["accuracy"], "wall": round(run.wall, 2), "cpu": round(run.cpu, 2)}
            told["fit"] = run.result["seconds"] if "seconds" in run.result else run.result["phases"]["train"]
            figures[program.name].append(told)
    return {"programs": {name: _summary(runs) for name, runs in figures.items()}, **_verdict(figures)}


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    scores = [run["accuracy"] for run in runs]
    return {
        "accuracy": round(statistics.mean(scores), 4),
        "standard_error": _error(scores),
        "wall_seconds": harness.figures([run["wall"] for run in runs]),
        "cpu_seconds": harness.figures([run["cpu"] for run in runs]),
        "fit_seconds": harness.figures([run["fit"] for run in runs]),
        "draws": runs,
    }


def _verdict(figures: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Ours against each other program, paired by draw."""
    ours = figures.get(harness.OURS, [])
    found: dict[str, Any] = {}
    for name, runs in figures.items():
        if name == harness.OURS or not ours:
            continue
        gains = [mine["accuracy"] - theirs["accuracy"] for mine, theirs in zip(ours, runs, strict=True)]
        found[f"gain_over_{name}"] = {"mean": round(statistics.mean(gains), 4), "error": _error(gains)}
        for what in ("wall", "cpu", "fit"):
            shares = [mine[what] / theirs[what] for mine, theirs in zip(ours, runs, strict=True)]
            found[f"share_of_{name}_{what}"] = harness.figures(shares)
    return found


def _error(values: list[float]) -> float | None:
    """The standard error of a mean; None of one draw alone."""
    return round(statistics.stdev(values) / math.sqrt(len(values)), 4) if len(values) > 1 else None


if __name__ == "__main__":
    main()
