"""What each way to balance losses or gradients gains on the four tweet tasks: Δm against single-task controls.

Every balancer has the same rows, seeds and strategy. A model for each task alone is the same whatever balances the
tasks, so these controls are fitted once a seed, by the first balancer's run, and every Δm of that seed is against them.
Each run is written to standard error as a line of JSON, and after each seed the table so far: a benchmark that is
stopped leaves those. `--only` names the balancers to run, `--quick` runs the first seed alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness
import tweets

UKE = "--model minilm --strategy finetune --freeze 6 --patience 99 --rate 1e-4 --batch 32 --layer last --precision auto"
BALANCERS = ("first", "uncertainty", "dwa", "pcgrad", "upgrad", "mgda", "random")
SEEDS = (0, 1, 2)


def main() -> None:
    options = arguments()
    seeds = SEEDS[:1] if options.quick else SEEDS
    names = tuple(options.only or BALANCERS)
    with harness.staging() as folder:
        whole = tweets.staged(options.shared, folder, options.final)
        folders = tweets.thinned(whole, folder / "few", {"train": options.rows, "dev": options.validation})
        flags = [*UKE.split(), "--epochs", str(options.epochs)]
        flags += ["--cache", str(folder / "cache")]  # quality is what is measured: one pass serves all
        flags += ["--sampling", options.sampling] if options.sampling else []
        runs: dict[str, list[harness.Json]] = {name: [] for name in names}
        for seed in seeds:
            for name, found in measured(folders, names, seed, flags).items():
                runs[name].append(found)
            for line in table({name: figures(found) for name, found in runs.items()}):
                harness.note(line)
    shown = {
        "rows_a_task": {"train": options.rows, "validation": options.validation},
        "epochs": options.epochs,
        "seeds": seeds,
        "controls": f"a model for each task, fitted once a seed beside {names[0]}",
        "balancers": {name: figures(found) for name, found in runs.items()},
    }
    harness.report(__file__, options, shown)


def arguments() -> argparse.Namespace:
    parser = harness.arguments(__doc__, rounds=1)
    parser.add_argument("--rows", type=int, default=300, help="training rows a task (default %(default)s)")
    parser.add_argument("--validation", type=int, default=200, help="validation rows a task (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="of the last block (default %(default)s)")
    parser.add_argument("--sampling", help="how often each task is seen; by default as `uke fit` does")
    return parser.parse_args()


def measured(
    folders: Mapping[str, Path], names: Sequence[str], seed: int, given: Sequence[str]
) -> dict[str, harness.Json]:
    """A run for each balancer; the first one fits the controls too."""
    found: dict[str, harness.Json] = {}
    controls: harness.Json = {}
    for name in names:
        asked = ["--controls", "none" if controls else "tasks", "--balance", name, "--seed", str(seed)]
        run = harness.measure(tweets.together(folders, [*given, *asked]))
        interval = None
        if not controls:  # their answers lie in this run alone, and with them the paired interval
            controls, told = tweets.alone(run), tweets.delta_m(run)
            interval = [told["low"], told["high"]]
            harness.note(json.dumps({"seed": seed, "alone": controls}))
        found[name] = {
            "delta_m_percent": tweets.delta_m_against(run, controls),
            "interval": interval,
            "tasks": run.result["tasks"],
            "fit_seconds": run.result["seconds"],
            "wall_seconds": run.wall,
        }
        harness.note(json.dumps({"balance": name, "seed": seed, **found[name]}))
    return found


def figures(runs: Sequence[harness.Json]) -> harness.Json:
    """Over seeds: Δm, each task's test figures, and seconds of the joint model alone and of the whole process."""
    return {
        "delta_m_percent": tweets.mean([run["delta_m_percent"] for run in runs]),
        "intervals": [run["interval"] for run in runs],
        "tasks": {
            task: {name: tweets.mean([run["tasks"][task][name] for run in runs]) for name in tweets.SHOWN}
            for task in tweets.TASKS
        },
        "fit_seconds": round(statistics.median(run["fit_seconds"] for run in runs), 2),
        "wall_seconds": [round(run["wall_seconds"], 1) for run in runs],
    }


def table(found: Mapping[str, harness.Json]) -> list[str]:
    """The balancers as a table in Markdown, the best first; accuracy a task, seconds of the joint model."""
    lines = [
        f"| balance | Δm % | {' | '.join(tweets.TASKS)} | seconds |",
        f"| --- {'| --- ' * (len(tweets.TASKS) + 2)}|",
    ]
    for name, row in sorted(found.items(), key=best_first):
        gain = row["delta_m_percent"]
        spread = "" if gain["deviation"] is None else f" ± {gain['deviation']:.2f}"
        tasks = " | ".join(f"{row['tasks'][task]['accuracy']['mean']:.3f}" for task in tweets.TASKS)
        lines.append(f"| {name} | {gain['mean']:+.2f}{spread} | {tasks} | {row['fit_seconds']:.1f} |")
    return lines


def best_first(item: tuple[str, Any]) -> float:
    return -float(item[1]["delta_m_percent"]["mean"])


if __name__ == "__main__":
    main()
