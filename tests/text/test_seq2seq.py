"""Encoder–decoder models: stages that equal the library's forward, losses, writing, ties, bundles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from text_kit import LANGUAGES, SHAPES, folder, pairs, request
from torch import Tensor, nn

from ukulele import models
from ukulele.errors import ModelError
from ukulele.features.encode import Frozen, Pass
from ukulele.loop.selection import select
from ukulele.models.bundle import read_bundle, write_bundle
from ukulele.models.generation import placed
from ukulele.models.words import Words, from_assets
from ukulele.tools.collate import collate, separate
from ukulele.types import Group, Model, Phase, Request, Tensors, Writing

FAMILIES = tuple(SHAPES)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def path(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("models") / family, family)


@pytest.fixture
def model(family: str, path: Path) -> Model:
    found = models.load(request(path, family), "text")
    for stage in found.stages:
        stage.module.eval()
    found.net.eval()
    return found


def encoded(model: Model, count: int = 5, seed: int = 3) -> list[Tensors]:
    *texts, more = pairs(count + 1, seed)
    texts[0] = (texts[0][0] + " " + more[0], texts[0][1])
    return model.encode(texts, [0] * count)


def test_what_a_bundle_knows_of_it_does_not_depend_on_where_it_lay(model: Model, path: Path) -> None:
    assert str(path.parent) not in json.dumps(model.recipe)


def words_of(model: Model) -> Words:
    return from_assets(model.assets)


def reference(model: Model, row: Tensors) -> tuple[Tensor, Tensor]:
    """The library's own: logits and summed loss of one row."""
    ids, labels = row["ids"][None], row["labels"][None]
    found = model.net(input_ids=ids, labels=labels)
    return found.logits[0], found.loss * labels.shape[1]


