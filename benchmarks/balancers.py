"""What each way to balance losses or gradients gains on the four tweet tasks: Δm against single-task controls.

Every balancer has the same rows, seeds, strategy and controls (`controls_equal` says whether the controls came out
alike). A table goes to standard error. `--only` names the balancers to run, `--quick` runs the first seed alone.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import harness
import tweets

UKE = (
    "--model minilm --strategy finetune --freeze 6 --epochs 4 --patience 99 --rate 1e-4 --batch 32 --layer last "
    "--controls tasks --precision auto"
)
BALANCERS = ("first", "uncertainty", "dwa", "pcgrad", "upgrad", "mgda", "random")
SEEDS = (0, 1, 2)


def main() -> None:
    options = arguments()
    seeds = SEEDS[:1] if options.quick else SEEDS
    names = tuple(options.only or BALANCERS)
    with harness.staging() as folder:
        whole = tweets.staged(options.shared, folder, options.final)
        folders = tweets.thinned(whole, folder / "few", {"train": options.rows})
        flags = [*UKE.split(), "--cache", str(folder / "cache")]  # quality is what is measured: one pass serves all
        flags += ["--sampling", options.sampling] if options.sampling else []
        runs = measured(folders, names, seeds, flags)
    found = {name: figures([runs[name, seed] for seed in seeds]) for name in names}
    for line in table(found):
        harness.note(line)
    equal = all(alike([runs[name, seed].result["controls"] for name in names]) for seed in seeds)
    shown = {"train_rows_a_task": options.rows, "seeds": seeds, "controls_equal": equal, "balancers": found}
    harness.report(__file__, options, shown)


def arguments() -> argparse.Namespace:
    parser = harness.arguments(__doc__, rounds=1)
    parser.add_argument("--rows", type=int, default=400, help="training rows a task (default %(default)s)")
    parser.add_argument("--sampling", help="how often each task is seen; by default as `uke fit` does")
    return parser.parse_args()


def measured(
    folders: Mapping[str, Path], names: Sequence[str], seeds: Sequence[int], given: Sequence[str]
) -> dict[tuple[str, int], harness.Run]:
    """A run for each balancer and seed."""
    runs = {}
    for seed in seeds:
        for name in names:
            flags = [*given, "--balance", name, "--seed", str(seed)]
            runs[name, seed] = run = harness.measure(tweets.together(folders, flags))
            harness.note(f"{name}, seed {seed}: {run.wall:.1f} s, Δm {tweets.delta_m(run)['value']:+.2f} %")
    return runs


def figures(runs: Sequence[harness.Run]) -> harness.Json:
    """Over seeds: Δm, each task's test figures, and seconds of the joint model alone and of the whole process."""
    return {
        "delta_m_percent": tweets.mean([tweets.delta_m(run)["value"] for run in runs]),
        "intervals": [[tweets.delta_m(run)[side] for side in ("low", "high")] for run in runs],
        "tasks": {
            task: {name: tweets.mean([run.result["tasks"][task][name] for run in runs]) for name in tweets.SHOWN}
            for task in tweets.TASKS
        },
        "fit_seconds": round(statistics.median(run.result["seconds"] for run in runs), 2),
        "wall_seconds": round(statistics.median(run.wall for run in runs), 2),
    }


def alike(controls: Sequence[harness.Json]) -> bool:
    return all(control == controls[0] for control in controls)


def table(found: Mapping[str, harness.Json]) -> list[str]:
    """The balancers as a table in Markdown, the best first; accuracy a task, seconds of the joint model."""
    lines = [
        f"| balance | Δm % | {' | '.join(tweets.TASKS)} | seconds |",
        f"| --- {'| --- ' * (len(tweets.TASKS) + 2)}|",
    ]
    for name, row in sorted(found.items(), key=lambda item: -item[1]["delta_m_percent"]["mean"]):
        gain = row["delta_m_percent"]
        spread = "" if gain["deviation"] is None else f" ± {gain['deviation']:.2f}"
        tasks = " | ".join(f"{row['tasks'][task]['accuracy']['mean']:.3f}" for task in tweets.TASKS)
        lines.append(f"| {name} | {gain['mean']:+.2f}{spread} | {tasks} | {row['fit_seconds']:.1f} |")
    return lines


if __name__ == "__main__":
    main()
