"""YOLOX-nano on blood cells, from the same weights, at the same size and for the same epochs as libreyolo's trainer.

Goal: mAP50 of at least .85 on the test split in ten minutes. Everything trained, and the backbone frozen, on both
sides; the peer as it is (mosaic, mixup, a score every ten epochs), and plain: without these two, and with a score after
every epoch, as ours has. A rehearsal scores on a third of the training pictures, which are then not trained on.
`--quick` is a rehearsal in small: does it run, and about how long is an epoch?
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import harness

WEIGHTS = Path("weights") / "yolox_nano_coco.safetensors"
EPOCHS, FEW = 20, 2
BATCH, SMALL = 16, 4
SMALLEST = {"train": 24, "val": 8, "test": 8}  # pictures of a quick rehearsal
SPLITS = ("train", "val", "test")
GIVEN = ("map50_95", "map50")


def data(options: argparse.Namespace, folder: Path) -> Path:
    """The data as YOLO has them, which both sides read."""
    source, staged = options.shared.resolve() / "data" / "bccd", folder / "bccd"
    command = [sys.executable, "-m", "ukulele.cli", "convert", str(source), "--to", "yolo", "--out", str(staged)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    plain = staged / "data.yaml"
    plain.write_text(f"path: {staged}\n{plain.read_text()}")
    if not options.final:
        rehearse(staged)
    if options.quick:
        for split, count in SMALLEST.items():
            for picture in pictures(staged, split)[count:]:
                remove(picture)
    return staged


def rehearse(staged: Path) -> None:
    """The test pictures are put away, and every third of training takes their place."""
    for picture in pictures(staged, "test"):
        remove(picture)
    for picture in pictures(staged, "train")[::3]:
        for path in (picture, label_of(picture)):
            path.rename(path.parents[1] / "test" / path.name)


def pictures(staged: Path, split: str) -> list[Path]:
    return sorted(path for path in (staged / "images" / split).iterdir() if path.is_file())


def label_of(picture: Path) -> Path:
    return picture.parents[2] / "labels" / picture.parent.name / f"{picture.stem}.txt"


def remove(picture: Path) -> None:
    label_of(picture).unlink(missing_ok=True)
    picture.unlink()


def commands(options: argparse.Namespace, staged: Path) -> list[harness.Command]:
    """Each of our plans, and the peer's beside it."""
    weights = (options.shared / WEIGHTS).resolve()
    epochs, batch = (FEW, SMALL) if options.quick else (EPOCHS, BATCH)
    same = ["--epochs", epochs, "--batch", batch]
    flags = ["--model", weights, *same, "--controls", "none", "--seed", 0, "--patience", epochs]
    peer = [staged / "data.yaml", "--weights", weights, *same]
    rivals = []
    for name, mine, theirs in (
        ("full", ["--strategy", "full"], []),
        ("frozen", ["--strategy", "finetune", "--freeze", "backbone"], ["--freeze", "backbone.backbone"]),
    ):
        ours = f"ukulele {name}"
        rivals += [
            harness.Command(ours, harness.ours(staged, [*map(str, flags), *mine]).argv, result, ours),
            harness.peer(f"libreyolo {name}", "libreyolo_trainer.py", *peer, *theirs, against=ours),
            harness.peer(f"libreyolo {name}, plain", "libreyolo_trainer.py", *peer, *theirs, "--plain", against=ours),
        ]
    return rivals


def result(_: str, out: Path) -> harness.Json:
    """The figures of our run, and where its seconds went."""
    record = json.loads((out / "run" / "record.json").read_text("utf-8"))
    found = {metric: record["test"][metric]["value"] for metric in GIVEN}
    return {**found, "seconds": record["cost"]["seconds"], "phases": record["cost"]["phases"]}


if __name__ == "__main__":
    harness.run(__doc__, data, commands)
