"""Does the order of `uke choose` foretell how models do once they are fine-tuned?

Each data set's models are ranked, then each is fitted and scored on the test rows. Goals, over pairs of models that
differ by more than two standard errors there: a weighted Kendall's τ of at least .8, and a regret of the chosen model
of at most one standard error. Bundles that were trained on other tasks are named with --bundles: finished runs; without
them there is one model for texts, and those sets are left out. By default some training rows of each set; `--rows 0`:
all. `--reckon` says how long it takes here; `--sets` and `--keep` answer it in pieces. `--quick`: 120 pictures of
hymenoptera, each model merely probed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import harness
import stage
from choose_hymenoptera import NAMES

PICTURES, TEXTS = ("hymenoptera", "flowers5"), ("sst2", "banking77", "tweets/emotion", "tweets/irony")
DRAWS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=harness.HERE.parents[1] / "shared")
    parser.add_argument("--bundles", nargs="*", default=[], help="runs on other tasks, for texts")
    parser.add_argument("--sets", nargs="+", choices=[*PICTURES, *TEXTS])
    parser.add_argument("--final", action="store_true", help="open the test split; else a rehearsal on training data")
    harness.piecewise(parser, rows=1000)
    parser.add_argument("--strategy", default="finetune", help="how each is fitted (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="120 pictures of hymenoptera, each merely probed")
    parser.add_argument("--cache", help="folder of the feature cache; the usual one by default")
    options = parser.parse_args()
    names = options.sets or (["hymenoptera"] if options.quick else [*PICTURES, *(TEXTS if options.bundles else ())])
    if options.quick:
        options.strategy, options.rows = "probe", min(options.rows or 600, 600)
    with harness.staging() as folder:
        given = {name: stage.laid_out(options.shared / "data" / name, folder / name, options.final) for name in names}
        staged = {name: stage.fewer(data, options.rows) for name, data in given.items()}
        if options.reckon:
            seconds = {name: reckoned(name, data, options) for name, data in staged.items()}
            report({"strategy": options.strategy, "seconds": seconds, "all": sum(seconds.values())}, options)
            return
        found = {name: measured(name, data, options) for name, data in staged.items()}
    report({"strategy": options.strategy, "sets": found, **summary(list(found.values()))}, options)


def models_for(name: str, options: argparse.Namespace) -> list[str]:
    weights = [str((options.shared / "weights" / f"{one}.safetensors").resolve()) for one in NAMES]
    return weights if name in PICTURES else ["minilm", *options.bundles]


def reckoned(name: str, data: Path, options: argparse.Namespace) -> float:
    """Seconds to fit all models, from `uke fit --dry-run` of each; ranking them takes little beside that."""
    flags = ("--strategy", options.strategy, "--controls", "none")
    seconds = [harness.reckoned(data, ["--model", model, *flags]) for model in models_for(name, options)]
    harness.note(f"{name}: about {sum(seconds):.0f} s at most")
    return sum(seconds)


def measured(name: str, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Fused values and expected regrets of a data set's models, and how each does on the test rows when fitted."""
    import ukulele

    mark = f"{name} {'test' if options.final else 'rehearsal'} {options.rows or 'all'} rows"
    models = models_for(name, options)
    ranked = harness.once(options.keep, f"ranking {mark}", lambda: ukulele.choose(data, models, cache=options.cache))
    lines = []
    for one in ranked["models"]:
        line = {"model": Path(one["model"]).stem, "fused": one["fused"], "regret": one["regret"]}
        kept = f"{options.strategy} {line['model']} {mark}"
        line |= harness.once(options.keep, kept, partial(fitted, data, one["model"], options))
        lines.append({**line, "scores": one["scores"]})
        harness.note(f"{name}: {line['model']} {line['fitted']:.4f}, fused {one['fused']:.4f}")
    return {"models": lines, "regret": max(x["fitted"] for x in lines) - lines[0]["fitted"], "error": lines[0]["error"]}


def fitted(data: Path, model: str, options: argparse.Namespace) -> dict[str, float]:
    """The score of a fitted model on the test rows, and its standard error."""
    import ukulele

    with tempfile.TemporaryDirectory(prefix="uke-bench-") as folder:
        run = ukulele.fit(
            data, model=model, strategy=options.strategy, controls="none", out=f"{folder}/run", cache=options.cache
        )
        estimate = run.record["test"][run.record["task"]["metric"]]
    return {"fitted": estimate["value"], "error": (estimate["high"] - estimate["low"]) / 3.92}


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


def report(found: dict[str, Any], options: argparse.Namespace) -> None:
    harness.report(sys.argv[0], options, {"training_rows": options.rows or "all", **found})


if __name__ == "__main__":
    main()
