"""Does the order of `uke choose` foretell how models do once they are fine-tuned?

The training rows of each data set are parted in two. On the second part the models are ranked; on the first each is
fine-tuned by repeated five-fold cross-validation, so that every row is answered by models that have not seen it, in
each repetition. No row that judges was seen by what chooses; test rows are left alone.

Goals: over pairs of models that differ by more than two standard errors, a weighted Kendall's τ of at least .8; and a
regret of the chosen model of at most one. Errors are of differences between two models, of repetitions and rows that
are drawn again, the same for both. The best model is known after the fact only, and by chance some model of several
equals comes out best: `within_by_chance` says how often a perfect choice would be within one error in all sets. So
beside the regret of each set stand the mean over the sets, and one without that flattery, the best being named on four
fifths of the rows and held against the chosen one on the last.

Texts have MiniLM, its first layers, and runs of it on other tasks, which are made first (--bundles: where they stay).
By default some rows of each set; `--rows 0`: all. `--reckon` says how long it takes here; `--sets` and `--keep` answer
it in pieces. `--quick`: 120 pictures of hymenoptera, each model merely probed, once.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness
import stage
from choose_hymenoptera import NAMES

PICTURES, TEXTS = ("hymenoptera", "flowers5"), ("sst2", "banking77", "tweets/emotion", "tweets/irony")
BUNDLES = {  # of MiniLM: the task, and how it was fitted
    "upper_half": ("tweets/hate", "finetune"), "hate": ("tweets/hate", "full"),
    "goemotions": ("goemotions", "full"),
}  # fmt: skip
LAYERS = {"two_layers": 2, "four_layers": 4}  # of MiniLM's six
Floats = NDArray[np.float64]
FOLDS = 5
ERRORS = 2  # that a pair of models has to be apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=harness.HERE.parents[1] / "shared")
    parser.add_argument(
        "--bundles", type=Path, metavar="FOLDER", help="models for texts, made where they are not there"
    )
    parser.add_argument("--sets", nargs="+", choices=[*PICTURES, *TEXTS])
    parser.set_defaults(final=False)
    harness.piecewise(parser, rows=1000)
    parser.add_argument("--strategy", default="finetune", help="how each is fitted (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=2, help="of the five folds (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="120 pictures of hymenoptera, each merely probed, once")
    parser.add_argument("--cache", help="folder of the feature cache; the usual one by default")
    options = parser.parse_args()
    names = options.sets or (["hymenoptera"] if options.quick else [*PICTURES, *TEXTS])
    if options.quick:
        options.strategy, options.rows = "probe", min(options.rows or 600, 600)
        options.repeats = 1
    with harness.staging() as folder:
        models = {name: models_for(name, options, folder) for name in names}
        parts = {name: parted(name, options, folder) for name in names}
        if options.reckon:
            seconds = {name: reckoned(judging, models[name], options) for name, (judging, _) in parts.items()}
            report({"strategy": options.strategy, "seconds": seconds, "all": sum(seconds.values())}, options)
            return
        found = {name: measured(name, parts[name], models[name], options) for name in names}
    report({"strategy": options.strategy, "sets": found, **summary(list(found.values()))}, options)


def parted(name: str, options: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    """The rows that judge, and those that choose."""
    laid = stage.laid_out(options.shared / "data" / name, folder / "laid" / name, True)
    return stage.halves(laid, folder / "halves" / name, options.rows)


def models_for(name: str, options: argparse.Namespace, folder: Path) -> list[str]:
    if name in PICTURES:
        return [str((options.shared / "weights" / f"{one}.safetensors").resolve()) for one in NAMES]
    place = (options.bundles or folder / "bundles").resolve()
    for bundle, (data, strategy) in BUNDLES.items():
        if not (place / bundle / "record.json").is_file():
            flags = ("--model", "minilm", "--strategy", strategy, "--controls", "none")
            harness.kept(options.shared / "data" / data, flags, place / bundle)
    for shorter, layers in LAYERS.items():
        if not (place / shorter).is_dir():
            shortened(place / shorter, layers)
    return ["minilm", *(str(place / one) for one in (*LAYERS, *BUNDLES))]


def shortened(folder: Path, layers: int) -> None:
    """MiniLM without its last layers."""
    from ukulele.models.hub import offline_folder

    shutil.copytree(offline_folder(), folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}), "utf-8")


def reckoned(judging: Path, models: Sequence[str], options: argparse.Namespace) -> float:
    """Seconds to fit all models, from `uke fit --dry-run` of each; ranking them takes little beside that."""
    flags = ("--strategy", options.strategy, "--controls", "none")
    once = sum(harness.reckoned(judging, ["--model", model, *flags]) for model in models)
    return FOLDS * options.repeats * once


def measured(name: str, parts: tuple[Path, Path], models: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """How often each of a data set's models answers rightly when it is fitted, and their ranking beside that."""
    import ukulele

    judging, choosing = parts
    mark = f"{name} {options.rows or 'all'} rows"
    right = rightness(mark, judging, models, options)
    rank = partial(ukulele.choose, choosing, list(models), cache=options.cache)
    found = against(harness.once(options.keep, f"ranking {mark}", rank), right)
    harness.note(f"{name}: {found['regret']:.4f} ({found['error']:.4f}) behind the best")
    return {"rows": len(next(iter(right.values()))[0]), **found}


