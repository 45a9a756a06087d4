"""What a text classifier of the library answers is told by the pass of its encoder, and it transfers as before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ukulele import features, models
from ukulele.errors import ModelError
from ukulele.features import Cache, Pass, Store, frozen_pass, store
from ukulele.models.hub import CLASSIFIERS
from ukulele.tools.collate import collate
from ukulele.types import Model, Request, Rows

Folders = Callable[..., Path]
Texts = Callable[..., list[str]]
Make = Callable[..., Rows]
WAYS = [(family, {}) for family in sorted(CLASSIFIERS)]


@pytest.fixture
def classifier(encoder_folder: Folders, tmp_path: Path) -> Folders:
    """Makes the folder of a text classifier with random weights."""

    def make(family: str = "bert", **changes: Any) -> Path:
        folder = encoder_folder(family, auto="AutoModelForSequenceClassification", **{"num_labels": 3, **changes})
        return shutil.copytree(folder, tmp_path / "whole")

    return make


def load(folder: Path, **changes: Any) -> Model:
    return models.load(Request(str(folder), **changes), "pair" if changes.get("inputs") == 2 else "text")


def answered(model: Model, rows: Rows, cache: Path, dtype: str = "fp32") -> torch.Tensor | None:
    return features.told(passed(model, rows, cache, dtype))[1]


def passed(model: Model, rows: Rows, cache: Path, dtype: str = "fp32") -> features.Source:
    return frozen_pass(model, rows, Pass(len(model.stages), dtype=dtype, taps=True), Cache(cache), lambda _event: None)


@pytest.mark.parametrize(
    ("family", "changes"), [*WAYS, ("modernbert", {"classifier_pooling": "mean"}), ("bert", {"num_labels": 7})]
)
def test_the_pass_tells_what_the_whole_classifier_answers(
    classifier: Folders,
    family: str,
    changes: dict[str, Any],
    texts: Texts,
    make_rows: Make,
    tmp_path: Path,
    cache_folder: Path,
) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = classifier(family, **changes)
    model, made = load(folder), texts(9, shortest=2, longest=20)
    batch = collate(model.encode([(text,) for text in made], [0] * 9), model.inputs)
    whole: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        given = {"token_type_ids": batch["side"]} if "side" in batch else {}
        expected = whole(input_ids=batch["ids"], attention_mask=batch["token_mask"], **given).logits
    found = answered(model, make_rows(made), cache_folder)
    assert found is not None
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    narrow = answered(model, make_rows(made), cache_folder, "bf16")
    assert narrow is not None
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, expected, rtol=0.1, atol=0.3)
    assert model.card.source_task == "text-classification"


@pytest.mark.parametrize("family", sorted(CLASSIFIERS))
def test_the_encoder_is_that_of_the_folder_without_its_head(
    classifier: Folders, family: str, texts: Texts, make_rows: Make, tmp_path: Path, cache_folder: Path
) -> None:
    from transformers import AutoModel

    folder = classifier(family)
    bare = tmp_path / "bare"
    AutoModel.from_pretrained(folder).save_pretrained(bare)
    shutil.copy(folder / "tokenizer.json", bare)
    ours, plain = load(folder), load(bare)
    assert plain.answers is None
    mine, theirs = ours.net.state_dict(), plain.net.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    rows = make_rows(texts(5))
    stages, others = (store.summaries(passed(model, rows, cache_folder)) for model in (ours, plain))
    assert stages.keys() == others.keys()
    assert all(torch.equal(stages[name], others[name]) for name in stages)


def test_two_texts_are_read_as_the_classifier_was_made_to(
    classifier: Folders, texts: Texts, make_rows: Make, tmp_path: Path, cache_folder: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = classifier()
    model, pairs = load(folder, inputs=2), list(zip(texts(6), texts(6, seed=1), strict=True))
    batch = collate(model.encode(pairs, [0] * 6), model.inputs)
    whole: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = whole(batch["ids"], batch["token_mask"], token_type_ids=batch["side"]).logits
    found = answered(model, make_rows(pairs), cache_folder)
    assert found is not None
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    (folder / "modules.json").write_text("[]")  # apart, as sentence-transformers does: no row has a state of both
    assert load(folder, inputs=2).answers is None


@pytest.mark.parametrize(
    "changes", [{"num_labels": 1}, {"problem_type": "multi_label_classification"}, {"problem_type": "regression"}]
)
def test_what_gives_no_one_class_is_not_asked(classifier: Folders, changes: dict[str, Any], tmp_path: Path) -> None:
    assert load(classifier(**changes)).answers is None


def test_a_head_that_is_not_there_is_not_drawn(classifier: Folders, tmp_path: Path) -> None:
    folder = classifier()
    state = load_file(folder / "model.safetensors")
    assert load(folder, pretrained=False).answers is None
    assert models.truncate(load(folder), "block0", [("red",)]).answers is None
    for part in ("classifier", "bert.pooler"):
        rest = {name: value for name, value in state.items() if not name.startswith(part)}
        assert len(rest) < len(state)
        save_file(rest, folder / "model.safetensors", {"format": "pt"})
        assert load(folder).answers is None
    rest = {name: value for name, value in state.items() if "layer.1" not in name}
    save_file(rest, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 16 of the weights of a bert \(encoder\.layer\.1"):
        load(folder)


def test_a_head_of_other_classes_than_the_configuration_says_is_not_asked(classifier: Folders) -> None:
    folder = classifier()
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | {"id2label": {"0": "no", "1": "yes"}, "label2id": {}}))
    model = load(folder)
    assert model.answers is None
    state = load_file(folder / "model.safetensors")
    assert torch.equal(model.net.embeddings.word_embeddings.weight, state["bert.embeddings.word_embeddings.weight"])  # type: ignore[union-attr]
    (folder / "config.json").write_text(json.dumps(told | {"vocab_size": told["vocab_size"] + 1}))
    with pytest.raises(ModelError, match=r"embeddings\.word_embeddings"):
        load(folder)


def test_a_folder_that_asks_for_tuples_answers_too(
    classifier: Folders, texts: Texts, make_rows: Make, cache_folder: Path
) -> None:
    folder, rows = classifier(), make_rows(texts(4))
    before = answered(load(folder), rows, cache_folder)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | {"return_dict": False}))
    after = answered(load(folder), rows, cache_folder)
    assert before is not None
    assert after is not None
    assert torch.equal(before, after)


def test_a_head_is_kept_where_words_are_added(classifier: Folders) -> None:
    model = load(classifier(), new_tokens=("ukulele",))
    assert model.recipe["new_tokens"] == ["ukulele"]
    assert model.answers is not None


def test_what_is_stored_follows_the_head(
    classifier: Folders, texts: Texts, make_rows: Make, tmp_path: Path, cache_folder: Path
) -> None:
    """Two classifiers on one encoder, and the encoder alone, share no block; behind a lower cut there is no head."""
    folder, rows = classifier(), make_rows(texts(5))
    other = shutil.copytree(folder, tmp_path / "other")
    state = load_file(other / "model.safetensors")
    save_file({**state, "classifier.bias": state["classifier.bias"] + 5}, other / "model.safetensors", {"format": "pt"})
    first, second = load(folder), load(other)
    mine, theirs = answered(first, rows, cache_folder), answered(second, rows, cache_folder)
    assert mine is not None
    assert theirs is not None
    torch.testing.assert_close(theirs, mine + 5)
    assert answered(replace(first, answers=None), rows, cache_folder) is None
    again = answered(load(shutil.copytree(folder, tmp_path / "again")), rows, cache_folder)
    assert again is not None
    assert torch.equal(again, mine)
    lower = Pass(2, taps=True)
    at_block = [frozen_pass(model, rows, lower, Cache(cache_folder), lambda _event: None) for model in (first, second)]
    assert all(isinstance(one, Store) and "answers" not in one.fields for one in at_block)


def test_choose_scores_it_by_what_it_knows(
    classifier: Folders, uke: Callable[..., Any], texts: Texts, tmp_path: Path, cache_folder: Path
) -> None:
    """Rows that are labelled with what one of two classifiers says: it alone foretells them."""
    folder, made = classifier(), list(dict.fromkeys(texts(160, shortest=3, longest=9)))
    rows = [(text,) for text in made]
    model = load(folder)
    with torch.inference_mode():
        live = model.run(collate(model.encode(rows, [0] * len(rows)), model.inputs), 0, len(model.stages) - 1)
        assert model.answers is not None
        logits = model.answers(live)
    state, middle = load_file(folder / "model.safetensors"), logits.median(0).values
    even = {**state, "classifier.bias": state["classifier.bias"] - middle}  # so that no class has all rows
    save_file(even, folder / "model.safetensors", {"format": "pt"})
    said = (logits - middle).argmax(1).tolist()
    lines = [f"{text},{'abc'[one]}" for text, one in zip(made, said, strict=True)]
    (tmp_path / "said.csv").write_text("\n".join(["text,label", *lines]))
    other = shutil.copytree(folder, tmp_path / "does_not")
    constant = torch.zeros_like(state["classifier.weight"])
    save_file({**state, "classifier.weight": constant}, other / "model.safetensors", {"format": "pt"})
    answer = uke("choose", tmp_path / "said.csv", "--models", folder, other, "--json", "--quiet")
    found = {Path(one["model"]).name: one["scores"] for one in json.loads(answer.out)["models"]}
    assert found["whole"]["LEEP"] > found["does_not"]["LEEP"]
    assert found["whole"]["NCE"] > found["does_not"]["NCE"]
    assert found["whole"]["LogME"] == found["does_not"]["LogME"]  # on one encoder
