"""A small GPT from the novels to Shakespeare, all from this project's own training.

1. Transfer: `config:gpt2-tiny` is trained on a part of each novel; its bundle is then trained on tinyshakespeare, held
   against the same network from scratch for as many epochs, which take as long, by bits per byte.
2. Speed: tokens a second with the top half of the blocks trained, and with all of it, in alternating rounds beside HF
   Trainer on the same windows with the same layers frozen, at its defaults and at its best settings. Ours with the pass
   that fills the cache, which is empty at the start of every run; nobody's with validation.

By default some 2.3 million tokens pass the network in the first, 0.05 in each of the second's runs.
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
NOVELS = 200_000  # bytes of each of the 16 novels
SOURCE_EPOCHS, EPOCHS, TIMED = 1, 2, 3
BATCH = 8  # windows of 256 tokens: a hundred passes over little text want many steps
SAMPLE = {"train": 50_000, "valid": 5_000, "test": 5_000}  # bytes of the plays for speed
CUT = {"half": 4, "all": 0}  # the embeddings and three of six blocks
PEERS = {"defaults": [], "best": ["--best"]}
QUICK = 24_000  # bytes of each text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=harness.HERE.parent.parent / "shared")
    parser.add_argument("--quick", action="store_true", help="a little of each text: shows that all of it runs")
    parser.add_argument("--only", choices=("transfer", "speed"), help="one of the two questions")
    parser.add_argument("--novels", type=int, default=NOVELS, help="bytes of each novel (default %(default)s)")
    parser.add_argument("--source", type=Path, help="the folder of a run on the novels that is there, instead")
    parser.add_argument("--source-epochs", type=int, default=SOURCE_EPOCHS, help="default %(default)s")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="on the plays (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds of the second (default %(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.novels, options.source_epochs, options.epochs, options.rounds = QUICK, 1, 1, 1
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        novels, plays = stage(options, home)
        found: dict[str, Any] = {"quick": options.quick, "novels": options.novels, "machine": harness.machine()}
        options.bundle = home / "source"
        if options.source is not None:
            options.bundle.symlink_to(options.source.resolve())
        if options.only != "speed":
            if options.source is None:
                found["source"] = source(home, novels, options.source_epochs)
            found["transfer"] = transfer(home, plays, options)
        if options.only != "transfer":
            found["speed"] = speed(home, novels, options)
    print(json.dumps(found, indent=1))


def stage(options: argparse.Namespace, home: Path) -> tuple[Path, Path]:
    """The novels, the begin of each, and the plays; of those a little where that is asked for."""
    texts = options.shared / "data" / "lm"
    (home / "novels").mkdir()
    novels = sorted((texts / "novels").glob("*.txt"))
    for path in novels[:2] if options.quick else novels:
        (home / "novels" / path.name).write_bytes(path.read_bytes()[: options.novels])
    plays = (texts / "tinyshakespeare.txt").read_bytes()
    (home / "plays.txt").write_bytes(plays[: QUICK if options.quick else None])
    (home / "sample").mkdir()
    at = 0
    for name, size in SAMPLE.items():
        size = size // 5 if options.quick else size  # noqa: PLW2901
        (home / "sample" / f"{name}.txt").write_bytes(plays[at : at + size])
        at += size
    return home / "novels", home / "plays.txt"


def fit(home: Path, name: str, data: Path, flags: list[object]) -> dict[str, Any]:
    """A run of `uke fit` with an empty cache, and what its record says."""
    asked = ["fit", data, "--task", "generate", *flags, "--out", home / name]
    command = [sys.executable, "-m", "ukulele.cli", *map(str, asked)]
    with tempfile.TemporaryDirectory(dir=home) as cache:
        subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "UKULELE_CACHE": cache})
    record = json.loads((home / name / "record.json").read_text("utf-8"))
    found = {
        "test": record["test"],
        "controls": {control["name"]: control["test"]["bits_per_byte"]["value"] for control in record["controls"]},
        "parameters": record["model"]["parameters"],
        "verdict": record["verdict"],
        "tokens": record["writing"]["tokens"],
        "phases": dict(record["cost"]["phases"]),
    }
    harness.note(json.dumps({name: found}))
    return found


def source(home: Path, novels: Path, epochs: int) -> dict[str, Any]:
    """The network from scratch on the novels: what is transferred."""
    flags: list[object] = ["--model", MODEL, "--strategy", "scratch", "--rate", 1e-3, "--batch", BATCH]
    return fit(home, "source", novels, [*flags, "--epochs", epochs, "--controls", "none"])


def transfer(home: Path, plays: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Full fine-tuning of the source against the same network, drawn anew, for as many epochs."""
    flags: list[object] = ["--model", options.bundle, "--rate", 1e-3, "--batch", BATCH, "--epochs", options.epochs]
    ours = fit(home, "ours", plays, [*flags, "--strategy", "full", "--controls", "none"])
    theirs = fit(home, "theirs", plays, [*flags, "--strategy", "scratch"])
    found = {
        "train seconds": [one["phases"]["train"] for one in (ours, theirs)],
        "bits per byte lower by": paired(home, plays),
    }
    harness.note(json.dumps(found))
    return {"ours": ours, "scratch": theirs, **found}


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


def speed(home: Path, novels: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second of training, ours with the pass that fills the cache, and the peer's, in alternating rounds."""
    if not options.bundle.exists():  # speed does not ask how well its weights were trained
        few = home / "few"
        few.mkdir()
        for path in sorted(novels.iterdir()):
            (few / path.name).write_bytes(path.read_bytes()[:QUICK])
        source(home, few, 1)
    epochs = 1 if options.quick else TIMED
    rates: dict[str, dict[str, list[float]]] = {cut: {name: [] for name in ("ours", *PEERS)} for cut in CUT}
    for number in range(options.rounds):
        for cut, frozen in CUT.items():
            for name in list(rates[cut])[:: 1 if number % 2 == 0 else -1]:
                asked = (home, home / "sample", frozen, epochs)
                found = _ours(*asked, f"{cut}-{number}") if name == "ours" else _peer(*asked, PEERS[name])
                rates[cut][name].append(found)
                harness.note(f"round {number + 1}/{options.rounds}  {cut}, {name}: {found:.1f} tokens a second")
    return {cut: _compared(found) for cut, found in rates.items()}


def _ours(home: Path, data: Path, frozen: int, epochs: int, name: str) -> float:
    flags: list[object] = ["--model", home / "source", "--strategy", "finetune", "--freeze", frozen]
    flags += ["--epochs", epochs, "--patience", epochs, "--batch", BATCH, "--controls", "none"]
    found = fit(home, f"speed-{name}", data, flags)
    return float(found["tokens"]["train"] * found["tokens"]["epochs"] / harness.training(home / f"speed-{name}"))


def _peer(home: Path, data: Path, frozen: int, epochs: int, more: list[str]) -> float:
    asked = [harness.PEERS / "hf_causal.py", data, "--bundle", home / "source", "--frozen", frozen, "--epochs", epochs]
    command = [sys.executable, *map(str, [*asked, "--batch", BATCH, *more])]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(harness.last_json(said)["per_second"])


def _compared(rates: dict[str, list[float]]) -> dict[str, Any]:
    over = {name: [own / peer for own, peer in zip(rates["ours"], rates[name], strict=True)] for name in PEERS}
    return {
        "tokens a second": {name: harness.figures(found) for name, found in rates.items()},
        "times": {name: harness.figures(found) for name, found in over.items()},
    }


if __name__ == "__main__":
    main()
