"""Full fine-tuning of MiniLM on sst2, one epoch: the rows of the embedding table that occur, or the whole table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import full_sst2
import harness

UKE = f"{full_sst2.UKE} --epochs 1".split()
WHOLE = "import sys, ukulele.loop.vocabulary as v; v.WORTH = 0.0; from ukulele.cli import main; sys.exit(main())"


def commands(_: argparse.Namespace, staged: Path) -> list[harness.Command]:
    def argv(out: Path) -> list[str]:
        return [sys.executable, "-c", WHOLE, "fit", str(staged), *UKE, "--out", str(out / "run")]

    whole = harness.Command("whole table", argv, lambda _, out: harness.from_record(out / "run" / "record.json"))
    return [harness.ours(staged, UKE), whole]


if __name__ == "__main__":
    harness.run(__doc__, full_sst2.data, commands)
