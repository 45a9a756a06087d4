"""Do prediction sets hold the truth as often as they promise, and are rows of another kind marked?

Goals: at 95 % the share of test rows of sst2 and of banking77 whose set holds the truth lies where it does in 99 of
100 cases (beta-binomial for the sizes). Beside it: how many test rows of the one are marked as unlike the training rows
of the other, and of its own.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import harness
import stage

SETS = {"sst2": "label", "banking77": "intent"}
UKE = "--strategy probe --layer last --controls none --calibrate auto"


def main() -> None:
    options = harness.arguments(__doc__, rounds=1).parse_args()
    names = list(SETS)[:1] if options.quick else list(SETS)
    found: dict[str, Any] = {}
    with harness.staging() as folder:
        runs = {name: fitted(name, options, folder) for name in names}
        for name, run in runs.items():
            record = json.loads((run / "record.json").read_text("utf-8"))
            found[name] = {"sets": record["sets"][0], "own_rows_marked": record["domain"][0]["test"]}
            for other in set(SETS) - {name}:
                found[name][f"{other}_rows_marked"] = marked(run, options.shared / "data" / other / "test.csv", folder)
    found["reached"] = all(found[name]["sets"]["inside"] for name in names)
    harness.report(__file__, options, found)


def fitted(name: str, options: Any, folder: Path) -> Path:
    """A run that sets rows apart: its folder."""
    data = options.shared / "data" / name
    if name == "sst2":
        data = stage.csv_splits(data, folder / name, options.final)
    return harness.kept(data, [*UKE.split(), "--target", SETS[name]], folder / f"{name}-run")


def marked(run: Path, rows: Path, folder: Path) -> float:
    """The share of some rows that `uke predict` marks."""
    answers = folder / "answers.csv"
    flags = [str(run), str(rows), "--text", "text", "--out", str(answers)]
    subprocess.run([sys.executable, "-m", "ukulele.cli", "predict", *flags], check=True, capture_output=True)
    with answers.open(encoding="utf-8", newline="") as file:
        flags = [line["outside"] == "True" for line in csv.DictReader(file)]
    return round(sum(flags) / len(flags), 4)


if __name__ == "__main__":
    main()
