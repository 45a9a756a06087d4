"""Does the order of `uke choose` foretell how models do once they are fine-tuned?

Each data set's models are ranked, then each is fine-tuned by repeated five-fold cross-validation on training rows, so
that every row is answered by models that have not seen it, in each repetition. The ranking is of the rows that the
first of these fits is trained on; test rows are left alone. Goals: over pairs of models that differ by more than two
standard errors, a weighted Kendall's τ of at least .8; and a regret of the chosen model of at most one. Errors are of
differences between two models, of repetitions and rows that are drawn again, the same for both. Bundles that were
trained on other tasks are named with --bundles: finished runs; without them there is one model for texts, and those
sets are left out. By default some rows of each set; `--rows 0`: all. `--reckon` says how long it takes here; `--sets`
and `--keep` answer it in pieces. `--quick`: 120 pictures of hymenoptera, each model merely probed, once.
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
FOLDS = 5
ERRORS = 2  # that a pair of models has to be apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=harness.HERE.parents[1] / "shared")
    parser.add_argument("--bundles", nargs="*", default=[], help="runs on other tasks, for texts")
    parser.add_argument("--sets", nargs="+", choices=[*PICTURES, *TEXTS])
    parser.set_defaults(final=False)
    harness.piecewise(parser, rows=1250)
    parser.add_argument("--strategy", default="finetune", help="how each is fitted (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=2, help="of the five folds (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="120 pictures of hymenoptera, each merely probed, once")
    parser.add_argument("--cache", help="folder of the feature cache; the usual one by default")
    options = parser.parse_args()
    names = options.sets or (["hymenoptera"] if options.quick else [*PICTURES, *(TEXTS if options.bundles else ())])
    if options.quick:
        options.strategy, options.rows = "probe", min(options.rows or 600, 600)
        options.repeats = 1
    with harness.staging() as folder:
        laid = {name: stage.laid_out(options.shared / "data" / name, folder / name, True) for name in names}
        parts = {name: folds(stage.fewer(data, options.rows), options.repeats) for name, data in laid.items()}
        if options.reckon:
            seconds = {name: reckoned(name, places, options) for name, places in parts.items()}
            report({"strategy": options.strategy, "seconds": seconds, "all": sum(seconds.values())}, options)
            return
        found = {name: measured(name, places, options) for name, places in parts.items()}
    told = summary(list(found.values()))  # takes the draws out
    report({"strategy": options.strategy, "sets": found, **told}, options)


def folds(data: Path, repeats: int) -> list[list[Path]]:
    """By repetition the folders of its folds, each with a fold of the training rows in place of the test rows."""
    place = data.with_name(f"{data.name}-folds")
    return [
        [stage.fold(data, place / f"{repeat}-{number}", number, FOLDS, repeat) for number in range(FOLDS)]
        for repeat in range(repeats)
    ]


def models_for(name: str, options: argparse.Namespace) -> list[str]:
    weights = [str((options.shared / "weights" / f"{one}.safetensors").resolve()) for one in NAMES]
    return weights if name in PICTURES else ["minilm", *options.bundles]


def reckoned(name: str, places: Sequence[Sequence[Path]], options: argparse.Namespace) -> float:
    """Seconds to fit all models, from `uke fit --dry-run` of each; ranking them takes little beside that."""
    flags = ("--strategy", options.strategy, "--controls", "none")
    once = sum(harness.reckoned(places[0][0], ["--model", model, *flags]) for model in models_for(name, options))
    harness.note(f"{name}: about {FOLDS * options.repeats * once:.0f} s at most")
    return FOLDS * options.repeats * once


def measured(name: str, places: Sequence[Sequence[Path]], options: argparse.Namespace) -> dict[str, Any]:
    """Fused values and expected regrets of a data set's models, how often each answers rightly when it is fitted, and
    that again on drawn repetitions and rows.
    """
    import ukulele
    from ukulele.evaluate.seeds import mean_of_drawn
    from ukulele.tools import bootstrap

    mark = f"{name} {options.rows or 'all'} rows"
    ranking = partial(ukulele.choose, places[0][0], models_for(name, options), cache=options.cache)
    lines, drawn = [], []
    for one in harness.once(options.keep, f"ranking {mark}", ranking)["models"]:
        line = {"model": Path(one["model"]).stem, "fused": one["fused"], "regret": one["regret"]}
        right = np.array([
            np.concatenate([
                harness.once(
                    options.keep,
                    f"{options.strategy} {line['model']} {mark} repeat {repeat} fold {number}",
                    partial(fitted, place, one["model"], repeat, options),
                )["right"]
                for number, place in enumerate(of_one)
            ])
            for repeat, of_one in enumerate(places)
        ])  # fmt: skip
        n = right.shape[1]
        counts = np.concatenate(list(bootstrap.together(bootstrap.resamples(n), n)))
        drawn.append(mean_of_drawn(right @ counts.T / n))
        line |= {"fitted": float(right.mean()), "each": right.mean(1).tolist(), "error": float(drawn[-1].std())}
        lines.append({**line, "scores": one["scores"]})
        harness.note(f"{name}: {line['model']} {line['fitted']:.4f}, fused {one['fused']:.4f}")
    best = int(np.argmax([line["fitted"] for line in lines]))
    regret, error = lines[best]["fitted"] - lines[0]["fitted"], float((drawn[best] - drawn[0]).std())
    found = {"models": lines, "rows": n, "best": lines[best]["model"], "regret": regret, "error": error}
    return {**found, "drawn": drawn}


def fitted(data: Path, model: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Which rows of a fold a model that was fitted on the others answers rightly."""
    import ukulele
    from ukulele.doors.scoring import tables
    from ukulele.tasks.metrics import ANSWER, TRUTH

    with tempfile.TemporaryDirectory(prefix="uke-bench-") as folder:
        run = ukulele.fit(
            data, model=model, strategy=options.strategy, controls="none", seed=seed, out=f"{folder}/run",
            cache=options.cache,
        )  # fmt: skip
        ((_, table),) = tables(run.path, data).values()
    return {"right": (table[:, TRUTH] == table[:, ANSWER]).astype(int).tolist()}


def tau(fused: Sequence[float], fitted: Floats, apart: Sequence[tuple[int, int]]) -> float | None:
    """Kendall's τ over pairs of models, each weighed by how far apart they are; None without any."""
    gaps = [(fitted[i] - fitted[j], fused[i] - fused[j]) for i, j in apart]
    total = sum(abs(gap) for gap, _ in gaps)
    return float(sum(gap * np.sign(other) for gap, other in gaps) / total) if total else None


def summary(sets: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """τ over the sets, with an interval over drawn repetitions and rows."""
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
    how = {"split": f"{FOLDS} folds of training rows", "repeats": options.repeats, "all_rows": options.rows or "all"}
    harness.report(sys.argv[0], options, {**how, **found})


if __name__ == "__main__":
    main()