def rightness(mark: str, judging: Path, models: Sequence[str], options: argparse.Namespace) -> dict[str, Floats]:
    """By model (repetitions, rows): whether it answers a row rightly that it was not fitted on."""
    from ukulele.config import FitOptions
    from ukulele.doors.preview import preview

    context = preview(judging, FitOptions(strategy=options.strategy, cache=options.cache), lambda _event: None)
    right = {Path(model).stem: np.zeros((options.repeats, len(context.data.splits["train"]))) for model in models}
    for repeat in range(options.repeats):
        drawn = replace(context, options=replace(context.options, seed=repeat))
        folds = folds_of(drawn, repeat)
        for number, model in product(range(FOLDS), models):
            name = f"{options.strategy} {Path(model).stem} {mark} repeat {repeat} fold {number}"
            one = harness.once(options.keep, name, partial(fitted, model, folds == number, drawn))
            right[Path(model).stem][repeat, folds == number] = one["right"]
    return right


def folds_of(context: Any, seed: int) -> NDArray[np.int64]:
    """The fold of each training row: classes keep their shares, and nearly identical rows stay together."""
    import torch

    from ukulele.tools.search import stratified_folds

    truth, (task,) = context.truth("train"), context.tasks
    _, codes = np.unique(truth.cells(task), return_inverse=True)
    groups = truth.groups(np.arange(len(codes)))
    together = None if groups is None else torch.from_numpy(groups)
    return np.asarray(stratified_folds(torch.from_numpy(codes), FOLDS, seed, together))


def fitted(model: str, held: NDArray[np.bool_], context: Any) -> dict[str, Any]:
    """Which training rows a model answers rightly that was fitted on the others, as `uke fit --strategy` does it."""
    from ukulele import features
    from ukulele.story.candidates import planned, survey
    from ukulele.tasks.metrics import ANSWER, TRUTH
    from ukulele.trial.attempt import attempt

    train = context.data.splits["train"]
    parts = {"train": train.take(np.flatnonzero(~held)), "test": train.take(np.flatnonzero(held))}
    with tempfile.TemporaryDirectory(prefix="uke-bench-") as folder:
        alone = replace(
            context,
            options=replace(context.options, model=model),
            data=replace(context.data, splits={**context.data.splits, **parts}),
            cache=features.Cache(Path(folder)),
            pristine={},
            truths={},
        )
        outcome = attempt(planned(survey(model, alone), alone)[-1], alone)
        table = outcome.table("test", *context.tasks)
    return {"right": (table[:, TRUTH] == table[:, ANSWER]).astype(int).tolist()}


