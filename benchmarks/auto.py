"""What does `uke fit --budget` find on five data sets, against every single strategy and the plain probe?

Goals: never below the best single strategy by more than its standard error; on two or more of the five significantly
above the probe; and the run within its budget. By default some training rows of each set and three minutes; the whole
question is `--rows 0 --budget 10m`. `--reckon` says how long it takes here; `--sets` and `--keep` answer it in pieces.
`--quick`: 120 pictures of hymenoptera, one minute, against two strategies.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import harness
import stage
from ukulele.config import FitOptions

WEIGHTS = "mobilenetv2_100_imagenet.safetensors"
SINGLE = ("probe", "stages", "finetune", "full", "lora")
SETS: dict[str, tuple[str, ...]] = {
    "sst2": ("--target", "label", "--model", "minilm"),
    "banking77": ("--target", "intent", "--model", "minilm"),
    "hymenoptera": (),
    "flowers5": (),
    "stsb": ("--model", "minilm"),
}
Z = 1.96  # standard errors in half an interval of 95 %


def main() -> None:
    parser = harness.arguments(__doc__, rounds=1)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--budget", default="3m", help="(default %(default)s)")
    harness.piecewise(parser, rows=1500)
    parser.add_argument("--single", nargs="*", choices=SINGLE, default=list(SINGLE), help="strategies to compare with")
    options = parser.parse_args()
    if options.quick:
        options.sets, options.budget, options.single = ["hymenoptera"], "1m", ["probe", "finetune"]
        options.rows = min(options.rows or 600, 600)
    found: dict[str, Any] = {"budget": options.budget, "training_rows": options.rows or "all", "sets": {}}
    with harness.staging() as folder:
        staged = {name: stage.fewer(_laid_out(name, folder, options), options.rows) for name in options.sets}
        if options.reckon:
            found["seconds"] = {name: _reckoned(name, data, options) for name, data in staged.items()}
            found["all"] = sum(sum(one.values()) for one in found["seconds"].values())
            harness.report(__file__, options, found)
            return
        for name, data in staged.items():
            found["sets"][name] = _measured(name, data, options)
    sets = found["sets"].values()
    found["below_the_best_single"] = [name for name, one in found["sets"].items() if one["below"]]
    found["above_the_probe"] = sum(one["gain_over_probe"] == "helped" for one in sets)
    found["within_budget"] = all(one["within_budget"] for one in sets)
    harness.report(__file__, options, found)


def _laid_out(name: str, folder: Path, options: argparse.Namespace) -> Path:
    return stage.laid_out(options.shared / "data" / name, folder / name, options.final)


def _flags(name: str, options: argparse.Namespace) -> list[str]:
    given = SETS[name] or ("--model", str((options.shared / "weights" / WEIGHTS).resolve()))
    return [*given, "--controls", "none"]


def _reckoned(name: str, data: Path, options: argparse.Namespace) -> dict[str, float]:
    found = {"auto": FitOptions(budget=options.budget).seconds or 0.0}
    for strategy in options.single:
        found[strategy] = harness.reckoned(data, [*_flags(name, options), "--strategy", strategy])
        harness.note(f"{name}  {strategy}: about {found[strategy]:.0f} s at most")
    return found


def _run(name: str, data: Path, options: argparse.Namespace, what: str, *more: str) -> dict[str, Any]:
    def measured() -> dict[str, Any]:
        run = harness.measure(_command(data, [*_flags(name, options), *more], what))
        return {**run.result, "wall": round(run.wall, 1)}

    split = "test" if options.final else "rehearsal"
    found = harness.once(options.keep, f"auto {name} {split} {options.rows or 'all'} rows {' '.join(more)}", measured)
    harness.note(f"{name}  {what}: {found['wall']:.0f} s, {found['chosen']} {found['test']}")
    return found


def _measured(name: str, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    auto = _run(name, data, options, "auto", "--budget", options.budget)
    singles = {one: _run(name, data, options, one, "--strategy", one) for one in options.single}
    ours = auto["test"]
    best = max(singles, key=lambda strategy: singles[strategy]["test"]["value"], default=None)
    error = (ours["high"] - ours["low"]) / 2 / Z
    lack = singles[best]["test"]["value"] - ours["value"] if best else 0.0
    return {
        "auto": auto,
        "single": singles,
        "best_single": best,
        "lack": round(lack, 4),
        "standard_error": round(error, 4),
        "below": lack > error,
        "gain_over_probe": auto["gain"],
        "within_budget": auto["wall"] <= auto["budget"],
    }


def _command(data: Path, flags: list[str], name: str) -> harness.Command:
    command = harness.ours(data, flags, name)
    return harness.Command(name, command.argv, lambda _, out: _result(out / "run" / "record.json"))


def _result(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text(encoding="utf-8"))
    metric = record["task"]["metric"]
    kept = ("name", "taken", "predicted_seconds", "seconds", "epochs", "planned_epochs", "better", "why")
    return {
        "metric": metric,
        "test": record["test"][metric],
        "chosen": record["chosen"],
        "budget": record["run"]["budget_seconds"],
        "gain": (record.get("gain_over_probe") or {}).get("outcome"),
        "ladder": [{key: step.get(key) for key in kept} for step in record["ladder"]],
    }


if __name__ == "__main__":
    main()
