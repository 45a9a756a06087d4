"""YOLOX-nano on blood cells, from the same weights, at the same size and for the same epochs as libreyolo's trainer.

Goal: mAP50 of at least .85 on the test split in ten minutes. Everything trained, and the backbone frozen, on
both sides; the peer with its mosaic and mixup, and without.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import harness

WEIGHTS = Path("weights") / "yolox_nano_coco.safetensors"
EPOCHS = 20
BATCH = 16


def data(options: argparse.Namespace, folder: Path) -> Path:
    """The data as YOLO has them, which both sides read."""
    source, staged = options.shared / "data" / "bccd", folder / "bccd"
    command = [sys.executable, "-m", "ukulele.cli", "convert", str(source), "--to", "yolo", "--out", str(staged)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    plain = staged / "data.yaml"
    plain.write_text(f"path: {staged}\n{plain.read_text()}")
    return staged


def commands(options: argparse.Namespace, staged: Path) -> list[harness.Command]:
    weights = (options.shared / WEIGHTS).resolve()
    same = ["--epochs", EPOCHS, "--batch", BATCH]
    flags = ["--model", weights, *same, "--controls", "none", "--seed", 0, "--patience", EPOCHS]
    peer = [staged / "data.yaml", "--weights", weights, *same]
    rivals = []
    for name, ours, theirs in (
        ("full", ["--strategy", "full"], []),
        ("frozen", ["--strategy", "finetune", "--freeze", "backbone"], ["--freeze", "backbone.backbone"]),
    ):
        rivals += [
            _ours(f"ukulele {name}", staged, [*map(str, flags), *ours]),
            harness.peer(f"libreyolo {name}", "libreyolo_trainer.py", *peer, *theirs),
            harness.peer(f"libreyolo {name}, plain", "libreyolo_trainer.py", *peer, *theirs, "--plain"),
        ]
    return rivals


def _ours(name: str, staged: Path, flags: list[str]) -> harness.Command:
    def result(_: str, out: Path) -> harness.Json:
        record = json.loads((out / "run" / "record.json").read_text("utf-8"))
        test = {metric: estimate["value"] for metric, estimate in record["test"].items()}
        return {"test": test, "seconds": record["cost"]["seconds"], "phases": record["cost"]["phases"]}

    command = harness.ours(staged, flags, name)
    return harness.Command(name, command.argv, result)


if __name__ == "__main__":
    harness.run(__doc__, data, commands)
