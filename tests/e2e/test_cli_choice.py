"""`uke fit --models`: the model of a run is chosen by the ranking of `uke choose`, within the budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import Answer, record_of

from ukulele.features import blocks
from ukulele.story import choice

Uke = Callable[..., Answer]
FAST = ("--strategy", "probe", "--threads", 1, "--controls", "none")


@pytest.fixture(scope="session")
def other(encoder_folder: Callable[..., Path]) -> Path:
    """A second text encoder, narrower than the first."""
    return encoder_folder("bert", hidden_size=8, num_hidden_layers=1, num_attention_heads=2)


def test_a_run_takes_the_model_that_choose_takes(
    uke: Uke, tables: Path, bert: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked = json.loads(uke("choose", tables / "reviews.csv", "--models", bert, other, "--json", "--quiet").out)
    wrote: list[Path] = []
    real = blocks.write
    monkeypatch.setattr(blocks, "write", lambda path, *rest: (wrote.append(path), real(path, *rest))[1])
    run = tmp_path / "run"
    fit = uke("fit", tables / "reviews.csv", "--models", bert, other, *FAST, "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    found = record["choice"]
    assert found["chosen"] == ranked["chosen"] == record["run"]["options"]["model"]
    assert [one["model"] for one in found["models"]] == [one["model"] for one in ranked["models"]]
    assert found["limit_seconds"] is None
    assert f"Model: {found['chosen']}, of 2: accuracy" in fit.err
    assert len(wrote) == 2, "the training rows are those that were ranked: validation and test rows alone are new"

    monkeypatch.setattr(choice, "rank_models", lambda *_: pytest.fail("chosen anew"))
    again = uke("fit", tables / "reviews.csv", "--resume", run)
    assert again.code == 0, again.err
    assert record_of(run)["choice"] == found


def test_the_choice_is_paid_from_the_budget(
    uke: Uke, tables: Path, bert: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[Any] = []
    real = choice.rank_models
    monkeypatch.setattr(choice, "rank_models", lambda *args: (limits.append(args[2]), real(*args))[1])
    run = tmp_path / "run"
    fit = uke(
        "fit", tables / "reviews.csv", "--models", bert, other, "--budget", "4m", "--epochs", 1, "--batch", 32,
        "--threads", 1, "--controls", "none", "--out", run,
    )  # fmt: skip
    assert fit.code == 0, fit.err
    assert [limit.budget for limit in limits] == [60.0]
    record = record_of(run)
    assert record["choice"]["limit_seconds"] == 60.0
    assert record["ladder"][0]["left_seconds"] < 240 - record["choice"]["seconds"]


def test_what_cannot_be_chosen_is_refused(uke: Uke, tables: Path, bert: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for more, said in [
        (("--models", bert, "--model", bert), "--models with --model"),
        (("--models", bert, "--strategy", "scratch"), "--models with --strategy scratch"),
        (("--models", tmp_path / "none"), "no candidate can be used"),
    ]:
        answer = uke("fit", tables / "reviews.csv", *more, "--out", run)
        assert answer.code == 2, answer.flat
        assert said in answer.flat
        assert not run.exists()


def test_a_dry_run_says_which_model(uke: Uke, tables: Path, bert: Path, other: Path) -> None:
    answer = uke("fit", tables / "reviews.csv", "--models", bert, other, *FAST, "--dry-run")
    assert answer.code == 0, answer.err
    assert ", of 2: accuracy" in answer.err


def test_the_reason_says_what_there_was_no_time_for() -> None:
    expected = {"label": {"value": 0.9, "low": 0.8, "high": 0.95}}
    best = {"model": "a", "status": "ranked", "expected": expected, "regret": 0.0, "rows": 40}
    models = [best, {"model": "b", "status": "not looked at"}, {"model": "c", "status": "not looked at"}]
    found = {"models": models, "metric": {"label": "accuracy"}, "learnt": {"label": {"something": True}}}
    why = choice.why(found | {"seconds": 90.0, "limit_seconds": 60.0})
    assert why.startswith("a, of 3: accuracy 0.900")
    assert why.endswith("Not looked at for want of time: 2 of them. It took 90 s, 60 were meant.")
