"""Does the order of `uke choose` foretell how models do once they are fine-tuned?

Each data set's models are ranked, then each is fitted and scored on the test rows. Goals, over pairs of models that
differ by more than two standard errors there: a weighted Kendall's τ of at least .8, and a regret of the chosen model
of at most one standard error. Bundles that were trained on other tasks are named with --bundles: finished runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import harness
from choose_hymenoptera import NAMES

PICTURES, TEXTS = ("hymenoptera", "flowers5"), ("sst2", "banking77", "tweets/emotion", "tweets/irony")
DRAWS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=harness.HERE.parents[1] / "shared")
    parser.add_argument("--bundles", nargs="*", default=[], help="runs on other tasks, for texts")
    parser.add_argument("--only", nargs="+", choices=[*PICTURES, *TEXTS])
    parser.add_argument("--strategy", default="finetune", help="how each is fitted (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="hymenoptera alone, each model merely probed")
    parser.add_argument("--cache", help="folder of the feature cache; the usual one by default")
    options = parser.parse_args()
    names = options.only or (["hymenoptera"] if options.quick else [*PICTURES, *TEXTS])
    strategy = "probe" if options.quick else options.strategy
    found = {name: measured(name, options, strategy) for name in names}
    report({"strategy": strategy, "sets": found, **summary(list(found.values()))})


def measured(name: str, options: argparse.Namespace, strategy: str) -> dict[str, Any]:
    """Fused values and expected regrets of a data set's models, and how each does on the test rows when fitted."""
    import ukulele

    data = options.shared / "data" / name
    weights = [str((options.shared / "weights" / f"{one}.safetensors").resolve()) for one in NAMES]
    models = weights if name in PICTURES else ["minilm", *options.bundles]
    ranked = ukulele.choose(data, models, cache=options.cache)
    lines = []
    for one in ranked["models"]:
        with tempfile.TemporaryDirectory(prefix="uke-bench-") as folder:
            run = ukulele.fit(
                data, model=one["model"], strategy=strategy, controls="none", out=f"{folder}/run", cache=options.cache
            )
            estimate = run.record["test"][run.record["task"]["metric"]]
        error = (estimate["high"] - estimate["low"]) / 3.92
        line = {"model": Path(one["model"]).stem, "fused": one["fused"], "regret": one["regret"], "error": error}
        lines.append({**line, "scores": one["scores"], "fitted": estimate["value"]})
        harness.note(f"{name}: {line['model']} {estimate['value']:.4f}, fused {one['fused']:.4f}")
    return {"models": lines, "regret": max(x["fitted"] for x in lines) - lines[0]["fitted"], "error": lines[0]["error"]}


def tau(models: Sequence[dict[str, Any]], fitted: Sequence[float]) -> float | None:
    """Kendall's τ over pairs more than two standard errors apart, each weighed by how far; None without any."""
    agree = total = 0.0
    for (i, a), (j, b) in combinations(enumerate(models), 2):
        apart = abs(fitted[i] - fitted[j])
        if apart <= 2 * float(np.hypot(a["error"], b["error"])):
            continue
        total += apart
        agree += apart * float(np.sign((fitted[i] - fitted[j]) * (a["fused"] - b["fused"])))
    return agree / total if total else None


def summary(sets: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """τ over the sets, with an interval over draws of the fitted scores within their errors."""
    draw = np.random.default_rng(0)
    taus = [tau(one["models"], [m["fitted"] for m in one["models"]]) for one in sets]
    known = [value for value in taus if value is not None]
    drawn = []
    for _ in range(DRAWS):
        some = [tau(s["models"], [draw.normal(m["fitted"], m["error"]) for m in s["models"]]) for s in sets]
        if any(value is not None for value in some):
            drawn.append(float(np.mean([value for value in some if value is not None])))
    ends = np.quantile(drawn, (0.025, 0.975)).tolist() if drawn else None
    within = [one["regret"] <= one["error"] for one in sets]
    return {"tau": float(np.mean(known)) if known else None, "interval": ends, "regret_within_error": within}


def report(found: dict[str, Any]) -> None:
    print(json.dumps({"benchmark": Path(sys.argv[0]).stem, "machine": harness.machine(), **found}, indent=2))


if __name__ == "__main__":
    main()
