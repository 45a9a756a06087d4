"""A bundle holds a model whole, says so when it does not, and is the pre-trained model of the next task."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ukulele import models, tasks
from ukulele.errors import ModelError, RunError, UkuleleError
from ukulele.models import images
from ukulele.models.bundle import BUNDLE_FILE, _own_sha256, read_bundle, write_bundle
from ukulele.tools.collate import collate
from ukulele.trial.predict import Predictor
from ukulele.types import Card, Model, Request, Target

Folders = Callable[..., Path]
TEXTS = [("good tea",), ("awful rain in w3",), ("song",)]
COMMON = {"licence": "MIT", "trained_on": "reviews (mood)", "parents": ["bert (source task: none; licence: MIT)"]}


def pooled(model: Model, inputs: Sequence[tuple[Any, ...]]) -> torch.Tensor:
    for stage in model.stages:
        stage.module.eval()
    with torch.inference_mode():
        return model.run(collate(model.encode(inputs, [0] * len(inputs)), model.inputs))["pooled"]


def bundle(folder: Path, model: Model, modality: str = "text", inputs: Sequence[tuple[Any, ...]] = TEXTS) -> Path:
    """A bundle of the model with three heads, their weights random."""
    asked = {
        "mood": tasks.make(Target("mood", "classify", ("bad", "good"))),
        "mood.2": tasks.make(Target("mood.2", "multilabel", ("a", "b", "c"))),
        "stars": tasks.make(Target("stars", "regress"), [1.0, 5.0]),
    }
    torch.manual_seed(1)
    heads: Any = {name: task.head(model) for name, task in asked.items()}
    for head in heads.values():
        torch.nn.init.normal_(head.linear.weight)
    about = {**COMMON, "modality": modality, "columns": ["text"]}
    about["tasks"] = {name: tasks.dump(task) for name, task in asked.items()}
    answers = Predictor(model, heads, asked, about).answer(list(inputs))
    shown = [list(one) if isinstance(one[0], str) else [{"png": one[0]}] for one in inputs]
    write_bundle(folder, model, heads, about, {"inputs": shown, "answers": answers})
    return folder


@pytest.fixture
def bert(encoder_folder: Folders) -> Model:
    return models.load(Request(str(encoder_folder("bert"))), "text")


@pytest.fixture
def folder(bert: Model, tmp_path: Path) -> Path:
    return bundle(tmp_path / "run" / "bundle", bert)


def altered(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """As somebody would make it who knows how: with a checksum that fits."""
    facts = json.loads((folder / BUNDLE_FILE).read_text("utf-8"))
    change(facts)
    facts["sha256"] = _own_sha256(facts)
    (folder / BUNDLE_FILE).write_text(json.dumps(facts), "utf-8")


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize("family", ["bert", "electra", "roberta", "distilbert", "modernbert", "albert", "mpnet"])
def test_a_text_model_comes_back_as_it_was(encoder_folder: Folders, tmp_path: Path, family: str) -> None:
    model = models.load(Request(str(encoder_folder(family)), max_length=20), "text")
    found = read_bundle(bundle(tmp_path / "bundle", model), models.build)
    assert torch.equal(pooled(found.model, TEXTS), pooled(model, TEXTS))
    assert (found.model.name, found.model.card, found.model.limit) == (model.name, model.card, 20)
    assert json.loads(json.dumps(found.model.recipe)) == json.loads(json.dumps(model.recipe))
    assert found.model.assets == model.assets
    assert set(found.heads) == {"mood", "mood.2", "stars"}
    assert set(found.heads["mood.2"]) == {"linear.weight", "linear.bias"}


def test_its_head_of_classes_is_the_classifier_of_the_next_tasks_model(folder: Path) -> None:
    head = read_bundle(folder, models.build).heads["mood"]
    model = models.load(Request(str(folder)), "text")
    assert model.classifier is not None
    assert all(
        torch.equal(*pair) for pair in zip(model.classifier, (head["linear.weight"], head["linear.bias"]), strict=True)
    )
    assert models.truncate(model, "block0", TEXTS).classifier is None
    assert models.load(Request(str(folder), pretrained=False), "text").classifier is None


@pytest.mark.parametrize("options", [{"long": "chunk", "max_length": 8}, {"inputs": 2}])
def test_chunks_and_pairs_come_back(encoder_folder: Folders, tmp_path: Path, options: Any) -> None:
    inputs = [("good tea " * 9,), ("rain",)] if "long" in options else [("good tea", "rain"), ("song", "w1 w2")]
    model = models.load(Request(str(encoder_folder("bert")), **options), "text")
    found = read_bundle(bundle(tmp_path / "bundle", model, inputs=inputs), models.build)
    assert torch.equal(pooled(found.model, inputs), pooled(model, inputs))


def test_a_truncated_model_comes_back(bert: Model, tmp_path: Path) -> None:
    short = models.truncate(bert, "block0", TEXTS)
    path = bundle(tmp_path / "bundle", short)
    found = read_bundle(path, models.build).model
    assert [stage.name for stage in found.stages] == ["embed", "block0", "pool"]
    assert found.width == short.width == 32
    assert torch.equal(pooled(found, TEXTS), pooled(short, TEXTS))
    assert Predictor.load(path, "fp32", "cpu").answer(TEXTS)
    again = models.load(Request(str(path), max_length=8), "text")
    assert [stage.name for stage in again.stages] == ["embed", "block0", "pool"]
    assert again.limit == 8
    assert torch.equal(pooled(again, TEXTS), pooled(short, TEXTS))


def test_an_image_model_comes_back_without_any_asset(tmp_path: Path) -> None:
    source = {
        "family": "timm", "architecture": "mobilenetv3_small_050", "args": {}, "size": [32, 32], "mean": [0.5] * 3,
        "std": [0.25] * 3, "crop_pct": 1.0, "interpolation": "bilinear", "crop_mode": "center",
    }  # fmt: skip
    model = images.build(source, {}, seed=3)
    path = tmp_path / "bundle"
    write_bundle(path, model, {}, {**COMMON, "modality": "image", "tasks": {}}, {"inputs": [], "answers": []})
    shutil.rmtree(path / "assets")  # empty: many a tool that copies leaves it out
    found = read_bundle(path, models.build).model
    expected, state = model.net.state_dict(), found.net.state_dict()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    with pytest.raises(ModelError, match="made for image data"):
        models.load(Request(str(path)), "text")


def test_a_run_folder_stands_for_its_bundle(folder: Path) -> None:
    assert models.is_bundle(folder)
    assert models.is_bundle(folder.parent)
    assert not models.is_bundle(folder.parent.parent)
    assert read_bundle(folder.parent, models.build).about == read_bundle(folder, models.build).about


def test_writing_again_replaces_the_old_bundle_whole(bert: Model, folder: Path) -> None:
    (folder / "left-over").write_text("x")
    bundle(folder, models.truncate(bert, "embed", TEXTS))
    assert not (folder / "left-over").exists()
    assert len(read_bundle(folder, models.build).model.stages) == 2
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_a_bundle_can_be_moved(folder: Path, tmp_path: Path) -> None:
    moved = Path(shutil.move(folder, tmp_path / "elsewhere"))
    assert Predictor.load(moved, "fp32", "cpu").answer(TEXTS)


# ---------------------------------------------------------------- safety


def test_loading_runs_no_pickle_and_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a bundle was loaded by pickle or over the network")

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert Predictor.load(folder, "fp32", "cpu").answer(TEXTS)


def test_loading_leaves_the_random_generator_alone(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    read_bundle(folder, models.build)
    assert torch.equal(torch.rand(3), expected)


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("name", [BUNDLE_FILE, "weights.safetensors", "golden.json", "assets/tokenizer.json"])
@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_flipped_byte_anywhere_is_noticed(folder: Path, name: str, place: float) -> None:
    file = folder / name
    content = bytearray(file.read_bytes())
    at = int(place * (len(content) - 2))
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="damaged") as error:
        read_bundle(folder, models.build)
    assert file.name in error.value.message


@pytest.mark.parametrize("name", [BUNDLE_FILE, "weights.safetensors", "golden.json", "assets/tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(RunError, match="missing") as error:
        read_bundle(folder, models.build)
    assert Path(name).name in error.value.message
    assert error.value.hint


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"format": "one"}', "\x00"])
def test_a_bundle_file_of_something_else_is_refused(folder: Path, content: str) -> None:
    (folder / BUNDLE_FILE).write_text(content)
    with pytest.raises(RunError, match="damaged"):
        read_bundle(folder, models.build)


def test_a_newer_format_asks_for_an_upgrade(folder: Path) -> None:
    altered(folder, lambda facts: facts.update(format=99, ukulele="9.0"))
    with pytest.raises(RunError, match=r"ukulele 9\.0 in format 99") as error:
        read_bundle(folder, models.build)
    assert "upgrade" in error.value.hint


def test_an_unknown_family_is_named(folder: Path) -> None:
    altered(folder, lambda facts: facts["recipe"].update(family="telepathy"))
    with pytest.raises(ModelError, match="telepathy"):
        read_bundle(folder, models.build)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    altered(folder, lambda facts: facts["recipe"]["config"].update(num_hidden_layers=3))
    with pytest.raises(RunError, match="does not fit"):
        read_bundle(folder, models.build)


def test_an_unknown_task_is_refused(folder: Path) -> None:
    altered(folder, lambda facts: facts["about"]["tasks"]["mood"].update(kind="guess"))
    with pytest.raises(RunError, match="guess"):
        Predictor.load(folder)


def test_a_model_that_answers_its_examples_otherwise_is_refused(folder: Path) -> None:
    import hashlib

    golden = json.loads((folder / "golden.json").read_text("utf-8"))
    golden["answers"][1]["stars"] = {"value": 1e6}
    (folder / "golden.json").write_text(json.dumps(golden), "utf-8")
    digest = hashlib.sha256((folder / "golden.json").read_bytes()).hexdigest()
    altered(folder, lambda facts: facts["files"].update({"golden.json": digest}))
    with pytest.raises(RunError, match="its own examples"):
        Predictor.load(folder, "fp32", "cpu")
    assert Predictor.load(folder, "fp32", "cpu", verify=False).answer(TEXTS)


def test_no_bundle_at_all_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no model") as error:
        read_bundle(tmp_path, models.build)
    assert "bundle" in error.value.hint


# ---------------------------------------------------------------- the next task


def test_a_bundle_is_the_model_of_the_next_task(bert: Model, folder: Path) -> None:
    with torch.no_grad():
        bert.stages[0].module.embeddings.word_embeddings.weight.mul_(2)  # as if it had been trained
    bundle(folder, bert)
    model = models.load(Request(str(folder)), "text")
    assert torch.equal(pooled(model, TEXTS), pooled(bert, TEXTS))
    expected = Card(str(folder), "reviews (mood)", "MIT", ("bert (source task: none; licence: MIT)",))
    assert model.card == expected
    assert model.name == "run"
    assert torch.equal(pooled(models.load(Request(str(folder.parent)), "text"), TEXTS), pooled(bert, TEXTS))


def test_the_next_task_may_read_pairs_or_longer_texts(folder: Path) -> None:
    pairs = models.load(Request(str(folder), inputs=2), "pair")
    assert pooled(pairs, [("good tea", "rain"), ("song", "w1")]).shape == (2, pairs.width)
    chunked = models.load(Request(str(folder), long="chunk", max_length=8), "text")
    assert chunked.limit is None
    assert len(chunked.encode([("tea " * 30,)], [0])[0]["ids"]) == 40
    with pytest.raises(UkuleleError, match="max-length"):
        models.load(Request(str(folder), max_length=4000), "text")


def test_its_network_from_scratch_follows_the_seed(folder: Path) -> None:
    first, second, other = (
        models.load(Request(str(folder), pretrained=False, seed=seed), "text") for seed in (1, 1, 2)
    )
    assert torch.equal(pooled(first, TEXTS), pooled(second, TEXTS))
    assert not torch.allclose(pooled(first, TEXTS), pooled(other, TEXTS))
    assert "random weights" in first.card.origin
    assert first.card.parents == ()
