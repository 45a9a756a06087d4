"""Probe on five kinds of flowers with MobileNetV2, against timm, DataLoader and scikit-learn.

Goal: at least 3 times faster than the peer's defaults and no slower than its best; accuracy at least the peer's
less .005.
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
    return stage.picture_splits(options.shared / "data" / "flowers5", folder / "flowers5", options.final)


def commands(options: argparse.Namespace, staged: Path) -> list[harness.Command]:
    weights = (options.shared / WEIGHTS).resolve()
    peers = [
        harness.peer(name, "timm_probe.py", staged, "--weights", weights, *flags.split())
        for name, flags in PEERS.items()
    ]
    return [harness.ours(staged, ["--model", str(weights), *UKE.split()]), *peers]


if __name__ == "__main__":
    harness.run(__doc__, data, commands)
