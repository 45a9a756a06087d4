"""`uke fit` as a user types it: every strategy and kind of task, and what the record then holds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import Answer, environment, record_of, rows_of, shell, spawn, write_csv

from ukulele.strategies.finetune import NEXT_TO_NOTHING

Uke = Callable[..., Answer]
QUICK = ("--epochs", 2, "--batch", 16)


def fit(uke: Uke, out: Path, *args: object) -> dict[str, Any]:
    answer = uke("fit", *args, "--out", out)
    assert answer.code == 0, answer.err
    assert str(out / "report.html") in answer.out
    assert (out / "report.html").stat().st_size > 10_000
    return record_of(out)


def complete(record: dict[str, Any], metric: str) -> None:
    """Every field that a record promises is there, and says something."""
    assert record["task"]["metric"] == metric
    assert set(record["data"]["rows"]) == {"train", "val", "test"}
    assert record["model"]["name"]
    assert record["plan"]["text"]
    figure = record["test"][metric]
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert figure["n"] == record["data"]["rows"]["test"]
    for control in record["controls"]:
        assert control["name"]
        assert control["seconds"] >= 0
        assert metric in control["test"]
    cost = record["cost"]
    assert cost["seconds"] > 0
    assert cost["peak_memory_bytes"] > 2**20
    assert 0 < cost["trained_parameters"] <= cost["total_parameters"]
    assert cost["phases"]
    assert isinstance(record["findings"], list)


def verdict(record: dict[str, Any]) -> None:
    found = record["verdict"]
    assert found["outcome"] in {"helped", "hurt", "inconclusive"}
    assert found["against"] in {control["name"] for control in record["controls"]}
    assert found["difference"]["low"] <= found["difference"]["value"] <= found["difference"]["high"]


@pytest.mark.parametrize("strategy", ["auto", "probe", "finetune", "full", "scratch"])
def test_each_strategy(strategy: str, uke: Uke, tmp_path: Path, tables: Path, bert: Path) -> None:
    quick = () if strategy == "probe" else QUICK
    record = fit(uke, tmp_path / "run", tables / "reviews.csv", "--model", bert, "--strategy", strategy, *quick)
    complete(record, "accuracy")
    verdict(record)
    if strategy == "scratch":
        assert record["verdict"]["sentence"].startswith("Training from scratch ")
        assert record["chosen"] == "scratch"
        assert record["plan"]["frozen_stages"] == 0
        return
    assert {c["name"] for c in record["controls"]} - {"probe"} == {"majority", "tfidf"}
    assert record["chosen"] in ({"probe", "finetune"} if strategy == "auto" else {strategy})
    assert record["plan"]["cut"] == {"probe": None, "finetune": "block1", "full": "embed"}.get(record["chosen"])
    if strategy == "finetune":  # few classes
        assert record["plan"]["phases"][0]["shrink"] == NEXT_TO_NOTHING


def test_the_price_of_a_rung_is_what_it_adds_to_those_below_it(
    uke: Uke, tmp_path: Path, tables: Path, bert: Path
) -> None:
    args = ("--model", bert, "--strategy", "finetune", *QUICK)
    record = fit(uke, tmp_path / "run", tables / "reviews.csv", *args)
    took = {c["name"]: c["cost"]["seconds"] for c in record["candidates"]}
    assert f", for {took['finetune']:.1f} s on top." in record["gain_over_probe"]["sentence"]
    more = took["probe"] + took["finetune"] - took[record["verdict"]["against"]]
    assert f", for {abs(more):.1f} s {'more' if more > 0 else 'less'}." in record["verdict"]["sentence"]
    probe = next(c for c in record["candidates"] if c["name"] == "probe")
    phases = dict(probe["cost"]["phases"])
    assert {"load", "encode", "choose layer", "probe"} <= set(phases)
    assert sum(phases.values()) <= took["probe"] + 0.01


def test_all_controls_and_slices(uke: Uke, tmp_path: Path, tables: Path, bert: Path) -> None:
    record = fit(
        uke, tmp_path / "run", tables / "reviews.csv", "--model", bert, "--strategy", "probe", "--controls", "all",
        "--slice", "shop", *QUICK,
    )  # fmt: skip
    assert {c["name"] for c in record["controls"]} == {"majority", "tfidf", "scratch"}
    assert {part["column"] for part in record["slices"]} == {"shop"}
    assert all("accuracy" in part["test"] for part in record["slices"])


@pytest.mark.parametrize(
    ("table", "args", "kind", "metric"),
    [
        ("flags.csv", ("--target", "is_good", "is_loud"), "multilabel", "micro_f1"),
        ("marks.csv", ("--target", "marks", "--metric", "roc_auc"), "multilabel", "roc_auc"),
        ("scores.csv", (), "regress", "r2"),
        ("pairs.csv", ("--text", "first", "second"), "classify", "accuracy"),
    ],
)
def test_each_kind_of_task(
    table: str, args: tuple[str, ...], kind: str, metric: str, uke: Uke, tmp_path: Path, tables: Path, bert: Path
) -> None:
    record = fit(uke, tmp_path / "run", tables / table, *args, "--model", bert, "--strategy", "finetune", *QUICK)
    complete(record, metric)
    verdict(record)
    assert record["task"]["kind"] == kind
    if table == "pairs.csv":
        assert record["data"]["modality"] == "pair"
    if kind == "multilabel":
        assert {"roc_auc", "calibration_error"} <= record["test"].keys()
        assert record["calibration"]["temperature"] not in (None, 1.0)
    answers = uke("predict", tmp_path / "run", *(["good w1", "bad w2"] if table == "pairs.csv" else ["good w1"]))
    assert answers.code == 0, answers.err


def test_pictures(uke: Uke, tmp_path: Path, pictures: Path, network: Path) -> None:
    run = tmp_path / "run"
    record = fit(uke, run, pictures, "--model", network, "--strategy", "finetune", "--views", 2, *QUICK)
    complete(record, "accuracy")
    verdict(record)
    assert record["test"]["accuracy"]["value"] > 0.7
    red = pictures / "red" / "3.png"
    assert "red" in uke("predict", run, red).out.split()
    answer = uke("predict", run, pictures / "blue", "--out", tmp_path / "blue.jsonl")
    assert answer.code == 0
    assert "24 rows in" in answer.err
    lines = [json.loads(line) for line in (tmp_path / "blue.jsonl").read_text().splitlines()]
    assert len(lines) == 24
    assert sum(line["label"] == "blue" for line in lines) > 20
    assert lines[0]["row"].endswith(".png")
    assert json.loads(uke("evaluate", run, pictures, "--json").out)["test"]["accuracy"]["value"] > 0.7


def test_groups_stay_together(uke: Uke, tmp_path: Path, tables: Path, bert: Path) -> None:
    args = (tables / "reviews.csv", "--model", bert, "--strategy", "probe", "--controls", "none")
    fit(uke, tmp_path / "run", *args, "--group", "shop", "--slice", "shop")
    tested = {part["value"] for part in record_of(tmp_path / "run")["slices"]}
    assert 0 < len(tested) < 9, "some shops are in the test split, and those whole"
    assert sum(part["n"] for part in record_of(tmp_path / "run")["slices"]) == 10 * len(tested)


def test_the_past_teaches_the_future(uke: Uke, tmp_path: Path, tables: Path, bert: Path) -> None:
    args = (tables / "reviews.csv", "--model", bert, "--strategy", "probe", "--controls", "none")
    fit(uke, tmp_path / "run", *args, "--time", "day", "--slice", "day")
    tested = {part["value"] for part in record_of(tmp_path / "run")["slices"]}
    assert min(tested) > "2024-08"


def test_a_run_as_the_model_of_the_next(uke: Uke, tmp_path: Path, tables: Path, fitted: Path) -> None:
    record = fit(
        uke, tmp_path / "run", tables / "scores.csv", "--model", fitted, "--strategy", "probe", "--controls", "none"
    )
    assert "reviews" in record["model"]["source_task"]
    assert record["model"]["parents"]


def test_a_model_from_scratch_is_a_source(uke: Uke, tmp_path: Path, tables: Path, bert: Path) -> None:
    args = ("--strategy", "scratch", "--controls", "none", "--epochs", 1, "--rate", 0.001)
    fit(uke, tmp_path / "source", tables / "reviews.csv", "--model", bert, *args)
    args = ("--text", "first", "second", "--model", tmp_path / "source", "--strategy", "finetune", *QUICK)
    record = fit(uke, tmp_path / "run", tables / "pairs.csv", *args, "--controls", "none")
    assert "reviews" in record["model"]["source_task"]


def test_chunked_texts_and_max_length(uke: Uke, tmp_path: Path, bert: Path) -> None:
    rows = [row | {"text": f"{row['text']} " * 6} for row in rows_of(60)]
    data = write_csv(tmp_path / "long.csv", rows, ["text", "label"])
    args = ("--model", bert, "--max-length", 16, "--strategy", "finetune", "--controls", "none", *QUICK)
    fit(uke, tmp_path / "chunked", data, *args, "--long", "chunk")
    cut = fit(uke, tmp_path / "cut", data, *args)
    assert "texts-cut" in {finding["code"] for finding in cut["findings"]}
    said = uke("predict", tmp_path / "cut", "good", str(rows[0]["text"]), str(rows[1]["text"]))
    assert "2 of 3 rows are longer than the model takes: only a part" in said.err
    scores = uke("evaluate", tmp_path / "cut", data, "--json")
    assert json.loads(scores.out)["cut"] > 50
    assert "rows are longer than the model takes" in scores.err
    assert "longer than" not in uke("predict", tmp_path / "chunked", str(rows[0]["text"])).err


# ---------------------------------------------------------------- forecast, resume, quiet


@pytest.mark.parametrize("kind", ["text", "pair", "image", "regress"])
def test_dry_run(
    kind: str, uke: Uke, tmp_path: Path, tables: Path, pictures: Path, bert: Path, network: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    args: dict[str, tuple[object, ...]] = {
        "text": (tables / "reviews.csv", "--model", bert, "--controls", "all"),
        "pair": (tables / "pairs.csv", "--text", "first", "second", "--model", bert, "--strategy", "full"),
        "image": (pictures, "--model", network, "--strategy", "finetune", "--views", 2),
        "regress": (tables / "scores.csv", "--model", bert, "--strategy", "scratch"),
    }
    answer = uke("fit", *args[kind], "--dry-run", "--epochs", 3)
    assert answer.code == 0, answer.err
    rungs = {"text": ["probe", "finetune"], "pair": ["probe", "full"], "image": ["probe", "finetune"]}
    for said in (*rungs.get(kind, ["scratch"]), "control: majority", "parameters", "encoding", "budget of 20 GiB"):
        assert said in answer.out
    assert "up to 3 epochs" in answer.flat
    assert [path.name for path in tmp_path.iterdir()] in ([], ["cache"]), "no run's folder is made"
    assert not list(tmp_path.glob("cache/features/*")), "nor a feature kept"


def test_resume_of_a_finished_run(uke: Uke, tmp_path: Path, tables: Path, bert: Path) -> None:
    run = tmp_path / "run"
    args = ("--model", bert, "--strategy", "finetune", *QUICK)
    first = fit(uke, run, tables / "reviews.csv", *args)
    weights = (run / "bundle" / "weights.safetensors").read_bytes()
    assert uke("fit", tables / "reviews.csv", "--resume", run, *args).code == 0, "the same options may be repeated"
    assert record_of(run)["test"] == first["test"]
    assert (run / "bundle" / "weights.safetensors").read_bytes() == weights
    other = uke("fit", tables / "reviews.csv", "--resume", run, "--seed", 7)
    assert other.code == 2
    assert "--seed was 0, now 7" in other.flat
    data = uke("fit", tables / "scores.csv", "--resume", run)
    assert data.code == 2, "other data"


def test_a_folder_that_holds_a_run(uke: Uke, tables: Path, bert: Path, fitted: Path, tmp_path: Path) -> None:
    answer = uke("fit", tables / "reviews.csv", "--model", bert, "--out", fitted)
    assert answer.code == 2
    assert "already holds a run" in answer.flat
    assert f"--resume {fitted}" in answer.flat
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    answer = uke("fit", tables / "reviews.csv", "--model", bert, "--out", tmp_path / "full")
    assert answer.code == 2
    assert "no empty folder" in answer.flat
    assert (tmp_path / "full" / "letter.txt").read_text() == "mine"


def test_quiet_prints_the_result_alone(uke: Uke, tmp_path: Path, tables: Path, bert: Path) -> None:
    args = ("--model", bert, "--strategy", "probe", "--controls", "none", "--quiet")
    answer = uke("fit", tables / "reviews.csv", *args, "--out", tmp_path / "run")
    assert answer.err == ""
    assert "accuracy" in answer.out


def test_the_default_folder_is_numbered(tmp_path: Path, tables: Path, bert: Path) -> None:
    """In a process of its own: stdout is for the result, stderr for the story."""
    args = ("fit", tables / "reviews.csv", "--model", bert, "--strategy", "probe", "--controls", "none")
    answer = shell(tmp_path, *args, cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert (tmp_path / "runs" / "reviews-1" / "record.json").is_file()
    assert "report  runs/reviews-1/report.html" in answer.out
    assert "Target: column 'label'" in answer.err


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("args", [["--help"], ["fit", "--help"], ["--version"]])
def test_answered_without_torch(args: list[str], tmp_path: Path) -> None:
    code = f"import sys\nfrom ukulele.cli import answer\nanswer({args!r})\n"
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'timm')))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(tmp_path), check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip()


def test_help_names_every_option_and_its_default(uke: Uke) -> None:
    from ukulele.config import FitOptions

    said = uke("fit", "--help").out
    for name in FitOptions.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in said
    for default in ("[default: auto]", "[default: cheap]", "[default: 20.0]"):
        assert default in said


def test_several_labels_are_given_as_the_metric_likes_and_never_without_a_training_row(
    uke: Uke, tmp_path: Path, bert: Path
) -> None:
    rows = []
    for number, row in enumerate(rows_of(150)):
        split = "test" if number % 5 == 0 else "val" if number % 5 == 1 else "train"
        marks = [f"rare {number % 7}", *(["usual"] if number % 3 else []), *(["new"] if split == "val" else [])]
        rows.append({"text": row["text"], "marks": ";".join(marks), "split": split})
    data = write_csv(tmp_path / "marks.csv", rows, ["text", "marks", "split"])
    args = ("--target", "marks", "--model", bert, "--strategy", "probe", "--layer", "last")
    record = fit(uke, tmp_path / "run", data, *args)
    counts = record["data"]["classes"]["test"]
    usual = 2 * counts["usual"] / (record["data"]["rows"]["test"] + sum(counts.values()))
    majority = next(c for c in record["controls"] if c["name"] == "majority")
    assert majority["test"]["micro_f1"]["value"] == pytest.approx(usual)
    out = tmp_path / "answers.jsonl"
    answer = uke("predict", tmp_path / "run", *(row["text"] for row in rows[:20]), "--out", out)
    assert answer.code == 0, answer.err
    given = [json.loads(line)["labels"] for line in out.read_text("utf-8").splitlines()]
    assert len(given) == 20
    assert any(given)
    assert all("new" not in labels for labels in given)


def test_what_was_asked_for_and_is_worse_is_said(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    """A rate so high that fine-tuning ruins what the probe had."""
    out = tmp_path / "run"
    args = ("--model", bert, "--strategy", "full", "--rate", 30, "--epochs", 2, "--controls", "none", "--out", out)
    fit = uke("fit", tables / "scores.csv", "--target", "score", *args)
    assert fit.code == 0, fit.err
    codes = [finding["code"] for finding in record_of(out)["findings"]]
    assert "worse-than-cheaper" in codes
    assert "--strategy probe" in (out / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_runs_that_begin_at_once_have_a_folder_each(tmp_path: Path, tables: Path, bert: Path) -> None:
    args = ("fit", tables / "reviews.csv", "--model", bert, "--strategy", "probe", "--controls", "none")
    begun = [spawn(tmp_path, *args, cwd=tmp_path) for _ in range(2)]
    refused = spawn(tmp_path, *args, "--target", "nothing", cwd=tmp_path)
    said = [process.communicate(timeout=240) for process in (*begun, refused)]
    assert [process.returncode for process in (*begun, refused)] == [0, 0, 2], said
    assert len(list((tmp_path / "runs").glob("*/record.json"))) == len(list((tmp_path / "runs").iterdir())) == 2
