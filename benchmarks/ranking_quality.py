"""Does the order of `uke choose` foretell how models do once they are fine-tuned?

Each data set's models are ranked, then each is fitted with several seeds and scored on the test rows. Goals: over pairs
of models that differ by more than two standard errors there, a weighted Kendall's τ of at least .8; and a regret of the
chosen model of at most one. Errors are of differences between two models, of seeds and rows that are drawn again, the
same for both. Bundles that were trained on other tasks are named with --bundles: finished runs; without
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
from numpy.typing import NDArray

import harness
import stage
from choose_hymenoptera import NAMES

PICTURES, TEXTS = ("hymenoptera", "flowers5"), ("sst2", "banking77", "tweets/emotion", "tweets/irony")
Floats = NDArray[np.float64]
ERRORS = 2  # that a pair of models has to be apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=harness.HERE.parents[1] / "shared")
    parser.add_argument("--bundles", nargs="*", default=[], help="runs on other tasks, for texts")
    parser.add_argument("--sets", nargs="+", choices=[*PICTURES, *TEXTS])
    parser.add_argument("--final", action="store_true", help="open the test split; else a rehearsal on training data")
    harness.piecewise(parser, rows=1000)
    parser.add_argument("--strategy", default="finetune", help="how each is fitted (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="fits of each model (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="120 pictures of hymenoptera, each merely probed")
    parser.add_argument("--cache", help="folder of the feature cache; the usual one by default")
    options = parser.parse_args()
    names = options.sets or (["hymenoptera"] if options.quick else [*PICTURES, *(TEXTS if options.bundles else ())])
    if options.quick:
        options.strategy, options.rows = "probe", min(options.rows or 600, 600)
        options.seeds = 1
    with harness.staging() as folder:
        given = {name: stage.laid_out(options.shared / "data" / name, folder / name, options.final) for name in names}
        staged = {name: stage.fewer(data, options.rows) for name, data in given.items()}
        if options.reckon:
            seconds = {name: reckoned(name, data, options) for name, data in staged.items()}
            report({"strategy": options.strategy, "seconds": seconds, "all": sum(seconds.values())}, options)
            return
        found = {name: measured(name, data, options) for name, data in staged.items()}
    told = summary(list(found.values()))  # takes the draws out
    report({"strategy": options.strategy, "sets": found, **told}, options)


def models_for(name: str, options: argparse.Namespace) -> list[str]:
    weights = [str((options.shared / "weights" / f"{one}.safetensors").resolve()) for one in NAMES]
    return weights if name in PICTURES else ["minilm", *options.bundles]


def reckoned(name: str, data: Path, options: argparse.Namespace) -> float:
    """Seconds to fit all models, from `uke fit --dry-run` of each; ranking them takes little beside that."""
    flags = ("--strategy", options.strategy, "--controls", "none")
    seconds = [harness.reckoned(data, ["--model", model, *flags]) for model in models_for(name, options)]
    harness.note(f"{name}: about {options.seeds * sum(seconds):.0f} s at most")
    return options.seeds * sum(seconds)


def measured(name: str, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Fused values and expected regrets of a data set's models, how each does on the test rows when fitted, and that
    again on drawn seeds and rows.
    """
    import ukulele
    from ukulele.evaluate.seeds import mean_of_drawn

    mark = f"{name} {'test' if options.final else 'rehearsal'} {options.rows or 'all'} rows"
    models = models_for(name, options)
    ranked = harness.once(options.keep, f"ranking {mark}", lambda: ukulele.choose(data, models, cache=options.cache))
    lines, drawn = [], []
    for one in ranked["models"]:
        line = {"model": Path(one["model"]).stem, "fused": one["fused"], "regret": one["regret"]}
        found = [
            harness.once(
                options.keep,
                f"{options.strategy} {line['model']} {mark} seed {seed}",
                partial(fitted, data, one["model"], seed, options),
            )
            for seed in range(options.seeds)
        ]
        each = [seed["value"] for seed in found]
        drawn.append(mean_of_drawn(np.array([seed["drawn"] for seed in found])))
        line |= {"fitted": float(np.mean(each)), "each": each, "error": float(drawn[-1].std())}
        lines.append({**line, "scores": one["scores"]})
        harness.note(f"{name}: {line['model']} {line['fitted']:.4f}, fused {one['fused']:.4f}")
    best = int(np.argmax([line["fitted"] for line in lines]))
    regret, error = lines[best]["fitted"] - lines[0]["fitted"], float((drawn[best] - drawn[0]).std())
    return {"models": lines, "best": lines[best]["model"], "regret": regret, "error": error, "drawn": drawn}


def fitted(data: Path, model: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The score of a fitted model on the test rows, and on rows drawn from them, the same for every model."""
    import ukulele
    from ukulele.doors.scoring import tables
    from ukulele.tools import bootstrap

    with tempfile.TemporaryDirectory(prefix="uke-bench-") as folder:
        run = ukulele.fit(
            data, model=model, strategy=options.strategy, controls="none", seed=seed, out=f"{folder}/run",
            cache=options.cache,
        )  # fmt: skip
        ((task, table),) = tables(run.path, data).values()
    metric, n = task.metrics[0], len(table)
    sign = 1 if metric.higher_is_better else -1
    parts = [bootstrap.values(metric, table, counts) for counts in bootstrap.together(bootstrap.resamples(n), n)]
    return {"value": sign * metric.value(table, np.ones(n)), "drawn": (sign * np.concatenate(parts)).tolist()}


def tau(fused: Sequence[float], fitted: Floats, apart: Sequence[tuple[int, int]]) -> float | None:
    """Kendall's τ over pairs of models, each weighed by how far apart they are; None without any."""
    gaps = [(fitted[i] - fitted[j], fused[i] - fused[j]) for i, j in apart]
    total = sum(abs(gap) for gap, _ in gaps)
    return float(sum(gap * np.sign(other) for gap, other in gaps) / total) if total else None


def summary(sets: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """τ over the sets, with an interval over drawn seeds and rows."""
    found = []
    for one in sets:
        drawn = np.stack(one.pop("drawn"), 1)  # (draws, models)
        values = np.array([m["fitted"] for m in one["models"]])
        pairs = combinations(range(len(values)), 2)
        apart = [(i, j) for i, j in pairs if abs(values[i] - values[j]) > ERRORS * (drawn[:, i] - drawn[:, j]).std()]
        fused = [m["fused"] for m in one["models"]]
        one["tau"] = tau(fused, values, apart)
        if apart:
            found.append((one["tau"], [tau(fused, values, apart) for values in drawn]))
    means = np.mean([draws for _, draws in found], 0) if found else None
    ends = None if means is None else np.quantile(means, (0.025, 0.975)).tolist()
    within = [one["regret"] <= one["error"] for one in sets]
    known = [value for value, _ in found]
    return {"tau": float(np.mean(known)) if known else None, "interval": ends, "regret_within_error": within}


def report(found: dict[str, Any], options: argparse.Namespace) -> None:
    harness.report(sys.argv[0], options, {"training_rows": options.rows or "all", **found})


if __name__ == "__main__":
    main()
