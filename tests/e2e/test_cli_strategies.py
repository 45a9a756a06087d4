"""Strategies beyond the probe and plain fine-tuning, as a user meets them: fit, report, predict, kill and resume."""

from __future__ import annotations

import json
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


def test_autorgn_says_the_shares_of_the_rate_before_each_epoch(
    tables: Path, bert: Path, uke: Uke, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    fit = uke("fit", tables / "reviews.csv", "--model", bert, "--strategy", "autorgn", *FAST, "--out", run)
    assert fit.code == 0, fit.err
    plan = record_of(run)["plan"]["phases"][-1]
    assert plan["relative"] is True
    assert "shares of the rate in epoch 1: head" in fit.out + fit.err


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


@pytest.mark.parametrize("strategy", ["finetune", "lora"])
def test_wise_ft_packs_weights_between_start_and_end(
    strategy: str, tables: Path, bert: Path, uke: Uke, tmp_path: Path
) -> None:
    whole, half, none = tmp_path / "whole", tmp_path / "half", tmp_path / "none"
    for run, more in ((whole, ()), (half, ("--wise-ft", 0.5)), (none, ("--wise-ft", 0))):
        args = ("--strategy", strategy, "--freeze", 2, *FAST, *more, "--out", run)
        fit = uke("fit", tables / "reviews.csv", "--model", bert, *args)
        assert fit.code == 0, fit.err
    start, end, made = load_file(bert / "model.safetensors"), weights(whole), weights(half)
    changed = {k for k in start if f"net.{k}" in end and not torch.equal(start[k], end[f"net.{k}"])}
    assert changed
    for name in changed:
        torch.testing.assert_close(made[f"net.{name}"], (start[name] + end[f"net.{name}"]) / 2, rtol=1e-4, atol=1e-5)
    record = record_of(half)
    found = next(c for c in record["candidates"] if c["name"] == strategy)
    assert found["averages"]["wise_ft"] == {"alpha": 0.5, "tried": []}
    assert "go back towards the start" in record["plan"]["text"]
    assert uke("predict", half, "w1 good fine w2").code == 0
    back = record_of(none)
    scores = {c["name"]: c["validation"]["accuracy"]["value"] for c in back["candidates"]}
    assert scores[strategy] == scores["probe"]  # all the way back


def test_chosen_averages_are_told(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    args = ("--strategy", "finetune", "--wise-ft", "auto", "--soup", *FAST, "--epochs", 3)
    fit = uke("fit", tables / "reviews.csv", "--model", bert, *args, "--out", run)
    assert fit.code == 0, fit.err
    assert "soup: " in fit.err
    found = next(c for c in record_of(run)["candidates"] if c["name"] == "finetune")["averages"]
    assert found["wise_ft"]["alpha"] in {one["alpha"] for one in found["wise_ft"]["tried"]}
    assert max(one["score"] for one in found["wise_ft"]["tried"]) == next(
        one["score"] for one in found["wise_ft"]["tried"] if one["alpha"] == found["wise_ft"]["alpha"]
    )
    assert found["soup"]["score"] >= found["soup"]["alone"]


DEATHS = [
    Death("event:Stepped", 3),
    Death("event:Saved", 5),
    Death("event:Stepped", 2),
    Death("event:Saved", 3),
    Death("ukulele.runs.folder:RunFolder.save_result", 1, True),
]


def test_few_labels(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    args = ("--strategy", "fewshot", "--epochs", 12, "--rate", 0.002, "--layer", "last", "--threads", 1)
    fit = uke("fit", tables / "reviews.csv", "--model", bert, *args, "--controls", "none", "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    assert [phase["loss"] for phase in record["plan"]["phases"]] == ["pairs", "heads"]
    assert "pairs among 8 rows a step" in record["plan"]["text"]
    assert all(distance > 0 for distance in moved(run, bert).values())
    history = next(c for c in record["candidates"] if c["name"] == "fewshot")["history"]
    assert len(history) == 12
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    answers = uke("predict", run, "w1 good fine w2", "w1 bad awful w2")
    assert answers.code == 0, answers.err
    assert "<svg" in (run / "report.html").read_text("utf-8")
    dry = uke("fit", tables / "reviews.csv", "--model", bert, *args, "--dry-run")
    assert dry.code == 0, dry.err
    assert "pairs among 8 rows" in dry.out


def test_the_rate_is_chosen_on_validation(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    args = ("--strategy", "finetune", "--rate", "auto", "--epochs", 3, "--layer", "last", "--controls", "none")
    fit = uke("fit", tables / "reviews.csv", "--model", bert, *args, "--threads", 1, "--out", run)
    assert fit.code == 0, fit.err
    found = json.loads((run / "manifest.json").read_text())["decisions"]["rate of finetune"]
    assert [round(one["rate"], 6) for one in found["tried"]] == [6.7e-5, 2e-4, 6e-4]
    best = max(found["tried"], key=lambda one: (one["score"], -one["loss"]))
    assert found["rate"] == best["rate"]
    phase = record_of(run)["plan"]["phases"][-1]
    assert phase["groups"][0]["rate"] == pytest.approx(best["rate"])
    assert phase["epochs"] == 3
    assert [c["name"] for c in record_of(run)["candidates"]] == ["probe", "finetune"]
    assert f"a rate of {best['rate']:.3g}; on validation" in fit.err


def test_a_rate_that_diverges_is_not_chosen_and_a_control_that_does_is_left_out(
    tables: Path, bert: Path, uke: Uke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ukulele.loop import train as loop
    from ukulele.trial import attempt as trial

    fitted = trial._fit

    def fit(outcome: Any, *more: Any) -> None:
        name = outcome.candidate.name
        if name in {"finetune-rate-0.0002", "finetune-rate-0.0006"} or name.startswith("scratch"):
            raise loop.NotFiniteError("the loss became nan.", hint="Lower the rate (--rate).")
        fitted(outcome, *more)

    monkeypatch.setattr(trial, "_fit", fit)
    run = tmp_path / "run"
    args = ("--strategy", "finetune", "--rate", "auto", "--epochs", 3, "--layer", "last", "--controls", "all")
    told = uke("fit", tables / "reviews.csv", "--model", bert, *args, "--threads", 1, "--out", run)
    assert told.code == 0, told.err
    found = json.loads((run / "manifest.json").read_text())["decisions"]["rate of finetune"]
    assert found["rate"] == found["tried"][0]["rate"]
    assert [one["score"] is None for one in found["tried"]] == [False, True, True]
    assert "scratch" not in {control["name"] for control in record_of(run)["controls"]}
    assert "the control scratch is left out: the loss became nan." in told.err.replace("\n", " ")


@pytest.mark.parametrize("data", ["reviews.csv", "scores.csv", "marks.csv"])
def test_features_of_all_stages(data: str, tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    run, after = tmp_path / "run", tmp_path / "after"
    args = ("--strategy", "stages", "--controls", "none", "--threads", 1)
    fit = uke("fit", tables / data, "--model", bert, *args, "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    counts, share = record["gather"]["counts"], record["gather"]["share"]
    assert sum(counts.values()) == max(1, round(4 * 32 * share))
    assert record["gather"]["scores"][str(share)] == max(record["gather"]["scores"].values())
    assert "features of all stages" in record["plan"]["text"]
    assert all(distance == 0 for distance in moved(run, bert).values())
    head = next(value for name, value in weights(run).items() if name.endswith("linear.weight"))
    assert head.shape[1] == sum(counts.values())
    assert uke("predict", run, "w1 good fine w2").code == 0
    again = uke("fit", tables / data, "--model", run, "--strategy", "probe", "--controls", "none", "--out", after)
    assert again.code == 0, again.err  # the next task begins with the trunk as it was
    assert all(distance == 0 for distance in moved(after, bert).values())


def test_features_of_all_stages_of_pictures(pictures: Path, network: Path, uke: Uke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit = uke("fit", pictures, "--model", network, "--strategy", "stages", "--controls", "none", "--out", run)
    assert fit.code == 0, fit.err
    assert record_of(run)["gather"]["counts"]
    assert uke("predict", run, pictures / "red" / "0.png").code == 0


AVERAGED: dict[str, Any] = {"wise_ft": "auto", "soup": True}


@pytest.mark.parametrize(
    ("strategy", "more"),
    [("gradual", {}), ("l2sp", {}), ("autorgn", {}), ("fewshot", {}), ("finetune", AVERAGED), ("lora", AVERAGED)],
)
def test_killed_and_resumed(strategy: str, more: dict[str, Any], bert: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "mood.csv", rows_of(80, 0), ["text", "label"])
    options: dict[str, Any] = {
        "strategy": strategy, **more, "epochs": 2, "batch": 16, "rate": 0.003, "save_every": 0.0, "threads": 1,
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
    assert record_of(run)["plan"] == record_of(whole)["plan"]
    averages = [[one["averages"] for one in record_of(path)["candidates"]] for path in (run, whole)]
    assert averages[0] == averages[1]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--strategy", "finetune", "--penalty", 0.1), "--penalty 0.1: --strategy finetune does not read it"),
        (("--strategy", "l2sp", "--penalty", 0), "--penalty 0"),
        (("--strategy", "finetune", "--layer-decay", 2), "1 at most"),
        (("--strategy", "finetune", "--wise-ft", 1.5), "--wise-ft 1.5: a share"),
        (("--strategy", "finetune", "--wise-ft", "some"), "a share between 0 and 1, or auto"),
        (("--strategy", "finetune", "--rate", "fast"), "--rate fast: a rate above 0, or auto"),
        (("--strategy", "finetune", "--rate", -1), "--rate -1"),
        (("--strategy", "probe", "--soup"), "--soup: --strategy probe does not read it"),
        (("--strategy", "fewshot", "--patience", 3), "--strategy fewshot does not read it"),
        (("--strategy", "lora", "--layer-decay", 0.9), "--layer-decay 0.9: --strategy lora does not read it"),
    ],
)
def test_refused_with_the_way_out(args: Any, said: str, tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    refused = uke("fit", tables / "reviews.csv", "--model", bert, *args, "--out", tmp_path / "run")
    assert refused.code == 2, refused.flat
    assert said in refused.flat


def test_few_labels_of_what_has_no_classes_are_refused(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    for data in ("scores.csv", "marks.csv"):
        refused = uke("fit", tables / data, "--model", bert, "--strategy", "fewshot", "--out", tmp_path / "run")
        assert refused.code == 2, refused.flat
        assert "for one task of texts with one class each" in refused.flat