def against(ranking: dict[str, Any], right: dict[str, Floats]) -> dict[str, Any]:
    """A ranking beside what its models came to: the regret of the first, with and without flattery of the best."""
    order = [Path(one["model"]).stem for one in ranking["models"]]
    rows = np.stack([right[model] for model in order])  # (models, repetitions, rows)
    values, drawn = rows.mean((1, 2)), redrawn(rows)
    best = int(values.argmax())
    error = float((drawn[best] - drawn[0]).std())
    fair, fair_error = unflattered(rows.mean(1))
    return {
        "order": order,
        "fitted": values.tolist(),
        "each": rows.mean(2).tolist(),
        "told": [{name: one[name] for name in ("fused", "regret", "scores")} for one in ranking["models"]],
        "best": order[best],
        "regret": float(values[best] - values[0]),
        "error": error,
        "unflattered": fair,
        "unflattered_error": fair_error,
        "values": values,
        "drawn": drawn,
    }


def redrawn(rows: Floats) -> Floats:
    """How often each model is right (models, draws) where rows and repetitions are drawn again, for all the same."""
    from ukulele.evaluate.seeds import mean_of_drawn
    from ukulele.tools import bootstrap

    n = rows.shape[2]
    counts = np.concatenate(list(bootstrap.together(bootstrap.resamples(n), n)))
    return np.stack([mean_of_drawn(one @ counts.T / n) for one in rows])


def unflattered(rows: Floats) -> tuple[float, float]:
    """By how much the first of the models (models, rows) lies behind the one that is best on the other four fifths of
    the rows; and its standard error.
    """
    part = np.random.default_rng(0).permutation(rows.shape[1]) % FOLDS
    behind = np.empty(rows.shape[1])
    for number in range(FOLDS):
        best = int(rows[:, part != number].mean(1).argmax())
        behind[part == number] = (rows[best] - rows[0])[part == number]
    return float(behind.mean()), float(behind.std(ddof=1) / np.sqrt(len(behind)))


def tau(order: Floats, fitted: Floats, apart: Sequence[tuple[int, int]]) -> float:
    """Kendall's τ over pairs of models, each weighed by how far apart they are; no number where none is."""
    gaps = [(fitted[i] - fitted[j], order[i] - order[j]) for i, j in apart]
    total = sum(abs(gap) for gap, _ in gaps)
    return float(sum(gap * np.sign(other) for gap, other in gaps) / total) if total else math.nan


def summary(sets: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """τ over the sets, with an interval over drawn repetitions and rows, and the regrets."""
    found, passes = [], []
    for one in sets:
        values, drawn = one.pop("values"), one.pop("drawn")
        passes.append(passed_by_the_best(values, drawn))
        place = -np.arange(len(values), dtype=np.float64)
        pairs = combinations(range(len(values)), 2)
        apart = [(i, j) for i, j in pairs if abs(values[i] - values[j]) > ERRORS * (drawn[i] - drawn[j]).std()]
        one |= {"tau": tau(place, values, apart) if apart else None, "pairs": len(apart)}
        if apart:
            found.append((one["tau"], [tau(place, values, apart) for values in drawn.T]))
    means = np.mean([draws for _, draws in found], 0) if found else None
    return {
        "tau": float(np.mean([value for value, _ in found])) if found else None,
        "interval": None if means is None else np.nanquantile(means, (0.025, 0.975)).tolist(),
        "regret_within_error": [one["regret"] <= one["error"] for one in sets],
        "within_by_chance": float(np.prod(passes)),
        "mean_regret": averaged(sets, "regret", "error"),
        "mean_unflattered": averaged(sets, "unflattered", "unflattered_error"),
    }


def averaged(sets: Sequence[dict[str, Any]], value: str, error: str) -> list[float]:
    """The mean over the sets, which know nothing of each other, and its standard error."""
    squares = np.square([one[error] for one in sets])
    return [float(np.mean([one[value] for one in sets])), float(np.sqrt(squares.sum()) / len(sets))]


def passed_by_the_best(values: Floats, drawn: Floats) -> float:
    """How often the model that is best in truth would be within one error of the best that is measured, were the
    measured values (models,) true and measured again (models, draws).
    """
    best, first = int(values.argmax()), drawn.argmax(0)
    errors = (drawn - drawn[best]).std(1)
    return float((drawn.max(0) - drawn[best] <= errors[first]).mean())


def report(found: dict[str, Any], options: argparse.Namespace) -> None:
    how = {"split": f"{FOLDS} folds of training rows", "repeats": options.repeats, "all_rows": options.rows or "all"}
    harness.report(sys.argv[0], options, {**how, **found})


if __name__ == "__main__":
    main()
