"""Translation on multi30k, all from this project's own training.

1. en→de from scratch on all pairs, in at most 15 epochs and with at most 8 M parameters: sacreBLEU on test_2016.
2. Transfer: en→fr from scratch is the source; en→de with 2,000 pairs is the target, held against the same network from
   scratch on the same 2,000 pairs.
3. An epoch of the decoder over the cached encoder, beside HF Seq2SeqTrainer with the encoder frozen, and one of
   everything, beside the same with nothing frozen; at its defaults and at its best settings, on 1,000 pairs.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

PAIRS = 2000
TIMED = 2  # epochs of the third question
SOME, SCORED = 1000, 64  # its pairs, and those of validation and test, which are not timed
CUTS: dict[str, list[object]] = {
    "decoder": ["--strategy", "finetune", "--freeze", "encoder"],
    "all": ["--strategy", "full"],
}
WHOLE = {"decoder": [], "all": ["--whole"]}  # for the peer
PEERS = {"defaults": [], "best": ["--best"]}
BATCH = 64
MODEL = "config:marian-tiny"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=harness.HERE.parent.parent / "shared")
    parser.add_argument("--quick", action="store_true", help="128 rows and one epoch: shows that all of it runs")
    parser.add_argument("--only", choices=("scratch", "transfer", "speed"), help="one of the three questions")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds of the third (default %(default)s)")
    parser.add_argument("--source", type=Path, help="the folder of a run en→fr that is there, instead of training it")
    parser.add_argument("--source-epochs", type=int, default=6, help="of the source (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=15, help="from scratch on all pairs (default %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        data = stage(options, home)
        found: dict[str, Any] = {"quick": options.quick, "machine": harness.machine()}
        options.bundle = (options.source or home / "run-fr").resolve()
        if options.source is None and options.only in {None, "transfer", "speed"}:
            found["source"] = fit(home, "fr", data["all"], "fr", scratch(options, options.source_epochs))
        if options.only in {None, "transfer"}:
            found["transfer"] = transfer(home, data["few"], options)
        if options.only in {None, "speed"}:
            found["speed"] = speed(home, data["timed"], options)
        if options.only in {None, "scratch"}:
            found["scratch"] = fit(home, "de", data["all"], "de", scratch(options, options.epochs))
    print(json.dumps(found, indent=1))


def stage(options: argparse.Namespace, home: Path) -> dict[str, Path]:
    """All pairs, and the first 2,000 to train on; validation and test are the same, but small where time is asked."""
    source = options.shared / "data" / "multi30k"
    few = 64 if options.quick else PAIRS
    sizes = {"all": (128 if options.quick else None, None), "few": (few, None), "timed": (min(few, SOME), SCORED)}
    found = {}
    for name, (count, scored) in sizes.items():
        found[name] = home / f"multi30k-{name}"
        found[name].mkdir()
        for split in ("train", "val", "test"):
            with (source / f"{split}.csv").open(newline="", encoding="utf-8") as file:
                rows = list(csv.reader(file))
            most = count if split == "train" else 16 if options.quick else scored
            with (found[name] / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows if most is None else rows[: most + 1])
    return found


def scratch(options: argparse.Namespace, epochs: int) -> list[object]:
    """How a source, or a model of all pairs, is trained."""
    return ["--model", MODEL, "--strategy", "scratch", "--epochs", 1 if options.quick else epochs, "--batch", BATCH]


def fit(home: Path, name: str, data: Path, target: str, flags: list[object]) -> dict[str, Any]:
    """A run of `uke fit` with a cache of its own, empty when it starts, and what its record says."""
    run = home / f"run-{name}"
    asked = ["fit", data, "--task", "translate", "--source", "en", "--target", target, *flags, "--out", run]
    began = time.perf_counter()
    command = [sys.executable, "-m", "ukulele.cli", *map(str, asked)]
    with tempfile.TemporaryDirectory(dir=home) as cache:
        subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "UKULELE_CACHE": cache})
    record = json.loads((run / "record.json").read_text("utf-8"))
    found = {
        "test": {metric: estimate["value"] for metric, estimate in record["test"].items()},
        "parameters": record["model"]["parameters"],
        "verdict": record["verdict"],
        "candidates": [
            {"name": c["name"], "bleu": c["test"].get("bleu"), **{k: c["cost"][k] for k in ("seconds", "phases")}}
            for c in record["candidates"]
        ],
        "tokens": record["writing"]["tokens"],
        "signature": record["writing"]["signatures"]["bleu"],
        "wall": round(time.perf_counter() - began, 1),
    }  # fmt: skip
    harness.note(json.dumps({name: found}))
    return found


def transfer(home: Path, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The source's model on the few pairs; the run's own control is the same network from scratch."""
    flags: list[object] = ["--model", options.bundle, "--strategy", "full"]
    return fit(home, "transfer", data, "de", [*flags, *(["--epochs", 1] if options.quick else [])])


def speed(home: Path, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of an epoch, without validation; ours with the pass that fills the cache."""
    epochs, rounds = (2, 1) if options.quick else (TIMED, options.rounds)
    flags = ["--model", options.bundle, "--epochs", epochs, "--batch", 32, "--patience", epochs]
    flags += ["--controls", "none", "--metric", "perplexity"]
    seconds: dict[str, dict[str, list[float]]] = {cut: {name: [] for name in ("ours", *PEERS)} for cut in CUTS}
    for number in range(rounds):
        for cut, found in seconds.items():
            for name in list(found)[:: 1 if number % 2 == 0 else -1]:
                if name == "ours":
                    fit(home, f"{cut}-{number}", data, "de", [*flags, *CUTS[cut]])
                    found[name].append(harness.training(home / f"run-{cut}-{number}") / epochs)
                else:
                    peer = [harness.PEERS / "hf_seq2seq.py", data, "--bundle", options.bundle, "--epochs", epochs]
                    asked = [sys.executable, *map(str, [*peer, *WHOLE[cut], *PEERS[name]])]
                    said = subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout
                    found[name].append(harness.last_json(said)["epoch"])
                harness.note(f"round {number + 1}/{rounds}  {cut}, {name}: {found[name][-1]:.2f} s an epoch")
    return {cut: _compared(found) for cut, found in seconds.items()}


def _compared(seconds: dict[str, list[float]]) -> dict[str, Any]:
    over = {name: [peer / own for peer, own in zip(seconds[name], seconds["ours"], strict=True)] for name in PEERS}
    return {
        "seconds an epoch": {name: harness.figures(taken) for name, taken in seconds.items()},
        "times faster": {name: harness.figures(taken) for name, taken in over.items()},
    }


if __name__ == "__main__":
    main()
