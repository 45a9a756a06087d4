"""The controls without pre-training."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_matrix

from ukulele.errors import ModelError
from ukulele.models import classical
from ukulele.tasks import Classify
from ukulele.tools.collate import collate
from ukulele.tools.probe import fit_logistic
from ukulele.types import Request, Row, Where

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def rows_of(*inputs: tuple) -> list[Row]:
    return [Row(texts, {}, Where("rows")) for texts in inputs]


def tfidf(*inputs: tuple):
    return classical.load(Request("tfidf", inputs=len(inputs[0]), rows=rows_of(*inputs)))


def matrix(model, inputs) -> csr_matrix:
    rows = model.encode(inputs, [0] * len(inputs))
    ends = np.cumsum([0, *(len(row["index"]) for row in rows)])
    index, value = (torch.cat([row[name] for row in rows]).numpy() for name in ("index", "value"))
    return csr_matrix((value, index, ends), shape=(len(rows), model.width))


def test_majority_knows_nothing() -> None:
    model = classical.load(Request("majority"))
    live = collate(model.encode([("a",), ("b",)], [0, 0]), model.inputs)
    assert live["pooled"].tolist() == [[1.0], [1.0]]
    assert (model.stages, model.width) == ((), 1)
    assert torch.equal(model.summary(model.run(live)), live["pooled"])


def test_tfidf_is_that_of_sklearn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["A good, good film", "a bad film", "Über-film: 5 stars!", "nothing"]
    model = tfidf(*((text,) for text in texts))
    theirs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+")
    expected = theirs.fit_transform(texts).toarray()
    ours = matrix(model, [(text,) for text in texts]).toarray()
    assert model.width == expected.shape[1] + 1
    np.testing.assert_allclose(ours[:, :-1], expected, atol=1e-6)


def test_tfidf_takes_empty_and_unknown_texts() -> None:
    model = tfidf(("one two",), ("two three",))
    rows = model.encode([("",), ("unknown",), ("two",)], [0, 0, 0])
    assert [row["value"].tolist() for row in rows] == [[0.0], [0.0], [1.0]]
    head = Classify("t", ("a", "b")).head(model)
    assert len(head.predict(collate(rows, model.inputs), None)) == 3


def test_pairs_have_what_they_share() -> None:
    model = tfidf(("a red fox", "a red fox"), ("a red fox", "some blue whale"), ("blue whale", "some red fox"))
    same, apart = matrix(model, [("a red fox", "a red fox"), ("red fox", "blue whale 7")]).toarray()
    extras = len(classical.PAIR)
    assert same[-extras] == pytest.approx(1.0)
    assert apart[-extras : -extras + 2].tolist() == [0.0, 0.0]
    assert same[-1] == 1.0
    assert apart[-1] == 0.0
    size = (model.width - extras) // 3
    np.testing.assert_allclose(same[:size], same[size : 2 * size])
    np.testing.assert_allclose(same[:size] ** 2, same[2 * size : 3 * size], atol=1e-6)


def test_a_histogram_tells_colours_and_edges_apart() -> None:
    upright, lying = np.zeros((96, 96, 3), np.uint8), np.zeros((96, 96, 3), np.uint8)
    upright[:, ::8], lying[::8] = 255, 255
    red, blue = np.full((96, 96, 3), (255, 0, 0), np.uint8), np.full((96, 96, 3), (0, 0, 255), np.uint8)
    vectors = [classical.histogram(picture) for picture in (upright, lying, red, blue)]
    assert all(np.isfinite(vector).all() for vector in vectors)
    colours = 5 * 4**3
    assert np.abs(vectors[0][colours:] - vectors[1][colours:]).max() > 0.1
    assert np.allclose(vectors[2][colours:], vectors[3][colours:])
    assert not np.allclose(vectors[2][:colours], vectors[3][:colours])


def test_pictures_of_any_size_become_rows_of_one_width(tmp_path: Path) -> None:
    Image.new("RGB", (300, 40), "red").save(tmp_path / "wide.png")
    model = classical.load(Request("histogram"))
    rows = model.encode([(tmp_path / "wide.png",), (Image.new("L", (5, 5)),)], [0, 0])
    assert collate(rows, model.inputs)["pooled"].shape == (2, model.width)
    assert rows[0]["pooled"].dtype == torch.float32


@pytest.mark.parametrize("name", ["majority", "tfidf", "histogram"])
def test_a_recipe_and_assets_rebuild_the_model(name: str) -> None:
    picture = Image.new("RGB", (50, 50), "green")
    inputs = [(picture,)] if name == "histogram" else [("a few words",), ("words",)]
    model = classical.load(Request(name, rows=rows_of(*inputs)))
    again = classical.build(model.recipe, model.assets)
    for one, other in zip(
        model.encode(inputs, [0] * len(inputs)), again.encode(inputs, [0] * len(inputs)), strict=True
    ):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[field], other[field]) for field in one)
    assert again.width == model.width


def test_faults_are_told() -> None:
    with pytest.raises(ModelError, match="was given none"):
        classical.load(Request("tfidf"))
    with pytest.raises(ModelError, match="no control 'svm'"):
        classical.load(Request("svm"))
    with pytest.raises(ModelError, match="damaged"):
        classical.build({"family": "classical", "name": "tfidf", "inputs": 1}, {classical.VOCABULARY: b"{"})


@pytest.mark.realdata
def test_tfidf_on_real_sentiment_is_a_strong_control() -> None:
    folder = SHARED / "data" / "sst2"
    if not folder.is_dir():
        pytest.skip("the folder of real data is not beside the checkout")
    train, test = ([*csv.DictReader((folder / f"{s}.csv").open(encoding="utf-8"))] for s in ("train", "test"))
    model = tfidf(*((row["text"],) for row in train))
    y, truth = (torch.tensor([int(row["label"] == "positive") for row in rows]) for rows in (train, test))
    probe = fit_logistic(matrix(model, [(row["text"],) for row in train]), y, 2)
    outputs = matrix(model, [(row["text"],) for row in test]) @ probe.weight.numpy().T + probe.bias.numpy()
    assert (outputs.argmax(1) == truth.numpy()).mean() >= 0.81
