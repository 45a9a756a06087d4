"""Full fine-tuning of MiniLM on sst2, three epochs, against HF Trainer.

Goal: at least 3 times faster than the peer's defaults and 1.2 times faster than its best; accuracy within .005.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import harness
import stage

UKE = (
    "--target label --model minilm --strategy full --epochs 3 --patience 99 --layer last --controls none --seed 0 "
    "--precision auto"
)
PEERS = {
    "default": "--epochs 3 --rate 1e-4",
    "best": "--epochs 3 --rate 1e-4 --best",
    "surroundings": f"--epochs 3 --rate 1e-4 --best {' '.join(harness.SURROUNDINGS)}",
}


def data(options: argparse.Namespace, folder: Path) -> Path:
    return stage.csv_splits(options.shared / "data" / "sst2", folder / "sst2", options.final)


def commands(_: argparse.Namespace, staged: Path) -> list[harness.Command]:
    peers = [harness.peer(name, "hf_trainer.py", staged, *flags.split()) for name, flags in PEERS.items()]
    return [harness.ours(staged, UKE.split()), *peers]


if __name__ == "__main__":
    harness.run(__doc__, data, commands)
