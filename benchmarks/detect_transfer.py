"""What a detector's transfer brings on blood cells, and where its speed comes from.

- `scratch`: everything trained from the weights of COCO, for as many epochs as take ten minutes on one core of an EPYC
  without bf16; the run's own control is the same network from scratch for as many, compared picture by picture.
- `few`: 40 pictures to train on, 40 to choose by, three draws: is a frozen backbone at least as good as everything
  trained, or does `--strategy auto` pick the better one?
- `parts`: seconds of an epoch with the backbone frozen, from the store, computed anew each time, in bf16 where that is
  native, and of libreyolo's trainer with the same layers frozen: what the cache, bf16 and all the rest are good for.

A rehearsal scores on a third of the training pictures, which are then not trained on.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from pathlib import Path

import detect_bccd
import harness
from peers.hardware import fast_bf16

TEN_MINUTES = 15  # epochs
FEW, DRAWS = 40, 3
EPOCHS, TIMED = 20, 3
QUESTIONS = ("scratch", "few", "parts")


def main() -> None:
    parser = harness.arguments(__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS, help="of the second (default %(default)s)")
    options = parser.parse_args()
    found: harness.Json = {}
    with harness.staging() as folder:
        staged = detect_bccd.data(options, folder)
        asked = options.only or QUESTIONS
        if "scratch" in asked:
            found["scratch"] = scratch(options, staged, folder)
        if "few" in asked:
            found["few"] = [few(options, staged, folder, draw) for draw in range(1 if options.quick else options.draws)]
        if "parts" in asked:
            found["parts"] = parts(options, staged, folder)
    harness.report(sys.argv[0], options, found)


def fit(options: argparse.Namespace, data: Path, run: Path, *flags: object) -> harness.Json:
    """The record of a run with an empty cache."""
    weights = (options.shared / detect_bccd.WEIGHTS).resolve()
    cache = run.with_name(f"{run.name}-cache")
    argv = [
        sys.executable,
        "-m",
        "ukulele.cli",
        "fit",
        data,
        "--model",
        weights,
        *flags,
        "--out",
        run,
        "--cache",
        cache,
    ]
    harness.measure(harness.Command(run.name, lambda _: [str(one) for one in argv], lambda *_: {}))
    shutil.rmtree(cache, ignore_errors=True)
    return dict(json.loads((run / "record.json").read_text("utf-8")))


def scratch(options: argparse.Namespace, data: Path, folder: Path) -> harness.Json:
    """The test figures of both, their paired difference, and the seconds that each took."""
    epochs = 2 if options.quick else TEN_MINUTES
    asked = ["--strategy", "full", "--controls", "cheap", "--epochs", epochs, "--patience", epochs, "--seed", 0]
    record = fit(options, data, folder / "scratch", *asked)
    return {
        "test": record["test"],
        "controls": [{key: one[key] for key in ("name", "test", "seconds")} for one in record["controls"]],
        "seconds": {one["name"]: one["cost"]["seconds"] for one in record["candidates"]},
        "epochs": {one["name"]: len(one["history"]) for one in record["candidates"]},
        "verdict": record["verdict"],
    }


def few(options: argparse.Namespace, data: Path, folder: Path, draw: int) -> harness.Json:
    """Test figures of the frozen backbone, of everything trained, and which of them the run packed."""
    small = folder / f"few-{draw}"
    shutil.copytree(data, small)
    (small / "data.yaml").write_text((data / "data.yaml").read_text().replace(str(data), str(small)))
    for split in ("train", "val"):
        pictures = detect_bccd.pictures(small, split)
        random.Random(draw).shuffle(pictures)
        for picture in pictures[FEW:]:
            detect_bccd.remove(picture)
    epochs = 2 if options.quick else EPOCHS
    asked = ["--strategy", "auto", "--epochs", epochs, "--controls", "none", "--seed", draw]
    record = fit(options, small, folder / f"run-few-{draw}", *asked)
    shutil.rmtree(small)
    found = {
        one["name"]: {
            **{metric: one["test"][metric] for metric in detect_bccd.GIVEN},
            "validation": one["validation"],
            "seconds": one["cost"]["seconds"],
        }
        for one in record["candidates"]
    }
    harness.note(f"draw {draw}: {json.dumps(found)}; packed: {record['chosen']}")
    return {"candidates": found, "packed": record["chosen"], "ladder": record["ladder"]}


def parts(options: argparse.Namespace, data: Path, folder: Path) -> harness.Json:
    """Seconds of an epoch in alternating rounds, and what each part of the difference is worth."""
    plans: dict[str, list[object]] = {
        "stored": ["--precision", "fp32"],
        "anew": ["--precision", "fp32", "--cache-budget", 0],
    }
    if fast_bf16():
        plans["stored, bf16"] = ["--precision", "bf16"]
    names = [*plans, "libreyolo"]
    same: list[object] = ["--epochs", TIMED, "--batch", detect_bccd.BATCH]
    peer: list[object] = [
        "--weights",
        (options.shared / detect_bccd.WEIGHTS).resolve(),
        "--freeze",
        "backbone.backbone",
        "--plain",
    ]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(1 if options.quick else options.rounds):
        for name in names[:: 1 if number % 2 == 0 else -1]:
            if name == "libreyolo":
                run = harness.measure(
                    harness.peer(name, "libreyolo_trainer.py", data / "data.yaml", *peer, *same, "--unscored")
                )
                seconds[name].append(run.result["seconds"]["train"] / TIMED)
            else:
                out = folder / f"parts-{number}-{name}"
                asked = ["--strategy", "finetune", "--freeze", "backbone", "--controls", "none", *same, *plans[name]]
                fit(options, data, out, *asked, "--patience", TIMED)
                seconds[name].append(harness.training(out) / TIMED)
            harness.note(f"{name}: {seconds[name][-1]:.1f} s an epoch")
    best = "stored, bf16" if "stored, bf16" in seconds else "stored"
    ratios = {"cache": ("anew", "stored"), "bf16": ("stored", best), "the rest": ("libreyolo", "anew")}
    return {
        "seconds an epoch": {name: harness.figures(taken) for name, taken in seconds.items()},
        "times": {
            name: harness.figures([a / b for a, b in zip(seconds[slow], seconds[quick], strict=True)])
            for name, (slow, quick) in {**ratios, "in all": ("libreyolo", best)}.items()
        },
    }


if __name__ == "__main__":
    main()
