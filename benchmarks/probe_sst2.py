"""Probe on sst2 with MiniLM, whole process: raw text in, test accuracy out, against sentence-transformers.

Goal: at least 2.5 times faster than the peer's defaults and 1.1 times faster than its best; accuracy at least
the peer's less .003.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import harness
import stage

UKE = "--target label --model minilm --strategy probe --layer last --controls none --seed 0 --precision auto"
PEERS = {"default": "", "best": "--best"}


def data(options: argparse.Namespace, folder: Path) -> Path:
    return stage.csv_splits(options.shared / "data" / "sst2", folder / "sst2", options.final)


def commands(_: argparse.Namespace, staged: Path) -> list[harness.Command]:
    peers = [harness.peer(name, "st_probe.py", staged, *flags.split()) for name, flags in PEERS.items()]
    return [harness.ours(staged, UKE.split()), *peers]


if __name__ == "__main__":
    harness.run(__doc__, data, commands)