def test_at_every_cut_the_stages_equal_the_librarys_forward(model: Model) -> None:
    rows = encoded(model)
    head = model.heads["write"]("summarise").eval()  # type: ignore[attr-defined]
    whole = collate(rows, model.inputs)
    with torch.no_grad():
        wanted = [reference(model, row) for row in rows]
        for cut in range(len(model.stages) + 1):
            kept = collate(separate(model.run(dict(whole), 0, cut), model.live(cut)), model.live(cut))
            before = {name: value.clone() for name, value in kept.items()}
            live = model.run(kept, cut)
            loss = head.loss(live, {})
            logits = head(live)  # type: ignore[operator]
            for number, (theirs, nats) in enumerate(wanted):
                torch.testing.assert_close(logits[number, : len(theirs)], theirs, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(loss.sums[number], nats, rtol=1e-4, atol=1e-4)
                assert loss.counts[number] == len(rows[number]["labels"])
            assert all(torch.equal(before[name], kept[name]) for name in before), "a stage altered its input"


def test_in_front_of_the_decoder_the_memory_alone_is_stored(model: Model) -> None:
    cut = [stage.name for stage in model.stages].index("target")
    assert set(model.live(cut)) == {"memory", "labels", "bytes"}


def test_greedy_writing_equals_the_librarys(model: Model, family: str) -> None:
    rows = encoded(model, 3)
    head = model.heads["write"]("summarise").eval()  # type: ignore[attr-defined]
    with torch.inference_mode():
        live = model.run(collate(rows, model.inputs))
        answers = head.predict(live, Writing(tokens=8))
        start = int(live["labels"].new_tensor(head._start))  # type: ignore[attr-defined]
        for row, answer in zip(rows, answers, strict=True):
            found = model.net.generate(  # type: ignore[operator]
                input_ids=row["ids"][None], max_new_tokens=8, num_beams=1, do_sample=False,
                decoder_start_token_id=start, forced_bos_token_id=head._first,  # type: ignore[attr-defined]
            )[0, 1:].tolist()  # fmt: skip
            end = head._words.eos  # type: ignore[attr-defined]
            assert answer.text == head._words.text(found[: found.index(end)] if end in found else found)  # type: ignore[attr-defined]


def test_writing_is_the_same_for_the_same_seed_and_leaves_the_generator_alone(model: Model) -> None:
    rows = encoded(model, 3)
    head = model.heads["write"]("generate").eval()  # type: ignore[attr-defined]
    with torch.inference_mode():
        live = model.run(collate(rows, model.inputs))
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        first, again, other = (
            [answer.text for answer in head.predict(live, Writing(temperature=2.0, seed=seed, tokens=12))]
            for seed in (1, 1, 2)
        )
        assert torch.equal(torch.rand(3), expected)
    assert first == again
    assert first != other


def test_without_an_answer_nothing_is_scored(model: Model) -> None:
    head = model.heads["write"]("translate").eval()  # type: ignore[attr-defined]
    with torch.inference_mode():
        live = model.run(collate(model.encode([("The dog runs.",), ("A cat.",)], [0, 0]), model.inputs))
        answers = head.predict(live, Writing(tokens=3, beams=2))
    assert [answer.tokens for answer in answers] == [0, 0]
    assert all(answer.loss != answer.loss for answer in answers)


def test_a_text_that_is_too_long_is_cut_and_its_bytes_are_those_that_are_taught(path: Path, family: str) -> None:
    model = models.load(request(path, family, max_length=12), "text")
    text = "Der Gaul schläft draußen. " * 10
    (row,) = model.encode([(text, text)], [0])
    assert len(row["ids"]) == len(row["labels"]) == 12
    specials = 12 - len(model.encode([("", "")], [0])[0]["labels"])
    kept = model.heads["write"]("translate")._words.taught([text], specials)[0]  # type: ignore[attr-defined]
    assert int(row["bytes"]) == kept[1] < len(text.encode())
    assert model.lengths is not None
    ((source, answer), (alone,)) = model.lengths([(text, "x"), (text,)])
    assert source == alone > 60
    assert answer == len(model.encode([("", "x")], [0])[0]["labels"])


def test_the_decoder_can_be_trained_on_a_frozen_encoder_though_they_share_words(model: Model) -> None:
    cut = [stage.name for stage in model.stages].index("target")
    assert model.untie is not None
    logits = reference(model, encoded(model, 1)[0])[0].detach()
    free = model.untie(cut)
    torch.testing.assert_close(reference(free, encoded(free, 1)[0])[0], logits)
    heads = {"de": free.heads["write"]("translate")}
    groups = (Group("head.*", 1e-3), *(Group(f"{stage.name}.*", 1e-3) for stage in free.stages[cut:]))
    chosen = select(free, heads, Phase(groups))
    assert chosen.cut == cut
    embedding = free.net.get_decoder().get_input_embeddings().weight  # type: ignore[operator]
    assert embedding.requires_grad
    assert embedding is free.net.lm_head.weight  # type: ignore[union-attr]
    below = free.net.get_encoder().get_input_embeddings().weight  # type: ignore[operator]
    assert not below.requires_grad
    assert below is not embedding


def test_a_bundle_of_an_untied_model_gives_it_back(model: Model, tmp_path: Path) -> None:
    assert model.untie is not None
    free = model.untie(3)
    with torch.no_grad():
        for parameter in free.net.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    head = free.heads["write"]("translate")
    assert isinstance(head, nn.Module)
    about = {"tasks": {"de": {}}}
    write_bundle(tmp_path / "bundle", free, {"de": head}, about, {"inputs": [], "answers": []})
    again = read_bundle(tmp_path / "bundle", models.build).model
    assert again.recipe["untied"] == [3]
    again.net.eval()
    row = encoded(free, 1)[0]
    with torch.no_grad():
        torch.testing.assert_close(reference(again, row)[0], reference(free, row)[0])


def test_shared_weights_stand_in_a_bundle_once(model: Model, tmp_path: Path) -> None:
    from safetensors import safe_open

    head = model.heads["write"]("translate")
    assert isinstance(head, nn.Module)
    write_bundle(tmp_path / "b", model, {"de": head}, {"tasks": {"de": {}}}, {"inputs": [], "answers": []})
    size = model.net.lm_head.weight.shape  # type: ignore[union-attr]
    with safe_open(tmp_path / "b" / "weights.safetensors", "pt") as file:
        alike = [name for name in file.keys() if file.get_slice(name).get_shape() == list(size)]  # noqa: SIM118
    assert len(alike) == 1


def test_the_stored_states_are_those_that_are_computed(model: Model) -> None:
    cut = [stage.name for stage in model.stages].index("target")
    rows = encoded(model, 4)
    stored = Frozen(model, Pass(cut)).run(rows)
    live = model.run(collate(rows, model.inputs), 0, cut)
    for row, memory in zip(stored, live["memory"], strict=True):
        assert torch.equal(row["memory"], memory[: len(row["memory"])])


def test_what_stands_before_the_text_follows_the_task(tmp_path: Path) -> None:
    params = {
        "translation_en_to_de": {"prefix": "translate English to German: "},
        "translation_en_to_fr": {"prefix": "translate English to French: "},
        "summarization": {"prefix": "summarize: "},
    }
    where = folder(tmp_path / "t5", "t5", task_specific_params=params)
    model = models.load(request(where, languages=("en", "de")), "text")
    assert model.recipe["prefix"] == "translate English to German: "
    head = model.heads["write"]("translate")
    write_bundle(tmp_path / "b", model, {"de": head}, {"tasks": {"de": {}}}, {"inputs": [], "answers": []})  # type: ignore[dict-item]
    for languages, writes, expected in (
        (("en", "fr"), "translate", "translate English to French: "),
        ((), "summarise", "summarize: "),
        (("en", "es"), "translate", ""),
    ):
        asked = Request(str(tmp_path / "b"), writes=writes, languages=languages)
        assert models.load(asked, "text").recipe["prefix"] == expected


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_the_younger_mbart_is_told_by_its_tokenizer(file: str, tmp_path: Path) -> None:
    where = folder(tmp_path / "m", "mbart")
    assert models.load(request(where, "mbart"), "text").recipe["marks"] == "mbart"
    plain = json.loads((where / file).read_text())
    (where / file).write_text(json.dumps({**plain, "tokenizer_class": "MBart50Tokenizer"}))
    model = models.load(request(where, "mbart"), "text")
    (row,) = model.encode([("x",)], [0])
    assert model.recipe["marks"] == "mbart50"
    assert row["ids"][0] == words_of(model).id("en_XX")


@pytest.mark.parametrize("name", sorted(LANGUAGES))
def test_a_language_the_model_lacks_is_named(name: str, tmp_path: Path) -> None:
    from dataclasses import replace

    where = folder(tmp_path / name, name)
    asked = request(where, name)
    with pytest.raises(ModelError, match="no language 'xx_YY'"):
        models.load(replace(asked, languages=("xx_YY", LANGUAGES[name][1])), "text")
    with pytest.raises(ModelError, match="wants to be told the languages"):
        models.load(replace(asked, languages=()), "text")
    short = models.load(replace(asked, languages=("en", "de")), "text")
    (row,) = short.encode([("x",)], [0])
    assert row["ids"][-1 if name == "mbart" else 0] == words_of(short).id(LANGUAGES[name][0])


def test_a_network_that_was_moved_to_write_can_be_trained_afterwards() -> None:
    net = nn.Linear(2, 2)
    with torch.inference_mode():
        assert placed(net, torch.device("cpu")) is net
        placed(net, torch.device("meta"))
    assert all(value.is_meta and not value.is_inference() for value in net.parameters())


def test_the_trunk_in_bf16_stays_in_bf16(model: Model) -> None:
    for row in Frozen(model, Pass(len(model.stages), dtype="bf16")).run(encoded(model)):
        assert row["x"].dtype == row["memory"].dtype == torch.bfloat16
