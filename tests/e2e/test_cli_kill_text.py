"""A run that writes texts, killed and resumed, ends bit-identical: its vocabulary, dropout and answers too."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import Death, in_a_process, record_of, write_csv

WORDS = {"dog": "Hund", "cat": "Katze", "man": "Mann", "bird": "Vogel", "runs": "rennt", "sleeps": "schläft"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    nouns, verbs = list(WORDS)[:4], list(WORDS)[4:]
    pairs = [(noun, verb, number) for number in range(8) for noun in nouns for verb in verbs]
    rows = [
        {"en": f"{number} The {noun} {verb}.", "de": f"{number} {WORDS[noun]} {WORDS[verb]}."}
        for noun, verb, number in pairs
    ]
    return write_csv(tmp_path_factory.mktemp("killed") / "pairs.csv", rows, ["en", "de"])


def options(folder: Path) -> dict[str, Any]:
    return {
        "task": "translate", "text": ("en",), "target": ("de",), "model": "config:marian-tiny", "strategy": "scratch",
        "epochs": 2, "batch": 16, "save_every": 0.0, "threads": 1, "cache": str(folder / "cache"),
    }  # fmt: skip


def same(run: Path, other: Path) -> None:
    for name in ("weights.safetensors", "assets/tokenizer.json"):
        assert (run / "bundle" / name).read_bytes() == (other / "bundle" / name).read_bytes()
    ours, theirs = record_of(run), record_of(other)
    assert ours["test"] == theirs["test"]
    assert ours["writing"]["samples"] == theirs["writing"]["samples"]
    assert [c["history"] for c in ours["candidates"]] == [c["history"] for c in theirs["candidates"]]


@pytest.mark.slow
def test_killed_and_resumed(tmp_path: Path, data: Path) -> None:
    whole = tmp_path / "whole"
    assert in_a_process(data, whole, options(tmp_path), None, False) == 0
    for number, death in enumerate(
        (
            Death("event:Stepped", 2),
            Death("ukulele.feed:Feed.judge", 2),  # while validation rows are written
            Death("ukulele.pipeline:pack"),
        )
    ):
        run = tmp_path / f"run-{number}"
        assert in_a_process(data, run, options(tmp_path / str(number)), death, False) == -signal.SIGKILL
        assert in_a_process(data, run, {}, None, True) == 0
        same(run, whole)
