"""What each cure for forgetting keeps, and what it costs: a small GPT of the novels is trained on to Shakespeare.

One run for each cure, all else equal; before and after, the novels' own test text is scored (`--retain`). One table, in
bits per byte: of the plays (lower is better), and of the novels before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness

MODEL = "config:gpt2-tiny"
NOVELS, PLAYS = 60_000, 300_000  # bytes of each novel, and of the plays
EPOCHS = 2
FULL: list[object] = ["--strategy", "full"]
CURES: dict[str, list[object]] = {
    "none": FULL,
    "wise-ft .5": [*FULL, "--wise-ft", 0.5],
    "l2sp": ["--strategy", "l2sp"],
    "replay .2": [*FULL, "--replay", 0.2],
    "top half alone": ["--strategy", "finetune"],
    "lora": ["--strategy", "lora", "--rate", 3e-3],
}
COMMON: list[object] = ["--batch", 8, "--controls", "none", "--rate", 1e-3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=harness.HERE.parent.parent / "shared")
    parser.add_argument("--novels", type=int, default=NOVELS, help="bytes of each novel (default %(default)s)")
    parser.add_argument("--plays", type=int, default=PLAYS, help="bytes of the plays (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="default %(default)s")
    parser.add_argument("--quick", action="store_true", help="a little of each text: shows that all of it runs")
    parser.add_argument("--only", nargs="+", choices=sorted(CURES), help="these cures alone")
    options = parser.parse_args()
    if options.quick:
        options.novels, options.plays, options.epochs = 4_000, 24_000, 1
    with tempfile.TemporaryDirectory() as folder:
        home, texts = Path(folder), options.shared / "data" / "lm"
        novels, plays = home / "novels", home / "plays.txt"
        novels.mkdir()
        for path in sorted((texts / "novels").glob("*.txt")):
            (novels / path.name).write_bytes(path.read_bytes()[: options.novels])
        plays.write_bytes((texts / "tinyshakespeare.txt").read_bytes()[: options.plays])
        fit(home, "source", novels, ["--model", MODEL, "--strategy", "scratch", "--epochs", options.epochs, *COMMON])
        table = {}
        for number, (cure, flags) in enumerate(CURES.items()):
            if cure in (options.only or [cure]):
                asked = ["--model", home / "source", *COMMON, *flags, "--epochs", options.epochs, "--retain", novels]
                table[cure] = row(fit(home, f"cure-{number}", plays, asked))
                harness.note(f"{cure}: {json.dumps(table[cure])}")
    found = {"quick": options.quick, "novels": options.novels, "plays": options.plays, "epochs": options.epochs}
    print(json.dumps({**found, "machine": harness.machine(), "table": table}, indent=1))


def fit(home: Path, name: str, data: Path, flags: list[object]) -> dict[str, Any]:
    """A run of `uke fit`, and its record. The last `--rate` given counts."""
    asked = ["fit", data, "--task", "generate", *flags, "--out", home / name]
    command = [sys.executable, "-m", "ukulele.cli", *map(str, asked)]
    environment = {**os.environ, "UKULELE_CACHE": str(home / "cache")}
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    return dict(json.loads((home / name / "record.json").read_text("utf-8")))


def row(record: dict[str, Any]) -> dict[str, Any]:
    """Bits per byte of the new text, and of the old one before and after with the interval of the difference."""
    kept = record["retention"]
    return {
        "new": round(record["test"]["bits_per_byte"]["value"], 4),
        **{when: round(kept[when]["bits_per_byte"]["value"], 4) for when in ("before", "after")},
        "verdict": kept["verdict"]["outcome"],
        "difference": {end: round(kept["verdict"]["difference"][end], 4) for end in ("value", "low", "high")},
        "seconds": round(dict(record["cost"]["phases"])["train"], 1),
    }


if __name__ == "__main__":
    main()
