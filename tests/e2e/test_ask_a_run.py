"""What may be given to a run: rows in every form, texts that look like files, and tables read in windows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import Answer, rows_of, write_csv

import ukulele
from ukulele.doors import given, scoring
from ukulele.errors import DataError, PlanError
from ukulele.models import encoders
from ukulele.trial.predict import Predictor

Uke = Callable[..., Answer]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, tables: Path, bert: Path) -> ukulele.Run:
    """A finished run on pairs of texts."""
    home = tmp_path_factory.mktemp("pairs")
    options: dict[str, Any] = {"model": str(bert), "strategy": "probe", "controls": "none", "text": ["first", "second"]}
    return ukulele.fit(tables / "pairs.csv", out=home / "run", cache=str(home / "cache"), **options)


def test_rows_in_every_form(fitted: Path, tmp_path: Path) -> None:
    import pandas as pd

    run = ukulele.load(fitted)
    texts = ["good fine song", "awful bad w1"]
    expected = run.predict(texts)
    table = write_csv(tmp_path / "some.csv", [{"text": text} for text in texts], ["text"])
    for rows in (tuple(texts), iter(texts), [{"text": t} for t in texts], pd.DataFrame({"text": texts}), table):
        assert run.predict(rows) == expected
    assert run.predict(texts[0]) == run.predict(texts[:1])
    assert run.predict([]) == []
    with pytest.raises(DataError, match=r"1 rows cannot be read\. <list>:2: "):
        run.predict(["good", " "])
    with pytest.raises(DataError, match="takes one input a row"):
        run.predict([("good", "bad")])
    assert run.predict({"text": texts[0]}) == run.predict(texts[:1])
    for other in (b"good", [b"good"], 3):
        with pytest.raises(DataError, match="was given"):
            run.predict(other)
    with pytest.raises(PlanError, match="no such number"):
        run.predict(texts, confidence=0.5)


def test_pairs_are_two_texts(pairs: ukulele.Run) -> None:
    expected = pairs.predict([("good w1", "w2")])
    assert pairs.predict([["good w1", "w2"]]) == expected
    assert pairs.predict([{"first": "good w1", "second": "w2"}]) == expected
    for rows in (["one"], "one", ("one", "two"), [("a", "b", "c")]):
        with pytest.raises(DataError, match="takes two texts a row"):
            pairs.predict(rows)


@pytest.mark.parametrize("reading", ["joint", "separate"])
def test_an_encoder_of_pairs_refuses_one_text(pairs: ukulele.Run, reading: str) -> None:
    model = encoders.rewrap(pairs.predictor.model, pairs=reading)
    with pytest.raises(DataError, match="takes two texts a row"):
        model.encode([("one", "two"), ("three",)], [0, 0])


def test_texts_that_look_like_files(uke: Uke, fitted: Path) -> None:
    for text in ("很" * 200, "good fine song in reviews.csv", "good " * 2000):
        answer = uke("predict", fitted, text)
        assert answer.code == 0, answer.err
    assert uke("predict", fitted, "reviews.csv").code == 2


def rounded(scores: Any) -> Any:
    """In bf16, and on a GPU, the last bits of an answer depend on which rows are asked with it."""
    return json.loads(json.dumps(scores), parse_float=lambda number: round(float(number), 4))


def test_big_tables_are_read_in_windows(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scoring.evaluate_on(fitted, str(write_csv(tmp_path / "a.csv", rows_of(30, 2), ["text", "label"])), None)
    sizes: list[int] = []
    raw = Predictor.raw

    def counted(self: Predictor, inputs: Any) -> Any:
        sizes.append(len(inputs))
        return raw(self, inputs)

    predictor = Predictor.load(fitted)
    rows, _, _ = given.gather([str(tmp_path / "a.csv"), "good"], predictor, ())
    assert not isinstance(rows, list), "rows are made when they are asked for"
    assert len(list(rows)) == 31
    monkeypatch.setattr(Predictor, "raw", counted)
    monkeypatch.setattr(scoring, "WINDOW", 8)
    assert rounded(scoring.evaluate_on(fitted, str(tmp_path / "a.csv"), None)) == rounded(whole)
    assert sizes[-4:] == [8, 8, 8, 6]


def test_scores_by_groups_of_rows(fitted: Path, tmp_path: Path, uke: Uke) -> None:
    rows = [{**row, "who": f"p{at // 5}" if at < 25 else ""} for at, row in enumerate(rows_of(30, 2))]
    table = write_csv(tmp_path / "a.csv", rows, ["text", "label", "who"])
    run = ukulele.load(fitted)
    alone, found = run.evaluate(rows), run.evaluate(table, group="who", slice_by="label")
    assert {name: one["value"] for name, one in found["test"].items()} == {
        name: one["value"] for name, one in alone["test"].items()
    }
    scores = found["test"]["accuracy"]
    assert (scores["groups"], alone["test"]["accuracy"]["groups"]) == (10, None)  # five rows are of no group
    assert scores["high"] - scores["low"] > alone["test"]["accuracy"]["high"] - alone["test"]["accuracy"]["low"]
    assert {one["test"]["accuracy"]["n"] for one in found["slices"]} == {15}
    told = uke("evaluate", fitted, table, "--group", "who", "--json")
    assert json.loads(told.out)["test"] == found["test"]
    assert "10 groups" in uke("evaluate", fitted, table, "--group", "who").out
    wrong = uke("evaluate", fitted, table, "--group", "whom")
    assert wrong.code == 2
    assert "'whom'" in wrong.err
    assert "who" in wrong.err


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, tables: Path, bert: Path) -> ukulele.Run:
    """A finished run of a task on single texts and one on pairs."""
    home = tmp_path_factory.mktemp("mixed")
    options: dict[str, Any] = {"model": str(bert), "strategy": "probe", "controls": "none"}
    sources = home / "tasks.yaml"
    sources.write_text(
        f"tasks:\n- {{name: mood, data: {tables / 'reviews.csv'}, text: text, target: label}}\n"
        f"- {{name: same, data: {tables / 'pairs.csv'}, text: [first, second], target: label}}\n"
    )
    return ukulele.fit(sources, out=home / "run", cache=str(home / "cache"), **options)


def test_one_text_of_a_model_that_takes_pairs_too(mixed: ukulele.Run, uke: Uke) -> None:
    one = uke("predict", mixed.path, "good fine song")
    assert one.code == 0, one.flat
    assert one.out.strip().endswith("good fine song")
    assert "same" not in one.out  # it could not know
    named = uke("predict", mixed.path, "good fine song", "--task", "mood")
    assert named.out == one.out
    pair = uke("predict", mixed.path, "good fine song", "bad w1", "--task", "same")
    assert pair.code == 0, pair.flat
    assert "good fine song | bad w1" in pair.flat
    two = uke("predict", mixed.path, "good fine song", "bad w1", "--task", "mood")
    assert len(two.out.splitlines()) == 2


def test_what_cannot_be_told_is_asked(mixed: ukulele.Run, uke: Uke) -> None:
    unclear = uke("predict", mixed.path, "good fine song", "bad w1")
    assert unclear.code == 2
    assert "mood takes one text a row (text); same takes two texts a row (first, second)" in unclear.flat
    assert "--task" in unclear.flat
    wrong = uke("predict", mixed.path, "good fine song", "--task", "same")
    assert wrong.code == 2
    assert "takes 2 a row" in wrong.flat


def test_files_of_either_kind(mixed: ukulele.Run, tables: Path, uke: Uke, tmp_path: Path) -> None:
    for name, task, other in (("reviews.csv", "mood", "same"), ("pairs.csv", "same", "mood")):
        done = uke("predict", mixed.path, tables / name, "--out", tmp_path / "answers.jsonl")
        assert done.code == 0, done.flat
        assert task not in done.out
        line = (tmp_path / "answers.jsonl").read_text().splitlines()[0]
        assert '"label"' in line
        assert other not in line
    both = uke("predict", mixed.path, tables / "reviews.csv", tables / "pairs.csv")
    assert both.code == 2
    assert "each by itself" in both.flat


def test_either_kind_from_python(mixed: ukulele.Run, tables: Path) -> None:
    assert {tuple(answer) for answer in mixed.predict("good fine song")} == {("mood",)}
    assert {tuple(answer) for answer in mixed.predict([("good", "bad"), ("w1", "w2")])} == {("same",)}
    assert {tuple(answer) for answer in mixed.predict([{"text": "good"}])} == {("mood",)}
    assert {tuple(answer) for answer in mixed.predict(tables / "pairs.csv")} == {("same",)}
    with pytest.raises(DataError, match="stand in one list"):
        mixed.predict(["good", ("good", "bad")])
