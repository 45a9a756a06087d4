"""What is done with a run: check, predict, evaluate, report, compare, cache, models, and the same from Python."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from e2e_kit import Answer, record_of, rows_of, write_csv

Uke = Callable[..., Answer]


def test_check(uke: Uke, tmp_path: Path, tables: Path) -> None:
    answer = uke("check", tables / "reviews.csv")
    assert answer.code == 0
    assert "Target: column 'label'" in answer.flat
    assert "64 train" in answer.flat
    rows = [*rows_of(60), {"text": "", "label": "good"}, {"text": "good w1"}]
    data = write_csv(tmp_path / "faulty.csv", rows, ["text", "label"])
    answer = uke("check", data, "--quarantine", tmp_path / "aside.csv")
    assert answer.code == 0
    assert "set aside: 2" in answer.flat
    assert f"{data}:62" in answer.flat or "faulty.csv:62" in answer.flat
    assert len((tmp_path / "aside.csv").read_text().splitlines()) == 3


def test_predict_texts(uke: Uke, fitted: Path) -> None:
    one = uke("predict", fitted, "good fine song")
    assert one.code == 0
    assert one.out.split()[0] == "good"
    several = uke("predict", fitted, "good fine song", "awful bad w1")
    assert [line.split()[0] for line in several.out.splitlines()] == ["good", "bad"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_predict_a_file(ending: str, uke: Uke, fitted: Path, tables: Path, tmp_path: Path) -> None:
    out = tmp_path / f"answers.{ending}"
    answer = uke("predict", fitted, tables / "new.csv", "--out", out)
    assert answer.code == 0, answer.err
    assert "rows/s" in answer.err
    if ending == "jsonl":
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        shares = lines[0]["probabilities"]
    else:
        with out.open(newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t" if ending == "tsv" else ","))
        shares = {label: float(lines[0][f"probability {label}"]) for label in ("good", "bad")}
    assert [line["text"] for line in lines] == [row["text"] for row in rows_of(12, 1)]
    assert sum(line["label"] == row["label"] for line, row in zip(lines, rows_of(12, 1), strict=True)) >= 10
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    assert float(lines[0]["probability"]) == pytest.approx(max(shares.values()), abs=1e-4)


def test_predict_refuses_what_it_cannot_do(uke: Uke, fitted: Path, tables: Path, tmp_path: Path) -> None:
    for args, said in (
        ((tmp_path / "none.csv",), "no such file"),
        ((tables / "new.csv", "--out", tmp_path / "x.docx"), ".csv, .tsv, .jsonl or .json was expected"),
        ((tables / "test.csv", "--text", "txt"), "'text'"),
    ):
        answer = uke("predict", fitted, *args)
        assert answer.code == 2, args
        assert said in answer.flat
    answer = uke("predict", tmp_path, "good")
    assert answer.code == 2
    assert "holds no model" in answer.flat


def test_evaluate(uke: Uke, fitted: Path, tables: Path) -> None:
    answer = uke("evaluate", fitted, tables / "test.csv", "--slice", "shop")
    assert answer.code == 0
    assert "40 rows, 0 set aside" in answer.flat
    assert "shop = shop 3" in answer.flat
    found = json.loads(uke("evaluate", fitted, tables / "test.csv", "--slice", "shop", "--json").out)
    assert found["test"]["accuracy"]["n"] == 40
    assert sum(part["n"] for part in found["slices"]) == 40
    missing = uke("evaluate", fitted, tables / "test.csv", "--slice", "shpo")
    assert missing.code == 2
    assert "shop" in missing.flat


def test_values_without_figures_are_told(
    uke: Uke, fitted: Path, tables: Path, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("ukulele.evaluate.estimates"), "SLICES", 4)
    said = "4 of 9 values of 'shop' have figures; the other 5 hold"
    answer = uke("evaluate", fitted, tables / "test.csv", "--slice", "shop", "--json")
    found = json.loads(answer.out)
    assert f"{said} 20 rows." in " ".join(answer.err.split())
    assert found["slices_left_out"] == {"column": "shop", "values": 9, "shown": 4, "rows": 20}
    assert sum(part["n"] for part in found["slices"]) == 20
    args = ("--model", bert, "--strategy", "probe", "--controls", "none", "--slice", "shop", "--out", tmp_path / "run")
    assert uke("fit", tables / "reviews.csv", "--target", "label", *args).code == 0
    record = json.loads((tmp_path / "run" / "record.json").read_text("utf-8"))
    (told,) = [finding for finding in record["findings"] if finding["code"] == "slices-left-out"]
    assert told["evidence"]["rows"] + sum(part["n"] for part in record["slices"]) == record["test"]["accuracy"]["n"]


def test_report_and_compare(uke: Uke, fitted: Path) -> None:
    (fitted / "report.html").unlink()
    answer = uke("report", fitted)
    assert answer.out.strip() == str(fitted / "report.html")
    assert (fitted / "report.html").read_text().startswith("<!")
    answer = uke("compare", fitted, fitted)
    assert answer.code == 0
    assert "accuracy" in answer.flat


def test_cache(uke: Uke, tmp_path: Path, tables: Path, bert: Path) -> None:
    args = ("--model", bert, "--strategy", "probe", "--controls", "none", "--out", tmp_path / "run")
    assert uke("fit", tables / "reviews.csv", *args).code == 0
    held = {line.split()[0]: int(line.split()[1]) for line in uke("cache").out.splitlines()[1:]}
    assert held.keys() == {"features", "tables", "pictures"}
    assert held["features"] >= 1
    assert held["tables"] == 2
    assert "freed" in uke("cache", "--clear").out
    assert uke("cache").out.count(" 0 files, 0.0 MiB") == 3


def test_models(uke: Uke) -> None:
    answer = uke("models", "mobilenetv2")
    assert answer.code == 0
    assert "mobilenetv2_100" in answer.out
    assert "minilm" in uke("models", "minilm").out


def test_from_python(tmp_path: Path, tables: Path, bert: Path) -> None:
    import pandas as pd

    import ukulele as uke

    common = {"model": str(bert), "strategy": "probe", "controls": "none"}
    rows = [{"text": row["text"], "label": row["label"]} for row in rows_of(60)]
    sources = [pd.DataFrame(rows), rows, [(row["text"], row["label"]) for row in rows]]
    accuracies = []
    for number, source in enumerate(sources):
        run = uke.fit(source, out=tmp_path / str(number), **common)
        accuracies.append(run.record["test"]["accuracy"]["value"])
        answers = run.predict(["good fine song", "awful bad w1"])
        assert [answer["label"] for answer in answers] == ["good", "bad"]
        assert run.report().is_file()
    assert len(set(accuracies)) == 1, "the same rows, whatever they come in"
    assert uke.load(tmp_path / "0").record == record_of(tmp_path / "0")
    assert len(uke.check(rows).splits["train"]) > 30
    with pytest.raises(uke.UkuleleError, match="unknown options: epoch"):
        uke.fit(rows, epoch=3)
    with pytest.raises(uke.UkuleleError, match="begun with other options"):
        uke.fit(rows, resume=tmp_path / "1", seed=3)
