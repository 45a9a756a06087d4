"""Do the intervals of `uke curve` hold what four times the labels then bring?

Of each data set some rows are drawn, a curve is measured on them and extrapolated to four times as many; then a probe
is trained on four times as many, as those of the curve are, and scored on rows that were never looked at. Goals: the
90 % intervals hold at least 80 % of the outcomes, and the median error is at most that of "no further gain". Features
are computed once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import harness

IMAGES = "mobilenetv2_100_imagenet.safetensors"
SETS = {
    "sst2": ("minilm", {"target": ("label",)}, (64, 128, 256, 512, 1024)),
    "banking77": ("minilm", {"target": ("intent",)}, (308, 616, 1232)),
    "goemotions": ("minilm", {}, (256, 512, 1024)),
    "hymenoptera": (IMAGES, {}, (30, 40, 60)),
    "flowers5": (IMAGES, {}, (50, 100, 200, 400, 800)),
}
FACTOR = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=harness.HERE.parents[1] / "shared")
    parser.add_argument("--draws", type=int, default=3, help="of rows for each start (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one draw, two starts of each")
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--cache", type=Path, help="folder of the feature cache; the usual one by default")
    parser.add_argument("--keep", type=Path, help="also write curves and outcomes here, to try other fits on them")
    options = parser.parse_args()
    found = []
    for name in options.only:
        for one in curves(name, options):
            found.append(one)
            harness.note(json.dumps({k: v for k, v in one.items() if k not in {"sizes", "scores", "draws"}}))
            if options.keep:
                options.keep.write_text(json.dumps(found))
    report(found)


def curves(name: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One outcome for every start and draw of a data set."""
    x, task, values = features(name, options)
    starts = SETS[name][2][:2] if options.quick else SETS[name][2]
    for rows in starts:
        if FACTOR * rows > 0.8 * len(values):
            harness.note(f"{name}: {rows} rows are too many to have {FACTOR} times as many and some to score on")
            continue
        for draw in range(1 if options.quick else options.draws):
            yield {"data": name, "rows": rows, "draw": draw, **outcome(x, task, values, rows, draw)}


def features(name: str, options: argparse.Namespace) -> tuple[Any, Any, list[Any]]:
    """Features of all rows of a data set, behind the last stage, and what is asked of them."""
    import torch

    from ukulele.config import FitOptions
    from ukulele.doors.preview import preview
    from ukulele.trial.evidence import look

    model, more, _ = SETS[name]
    where = str((options.shared / "weights" / model).resolve()) if model == IMAGES else model
    cache = None if options.cache is None else str(options.cache)
    context = preview(options.shared / "data" / name, FitOptions(cache=cache, **more), lambda _event: None)
    ((task_name, task),) = context.tasks.items()
    parts, values = [], []
    for split in context.data.splits:
        seen = look(where, context, None, split)
        numbers = seen.truth.numbers(task_name)
        parts.append(seen.stages[seen.last][torch.from_numpy(numbers)].float())
        values += seen.truth.values(task_name)
    return torch.cat(parts), task, values


def outcome(x: Any, task: Any, values: Sequence[Any], rows: int, draw: int) -> dict[str, Any]:
    """What the curve of some rows expects of four times as many, and what those bring."""
    import torch

    from ukulele.loop.probing import probe_targets
    from ukulele.tools.probe import Search, held_out
    from ukulele.trial.drawing import spread_rows
    from ukulele.trial.evidence import tabled
    from ukulele.trial.learning import STRENGTHS, measure, told

    order = spread_rows(values, 1000 + draw)
    some, many, rest = order[:rows], order[: FACTOR * rows], order[FACTOR * rows :]
    began = time.perf_counter()
    curve = measure(x[torch.from_numpy(some)], task, [values[i] for i in some], draw)
    said = told(curve, task)
    seconds = time.perf_counter() - began
    y, _, classes = probe_targets(task, values)
    at, there = torch.from_numpy(many), torch.from_numpy(rest)
    search = Search(None if classes is None else STRENGTHS, metric="log_loss")
    _, answers = held_out(x[at], y[at], classes, validation=(x[there], y[there]), search=search)
    _, table = tabled(task, answers, [values[i] for i in rest])
    score = task.metrics[0].value(table, np.ones(len(table)))
    expected = next((one for one in said["expected"] if one["rows"] == FACTOR * rows), None)
    return {
        "metric": task.metrics[0].name, "outcome": score, "expected": expected, "flat": said["no_further_gain"],
        "bottleneck": said.get("bottleneck"), "seconds": seconds, "sizes": list(curve.sizes),
        "scores": list(curve.scores), "draws": curve.draws.tolist(),
    }  # fmt: skip


def summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Coverage and errors over some outcomes."""
    known = [one for one in found if one["expected"]]
    if not known:
        return {"curves": 0}
    inside = [one["expected"]["low"] <= one["outcome"] <= one["expected"]["high"] for one in known]
    errors = [abs(one["expected"]["value"] - one["outcome"]) for one in known]
    flat = [abs(one["flat"] - one["outcome"]) for one in known]
    return {
        "curves": len(known), "coverage": float(np.mean(inside)), "median_error": float(np.median(errors)),
        "median_error_of_no_gain": float(np.median(flat)),
        "median_width": float(np.median([one["expected"]["high"] - one["expected"]["low"] for one in known])),
        "median_seconds": float(np.median([one["seconds"] for one in known])),
    }  # fmt: skip


def report(found: Sequence[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(one["data"] for one in found))
    by_set = {name: summary([one for one in found if one["data"] == name]) for name in names}
    told = {"benchmark": Path(sys.argv[0]).stem, "machine": harness.machine(), "all": summary(found), "sets": by_set}
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
