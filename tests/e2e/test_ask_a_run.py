"""What may be given to a run: rows in every form, texts that look like files, and tables read in windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import Answer, rows_of, write_csv

import ukulele
from ukulele import answering
from ukulele.errors import DataError
from ukulele.models import encoders
from ukulele.predict import Predictor

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


def test_big_tables_are_read_in_windows(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answering.evaluate_on(fitted, str(write_csv(tmp_path / "a.csv", rows_of(30, 2), ["text", "label"])), None)
    sizes: list[int] = []
    raw = Predictor.raw

    def counted(self: Predictor, inputs: Any) -> Any:
        sizes.append(len(inputs))
        return raw(self, inputs)

    predictor = Predictor.load(fitted)
    rows, _ = answering.gather([str(tmp_path / "a.csv"), "good"], predictor, ())
    assert not isinstance(rows, list), "rows are made when they are asked for"
    assert len(list(rows)) == 31
    monkeypatch.setattr(Predictor, "raw", counted)
    monkeypatch.setattr(answering, "WINDOW", 8)
    assert answering.evaluate_on(fitted, str(tmp_path / "a.csv"), None) == whole
    assert sizes[-4:] == [8, 8, 8, 6]
