"""Several seeds of the chosen plan, as a user meets them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e_kit import Answer, Death, in_a_process, record_of, rows_of, write_csv

Uke = Callable[..., Answer]
FAST = ("--epochs", 2, "--batch", 16, "--rate", 0.003, "--layer", "last", "--threads", 1)


def test_numbers_and_verdict_are_of_the_mean(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    args = ("--model", bert, "--strategy", "finetune", "--seeds", 3, *FAST)
    fit = uke("fit", tables / "reviews.csv", "--target", "label", *args, "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    each = record["seeds"]["each"]
    assert [one["seed"] for one in each] == [0, 1, 2]
    mean = np.mean([one["test"]["value"] for one in each])
    assert record["test"]["accuracy"]["value"] == pytest.approx(mean)
    assert "hierarchical" in record["test"]["accuracy"]["method"]
    assert "hierarchical" in record["verdict"]["difference"]["method"]
    assert "hierarchical" in record["gain_over_probe"]["difference"]["method"]
    own = next(c for c in record["candidates"] if c["name"] == "finetune")["test"]["accuracy"]
    assert own["value"] == each[0]["test"]["value"]
    assert {c["name"] for c in record["candidates"]} == {"probe", "finetune", "majority", "tfidf"}
    assert "mean of 3 seeds of finetune" in fit.out
    assert "With 3 seeds" in (run / "report.html").read_text("utf-8")
    assert uke("predict", run, "w1 good").code == 0


def test_a_dry_run_counts_them(tables: Path, bert: Path, uke: Uke) -> None:
    args = ("--model", bert, "--strategy", "finetune", "--seeds", 3, *FAST, "--controls", "none", "--dry-run")
    dry = uke("fit", tables / "reviews.csv", "--target", "label", *args)
    assert dry.code == 0, dry.err
    assert "2 more of finetune, if it is chosen: about" in " ".join(dry.out.split())


def test_what_is_frozen_is_encoded_once(pictures: Path, network: Path, uke: Uke, tmp_path: Path) -> None:
    """The augmented views of pictures are the same for all seeds."""
    counts = []
    for seeds in (1, 3):
        folder = tmp_path / f"cache{seeds}"
        args = ("--model", network, "--strategy", "finetune", "--views", 2, "--seeds", seeds, *FAST)
        run = tmp_path / f"run{seeds}"
        fit = uke("fit", pictures, *args, "--controls", "none", "--cache", folder, "--out", run)
        assert fit.code == 0, fit.err
        counts.append(len([path for path in folder.rglob("*") if path.is_file()]))
    assert counts[0] == counts[1]


def test_killed_and_resumed(bert: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "mood.csv", rows_of(80, 0), ["text", "label"])
    options: dict[str, Any] = {
        "strategy": "finetune", "seeds": 2, "epochs": 2, "batch": 16, "rate": 0.003, "save_every": 0.0, "threads": 1,
        "controls": "none", "layer": "last", "model": str(bert), "cache": str(tmp_path / "cache"),
    }  # fmt: skip
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert in_a_process(data, whole, options, None, False) == 0
    for number, death in enumerate((Death("event:Judged", 3), Death("ukulele.runs.folder:RunFolder.save_result", 1))):
        assert in_a_process(data, run, {} if number else options, death, bool(number)) == -signal.SIGKILL
    assert in_a_process(data, run, {}, None, True) == 0
    ours, theirs = ((path / "bundle" / "weights.safetensors").read_bytes() for path in (run, whole))
    assert ours == theirs
    assert record_of(run)["test"] == record_of(whole)["test"]
    scores = [[(one["seed"], one["test"]) for one in record_of(path)["seeds"]["each"]] for path in (run, whole)]
    assert scores[0] == scores[1]


def test_several_tasks(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    """Δm and each task's verdict are of seeds and rows, against the models for each with the same seeds."""
    run, data = tmp_path / "run", write_csv(tmp_path / "two.csv", rows_of(90, 4), ["text", "label", "score"])
    args = ("--target", "label", "--target", "score", "--model", bert, "--strategy", "finetune", "--seeds", 2, *FAST)
    fit = uke("fit", data, *args, "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    several, each = record["multitask"], record["seeds"]["each"]
    assert [one["seed"] for one in each] == [0, 1]
    mean = np.mean([one["delta_m_percent"]["value"] for one in each])
    assert several["delta_m_percent"]["value"] == pytest.approx(mean)
    assert "2 seeds" in several["delta_m_percent"]["method"]
    for task in several["tasks"]:
        name, metric = task["name"], task["metric"]
        assert task["multi"]["value"] == pytest.approx(np.mean([one["test"][name]["value"] for one in each]))
        assert record["test"][name][metric] == task["multi"] == task["test"][metric]
        for what in ("verdict", "transfer", "gain_over_probe"):
            assert task[what]["test"] == "paired bootstrap over seeds and rows"
            assert "2 seeds" in task[what]["difference"]["method"]
        difference = task["multi"]["value"] - task["single"]["value"]
        assert task["verdict"]["difference"]["value"] == pytest.approx(difference)
    assert "2 seeds" in record["gain_over_probe"]["difference"]["method"]
    assert {c["name"] for c in record["candidates"]} >= {"finetune", "label alone", "score alone"}
    page = (run / "report.html").read_text("utf-8")
    assert all(title in page for title in ("With 2 seeds", "With 2 seeds: label", "With 2 seeds: score"))
    assert uke("predict", run, "w1 good").code == 0


def test_groups_are_not_found_with_several_seeds(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    args = ("--target", "label", "--target", "shop", "--model", bert, "--seeds", 2, "--group", "auto")
    refused = uke("fit", tables / "reviews.csv", *args, "--out", tmp_path / "run")
    assert refused.code == 2
    assert "--seeds 2 with --group auto" in refused.flat
