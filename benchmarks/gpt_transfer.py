"""A small GPT from the novels to Shakespeare, all from this project's own training.

1. Transfer: `config:gpt2-tiny` is trained on the novels; its bundle is then trained on tinyshakespeare, held against
   the same network from scratch in at least the same time (as many epochs as take no less), by bits per byte.
2. Speed: tokens a second with the top half of the blocks trained, and with all of it, beside HF Trainer on the same
   windows with the same layers frozen, at its defaults and at its best settings.
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

import numpy as np

import harness

MODEL = "config:gpt2-tiny"
SOURCE_EPOCHS, EPOCHS, TIMED = 3, 6, 4
HALF = 4  # the embeddings and three of six blocks
CUT = {"half": HALF, "all": 0}
QUICK = 24_000  # bytes of each text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=harness.HERE.parent.parent / "shared")
    parser.add_argument("--quick", action="store_true", help="a little of each text: shows that all of it runs")
    parser.add_argument("--only", choices=("transfer", "speed"), help="one of the two questions")
    parser.add_argument("--novels", type=int, default=None, help="bytes of each novel, where not all")
    parser.add_argument("--source-epochs", type=int, default=SOURCE_EPOCHS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        novels, plays = stage(options, home)
        found: dict[str, Any] = {"quick": options.quick, "machine": harness.machine()}
        epochs = 1 if options.quick else options.source_epochs
        scratch = ["--model", MODEL, "--strategy", "scratch", "--rate", 1e-3]
        found["source"] = fit(home, "source", novels, [*scratch, "--epochs", epochs, "--controls", "none"])
        if options.only in {None, "transfer"}:
            found["transfer"] = transfer(home, plays, 1 if options.quick else options.epochs)
        if options.only in {None, "speed"}:
            found["speed"] = speed(home, plays, 1 if options.quick else TIMED)
    print(json.dumps(found, indent=1))


def stage(options: argparse.Namespace, home: Path) -> tuple[Path, Path]:
    """The novels and the plays; of each a little where that is asked for."""
    texts, most = options.shared / "data" / "lm", QUICK if options.quick else None
    (home / "novels").mkdir()
    novels = sorted((texts / "novels").glob("*.txt"))
    for path in novels[:2] if options.quick else novels:
        (home / "novels" / path.name).write_bytes(path.read_bytes()[: most or options.novels])
    (home / "plays.txt").write_bytes((texts / "tinyshakespeare.txt").read_bytes()[:most])
    return home / "novels", home / "plays.txt"


def fit(home: Path, name: str, data: Path, flags: list[object]) -> dict[str, Any]:
    """A run of `uke fit`, and what its record says."""
    asked = ["fit", data, "--task", "generate", *flags, "--out", home / name]
    command = [sys.executable, "-m", "ukulele.cli", *map(str, asked)]
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "UKULELE_CACHE": str(home / "cache")})
    record = json.loads((home / name / "record.json").read_text("utf-8"))
    return {
        "test": record["test"],
        "controls": {control["name"]: control["test"]["bits_per_byte"]["value"] for control in record["controls"]},
        "parameters": record["model"]["parameters"],
        "verdict": record["verdict"],
        "tokens": record["writing"]["tokens"],
        "phases": dict(record["cost"]["phases"]),
    }


def transfer(home: Path, plays: Path, epochs: int) -> dict[str, Any]:
    """Full fine-tuning of the source against the same network, drawn anew, in no less time."""
    flags: list[object] = ["--model", home / "source", "--rate", 1e-3]
    ours = fit(home, "ours", plays, [*flags, "--strategy", "full", "--epochs", epochs, "--controls", "none"])
    theirs = fit(home, "theirs", plays, [*flags, "--strategy", "scratch", "--epochs", epochs + 1])
    return {
        "ours": ours,
        "scratch": theirs,
        "train seconds": [one["phases"]["train"] for one in (ours, theirs)],
        "bits per byte lower by": paired(home, plays),
    }


def paired(home: Path, plays: Path) -> dict[str, float]:
    """The difference on the same windows of the test text, with its interval: both runs have the same windows."""
    tables = {name: losses(home / name, plays) for name in ("ours", "theirs")}
    draw = np.random.default_rng(0)
    rows = len(tables["ours"])

    def bits(table: np.ndarray, picked: np.ndarray) -> np.ndarray:
        loss, size = table[picked].sum(1).T
        return loss / size / np.log(2)

    picked = np.concatenate([np.arange(rows)[None], draw.integers(0, rows, (2000, rows))])
    gap = bits(tables["theirs"], picked) - bits(tables["ours"], picked)
    low, high = np.quantile(gap[1:], (0.025, 0.975))
    return {"value": float(gap[0]), "low": float(low), "high": float(high), "windows": rows}


def losses(run: Path, plays: Path) -> np.ndarray:
    """Loss in nats and bytes of each window of the test text, by the model of a run."""
    from ukulele import data
    from ukulele.data.options import ReadOptions
    from ukulele.trial.predict import Predictor
    from ukulele.types import with_answer

    predictor = Predictor.load(run)
    read = data.read(plays, ReadOptions(task="generate"), run / "cache")
    rows = predictor.windowed(read).splits["test"]
    (written,) = predictor.raw([with_answer(row, "text") for row in rows]).values()
    return np.array([(one.loss, one.bytes) for one in written])


def speed(home: Path, plays: Path, epochs: int) -> dict[str, Any]:
    """Tokens a second of training, ours with the pass that fills the cache, and the peer's."""
    found: dict[str, Any] = {}
    for name, frozen in CUT.items():
        flags: list[object] = ["--model", home / "source", "--strategy", "finetune", "--freeze", frozen]
        flags += ["--epochs", epochs, "--patience", epochs, "--batch", 32, "--controls", "none"]
        ours = fit(home, f"speed-{name}", plays, flags)["tokens"]
        rates = {"ours": ours["per_second"]}
        for how in ("defaults", "best"):
            script = harness.PEERS / "hf_causal.py"
            asked = [script, plays, "--bundle", home / "source", "--frozen", frozen, "--epochs", epochs]
            asked += ["--best"] * (how == "best")
            command = [sys.executable, *map(str, asked)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            rates[how] = harness.last_json(said)["per_second"]
        found[name] = {**rates, "times": {how: rates["ours"] / rates[how] for how in ("defaults", "best")}}
    return found


if __name__ == "__main__":
    main()
