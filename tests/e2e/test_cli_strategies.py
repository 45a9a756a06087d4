"""Strategies beyond the probe and plain fine-tuning, as a user meets them: fit, report, predict, kill and resume."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from e2e_kit import Answer, Death, in_a_process, record_of, rows_of, write_csv
from safetensors.torch import load_file

Uke = Callable[..., Answer]
FAST = ("--epochs", 2, "--batch", 16, "--rate", 0.003, "--layer", "last", "--threads", 1, "--controls", "none")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "bundle" / "weights.safetensors")


def moved(run: Path, source: Path) -> dict[str, float]:
    """By stage, how far its weights went."""
    start, made = load_file(source / "model.safetensors"), weights(run)
    found: dict[str, float] = {}
    for name, value in start.items():
        if f"net.{name}" in made and value.is_floating_point():
            stage = "embed" if name.startswith("embeddings") else ".".join(name.split(".")[:3])
            found[stage] = found.get(stage, 0.0) + float((made[f"net.{name}"] - value).square().sum())
    return {stage: distance**0.5 for stage, distance in found.items() if not stage.startswith("pooler")}


def test_gradual_unfreezing(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit = uke("fit", tables / "reviews.csv", "--model", bert, "--strategy", "gradual", *FAST, "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    phases = record["plan"]["phases"]
    assert [[group["names"] for group in phase["groups"]] for phase in phases] == [
        ["head.*"], ["head.*", "block1.*"], ["head.*", "block1.*", "block0.*"],
        ["head.*", "block1.*", "block0.*", "embed.*"],
    ]  # fmt: skip
    assert [phase["epochs"] for phase in phases[1:]] == [1, 1, 2]
    assert record["plan"]["cut"] == "embed"
    assert set(moved(run, bert)) == {"embed", "encoder.layer.0", "encoder.layer.1"}
    assert all(distance > 0 for distance in moved(run, bert).values())
    history = next(c for c in record["candidates"] if c["name"] == "gradual")["history"]
    assert [(epoch["phase"], epoch["epoch"]) for epoch in history] == [(1, 0), (2, 0), (3, 0), (3, 1)]
    assert uke("predict", run, "w1 good fine w2").code == 0


def test_a_stage_that_stays_frozen_does(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    args = ("--strategy", "gradual", "--freeze", "embed", "--layer-decay", 0.5)
    fit = uke("fit", tables / "reviews.csv", "--model", bert, *args, *FAST, "--out", run)
    assert fit.code == 0, fit.err
    assert moved(run, bert)["embed"] == 0
    rates = [group["rate"] for group in record_of(run)["plan"]["phases"][-1]["groups"]]
    assert rates == pytest.approx([0.003, 0.003, 0.0015])


def test_l2sp_stays_nearer_to_the_start(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    for run, penalty in ((far, 1e-9), (near, 10)):
        args = ("--strategy", "l2sp", "--penalty", penalty)
        fit = uke("fit", tables / "reviews.csv", "--model", bert, *args, *FAST, "--out", run)
        assert fit.code == 0, fit.err
        assert record_of(run)["plan"]["phases"][-1]["penalty"] == penalty
        assert "pulled to where the weights started" in record_of(run)["plan"]["text"]
        assert uke("predict", run, "w1 good fine w2").code == 0
    ours, theirs = moved(near, bert), moved(far, bert)
    assert all(0 < ours[stage] < theirs[stage] for stage in ours)


DEATHS = [
    Death("event:Stepped", 3),
    Death("event:Judged", 1),
    Death("event:Stepped", 2),
    Death("event:Saved", 3),
    Death("ukulele.runs.folder:RunFolder.save_result", 1, True),
]


@pytest.mark.parametrize("strategy", ["gradual", "l2sp"])
def test_killed_and_resumed(strategy: str, bert: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "mood.csv", rows_of(80, 0), ["text", "label"])
    options: dict[str, Any] = {
        "strategy": strategy, "epochs": 2, "batch": 16, "rate": 0.003, "save_every": 0.0, "threads": 1,
        "controls": "none", "layer": "last", "model": str(bert), "cache": str(tmp_path / "cache"),
    }  # fmt: skip
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert in_a_process(data, whole, options, None, False) == 0
    for number, death in enumerate(DEATHS):
        assert in_a_process(data, run, {} if number else options, death, bool(number)) == -signal.SIGKILL
    assert in_a_process(data, run, {}, None, True) == 0
    ours, theirs = ((path / "bundle" / "weights.safetensors").read_bytes() for path in (run, whole))
    assert ours == theirs
    assert record_of(run)["test"] == record_of(whole)["test"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--strategy", "finetune", "--penalty", 0.1), "--penalty 0.1: --strategy finetune does not read it"),
        (("--strategy", "l2sp", "--penalty", 0), "--penalty 0"),
        (("--strategy", "finetune", "--layer-decay", 2), "1 at most"),
        (("--strategy", "lora", "--layer-decay", 0.9), "--layer-decay 0.9: --strategy lora does not read it"),
    ],
)
def test_refused_with_the_way_out(args: Any, said: str, tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    refused = uke("fit", tables / "reviews.csv", "--model", bert, *args, "--out", tmp_path / "run")
    assert refused.code == 2, refused.flat
    assert said in refused.flat
