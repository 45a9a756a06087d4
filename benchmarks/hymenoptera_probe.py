"""Cross-validated probe on ants and bees with MobileNetV2, against timm, DataLoader and scikit-learn.

Goal: accuracy of at least .95 on the set's val folder, which is the test split here (the set has no third part).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import harness
import stage

WEIGHTS = Path("weights") / "mobilenetv2_100_imagenet.safetensors"
UKE = "--strategy probe --layer last --controls none --seed 0 --precision auto"
PEERS = {"default": "", "best": "--best"}


def data(options: argparse.Namespace, folder: Path) -> Path:
    return stage.train_and_test(options.shared / "data" / "hymenoptera", folder / "hymenoptera", options.final)


def commands(options: argparse.Namespace, staged: Path) -> list[harness.Command]:
    weights = (options.shared / WEIGHTS).resolve()
    peers = [
        harness.peer(name, "timm_probe.py", staged, "--weights", weights, *flags.split())
        for name, flags in PEERS.items()
    ]
    return [harness.ours(staged, ["--model", str(weights), *UKE.split()]), *peers]


if __name__ == "__main__":
    harness.run(__doc__, data, commands)
