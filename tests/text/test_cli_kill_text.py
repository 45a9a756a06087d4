"""A run that writes texts, killed and resumed, ends bit-identical: dropout, answers and all."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import Death, in_a_process, record_of, write_csv
from text_kit import pairs, rows

from ukulele.models import words

DEATHS = [
    Death("event:Stepped", 3),
    Death("ukulele.models.generation:generate", 2),  # while validation rows are written
    Death("ukulele.story.pipeline:pack"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = [{"en": a, "de": b} for a, b in dict.fromkeys(pairs(120))]
    return write_csv(tmp_path_factory.mktemp("killed") / "pairs.csv", table, ["en", "de"])


def options(model: Path, folder: Path) -> dict[str, Any]:
    return {
        "task": "translate", "text": ("en",), "target": ("de",), "model": str(model), "strategy": "finetune",
        "epochs": 2, "batch": 16, "save_every": 0.0, "threads": 1, "cache": str(folder / "cache"), "controls": "none",
    }  # fmt: skip


def same(run: Path, other: Path) -> None:
    assert (run / "bundle" / "weights.safetensors").read_bytes() == (
        other / "bundle" / "weights.safetensors"
    ).read_bytes()
    ours, theirs = record_of(run), record_of(other)
    assert ours["test"] == theirs["test"]
    assert ours["writing"]["samples"] == theirs["writing"]["samples"]
    assert [c["history"] for c in ours["candidates"]] == [c["history"] for c in theirs["candidates"]]


@pytest.mark.slow
def test_killed_and_resumed(tmp_path: Path, data: Path, t5: Path) -> None:
    whole = tmp_path / "whole"
    assert in_a_process(data, whole, options(t5, tmp_path), None, False) == 0
    for number, death in enumerate(DEATHS):
        run = tmp_path / f"run-{number}"
        assert in_a_process(data, run, options(t5, tmp_path / str(number)), death, False) == -signal.SIGKILL
        assert in_a_process(data, run, {}, None, True) == 0
        same(run, whole)


def test_a_vocabulary_is_learned_the_same_again() -> None:
    once, again = words.learn(rows(80)), words.learn(rows(80))
    assert once == again
    assert once.text(once.ids(["Ein Gaul 🐎 wartet…"])[0]) == "Ein Gaul 🐎 wartet…"
