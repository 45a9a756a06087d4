"""What does `uke fit --budget 10m` find on five data sets, against every single strategy and the plain probe?

Goals: never below the best single strategy by more than its standard error; on two or more of the five significantly
above the probe; and the run within its budget. `--quick`: hymenoptera alone, one minute, against two strategies.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import harness
import stage

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
    parser.add_argument("--budget", default="10m", help="(default %(default)s)")
    parser.add_argument("--single", nargs="*", choices=SINGLE, default=list(SINGLE), help="strategies to compare with")
    options = parser.parse_args()
    if options.quick:
        options.sets, options.budget, options.single = ["hymenoptera"], "1m", ["probe", "finetune"]
    found: dict[str, Any] = {"budget": options.budget, "sets": {}}
    with harness.staging() as folder:
        for name in options.sets:
            found["sets"][name] = _measured(name, _staged(options, name, folder / name), options)
    sets = found["sets"].values()
    found["below_the_best_single"] = [name for name, one in found["sets"].items() if one["below"]]
    found["above_the_probe"] = sum(one["gain_over_probe"] == "helped" for one in sets)
    found["within_budget"] = all(one["within_budget"] for one in sets)
    harness.report(__file__, options, found)


def _staged(options: argparse.Namespace, name: str, folder: Path) -> Path:
    source = options.shared / "data" / name
    match name:
        case "hymenoptera":
            return stage.train_and_test(source, folder, options.final)
        case "flowers5":
            return stage.picture_splits(source, folder, options.final)
        case "sst2" | "stsb":
            return stage.csv_splits(source, folder, options.final)
        case _:
            return source if options.final else stage.no_dev(source, folder)


def _measured(name: str, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    flags = [*SETS[name], "--controls", "none"]
    if not SETS[name]:
        flags += ["--model", str(options.shared / "weights" / WEIGHTS)]
    auto = harness.measure(_command(data, [*flags, "--budget", options.budget], "auto"))
    harness.note(f"{name}  auto: {auto.wall:.0f} s, {auto.result['chosen']} {auto.result['test']}")
    singles = {}
    for strategy in options.single:
        run = harness.measure(_command(data, [*flags, "--strategy", strategy], strategy))
        singles[strategy] = {**run.result, "wall": round(run.wall, 1)}
        harness.note(f"{name}  {strategy}: {run.wall:.0f} s, {run.result['test']}")
    ours = auto.result["test"]
    best = max(singles, key=lambda strategy: singles[strategy]["test"]["value"], default=None)
    error = (ours["high"] - ours["low"]) / 2 / Z
    lack = singles[best]["test"]["value"] - ours["value"] if best else 0.0
    return {
        "auto": {**auto.result, "wall": round(auto.wall, 1)},
        "single": singles,
        "best_single": best,
        "lack": round(lack, 4),
        "standard_error": round(error, 4),
        "below": lack > error,
        "gain_over_probe": auto.result["gain"],
        "within_budget": auto.wall <= auto.result["budget"],
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
