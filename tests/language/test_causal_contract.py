"""The split contract for every family of decoders, packed lines, and what is frozen or tied."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPTNeoXForCausalLM

from language_kit import CONFIGS, WITHOUT_LAYOUT, prose
from ukulele import models
from ukulele.errors import ModelError
from ukulele.models.causal import LAYOUTS
from ukulele.models.speaking import Bend
from ukulele.tools.collate import collate, separate
from ukulele.tools.packing import packed
from ukulele.types import GOES_ON, Model, Request, Tensors, Writing

Folders = Callable[..., Path]
TEXTS = prose(12).split(". ")


def load(folder: Path, **changes: Any) -> Model:
    model = models.load(Request(str(folder), writes="generate", **changes), "text")
    for stage in model.stages:
        stage.module.eval()
    model.net.eval()
    return model


def _folder(model: Model, request: Any) -> Path:
    found: Path = request.getfixturevalue("decoder_folder")(model.net.config.model_type)
    return found


def rows(model: Model, count: int = 5) -> list[Tensors]:
    given = [(" ".join(TEXTS[:n]), TEXTS[n]) for n in range(count)]
    return model.encode(given, [0] * count)


def alone(model: Model, row: Tensors) -> torch.Tensor:
    """The library's own forward of one row: last hidden states."""
    base = model.net.get_submodule(model.net.base_model_prefix)
    return base(input_ids=row["ids"][None], use_cache=False).last_hidden_state[0]


@pytest.fixture(params=[*CONFIGS, *WITHOUT_LAYOUT])
def model(request: pytest.FixtureRequest, decoder_folder: Folders) -> Model:
    return load(decoder_folder(request.param))


def test_every_layout_is_tested() -> None:
    assert set(CONFIGS) == set(LAYOUTS)


def test_what_a_bundle_knows_of_it_does_not_depend_on_where_it_lay(model: Model) -> None:
    assert str(Path(model.card.origin).parent) not in json.dumps(model.recipe)


def test_every_cut_equals_the_library_row_by_row(model: Model) -> None:
    encoded = rows(model)
    batch = collate(encoded, model.inputs)
    with torch.inference_mode():
        expected = [alone(model, row) for row in encoded]
        whole = model.run(batch)
        for row, states in zip(separate(whole, model.live(len(model.stages))), expected, strict=True):
            torch.testing.assert_close(row["x"], states, rtol=1e-4, atol=1e-5)
        live, there = batch, batch["token_mask"] > 0
        for cut in range(len(model.stages) + 1):
            live = model.run(live, cut - 1, cut) if cut else live
            stored = collate(separate(live, model.live(cut)), model.live(cut))
            before = {name: value.clone() for name, value in stored.items()}
            assert torch.equal(model.run(stored, cut)["x"][there], whole["x"][there]), f"cut {cut}"
            assert all(torch.equal(stored[name], before[name]) for name in before), f"cut {cut} was written to"
            live = stored


def test_rows_in_one_line_do_not_see_each_other(model: Model) -> None:
    encoded = rows(model)
    batch = collate(encoded, model.inputs)
    line = packed(batch, model.inputs, "token")
    if not model.packs:
        pytest.skip("a family without layout is not packed")
    assert len(line["ids"]) < len(encoded)
    head = model.heads["write"]("generate")
    with torch.inference_mode():
        for cut in range(len(model.stages) + 1):  # packed at any cut
            live = model.run(batch, 0, cut) if cut else batch
            stored = packed(collate(separate(live, model.live(cut)), model.live(cut)), model.live(cut), "token")
            ours, theirs = head.loss(model.run(stored, cut), {}), head.loss(model.run(batch), {})
            assert int(ours.counts.sum()) == int(theirs.counts.sum()) > 0
            torch.testing.assert_close(ours.sums.sum(), theirs.sums.sum(), rtol=1e-5, atol=1e-4)


def test_the_loss_and_its_gradient_are_the_library_s(model: Model) -> None:
    encoded = rows(model, 3)
    head = model.heads["write"]("generate")
    loss = head.loss(model.run(collate(encoded, model.inputs)), {})
    loss.sums.sum().backward()
    ours = {name: p.grad.clone() for name, p in model.net.named_parameters() if p.grad is not None}
    model.net.zero_grad()
    for row, total, count in zip(encoded, loss.sums, loss.counts, strict=True):
        labels = torch.where(row["taught"] > 0, row["ids"], -100)
        theirs = model.net(input_ids=row["ids"][None], labels=labels[None]).loss
        torch.testing.assert_close(total.detach() / count, theirs.detach(), rtol=1e-4, atol=1e-5)
        (theirs * count).backward()
    for name, parameter in model.net.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-3, atol=1e-4)


def test_every_parameter_is_in_one_stage_or_the_head(model: Model) -> None:
    owned = [id(p) for stage in model.stages for p in stage.module.parameters()]
    assert len(owned) == len(set(owned))
    top = {id(p) for p in model.heads["write"]("generate").parameters()}
    assert {id(p) for p in model.net.parameters()} <= {*owned, *top}


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_is_copied_at_a_cut(decoder_folder: Folders, tied: bool) -> None:
    model = load(decoder_folder("gpt2", tie_word_embeddings=tied))
    given = collate(rows(model), model.inputs)
    with torch.inference_mode():
        before = model.heads["write"]("generate").loss(model.run(given), {}).sums
    assert model.untie is not None
    apart = model.untie(2)
    head = apart.heads["write"]("generate")
    assert apart.recipe["untied"] == 2
    assert not {id(p) for p in head.parameters()} & {id(p) for p in apart.stages[0].module.parameters()}
    with torch.inference_mode():
        assert torch.equal(head.loss(apart.run(given), {}).sums, before)
    again = models.build(apart.recipe, apart.assets)
    again.net.load_state_dict(apart.net.state_dict())
    again.net.eval()
    with torch.inference_mode():
        assert torch.equal(again.heads["write"]("generate").loss(again.run(given), {}).sums, before)


def test_greedy_text_equals_the_library_s(decoder_folder: Folders) -> None:
    model = load(decoder_folder("llama"))
    prompts = model.encode([(TEXTS[0],), (" ".join(TEXTS[1:4]),)], [0, 0])
    head = model.heads["write"]("generate")
    with torch.inference_mode():
        found = head.predict(model.run(collate(prompts, model.inputs)), Writing(tokens=6))
    for row, written in zip(prompts, found, strict=True):
        ids = row["ids"].tolist()
        for _ in range(6):  # without a cache, one token after the other
            ids.append(int(model.net(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        assert written.text == head.words.text(ids[len(row["ids"]) :])
        assert written.tokens == 0


def test_an_encoder_is_refused(encoder_folder: Folders) -> None:
    with pytest.raises(ModelError, match="reads texts"):
        load(encoder_folder("bert"))


def test_what_is_taught_is_what_follows_the_prompt(decoder_folder: Folders) -> None:
    model = load(decoder_folder("gpt2"))
    asked, ended, open_ended = model.encode([("Anna sees",), ("Anna sees", " Ben."), ("", "Ben.", GOES_ON)], [0] * 3)
    assert not asked["taught"].any()
    ids, taught = ended["ids"].tolist(), ended["taught"].tolist()
    assert ids[0] == ids[-1] == 0  # the token that ends a text begins one, too
    assert taught[-1] == 1
    assert ids[: len(asked["ids"])] == asked["ids"].tolist()
    assert sum(taught) == len(ids) - len(asked["ids"])
    assert open_ended["ids"][-1] != 0
    assert open_ended["taught"].tolist() == [0] + [1] * (len(open_ended["ids"]) - 1)


def test_a_long_prompt_is_cut_on_its_left_and_the_answer_last(decoder_folder: Folders) -> None:
    model = load(decoder_folder("gpt2"), max_length=16)
    prompt, answer = prose(20), " Ben."
    (row,) = model.encode([(prompt, answer)], [0])
    whole = load(decoder_folder("gpt2")).encode([("", answer)], [0])[0]["ids"].tolist()[1:]
    assert len(row["ids"]) == 16
    assert row["ids"].tolist()[-len(whole) :] == whole
    (row,) = model.encode([(prompt, prose(20, 1))], [0])
    assert len(row["ids"]) == 16
    assert 0 < int(row["taught"].sum()) <= 9
    assert model.lengths is not None
    ((tokens,),) = model.lengths([(prompt, answer)])
    assert tokens > 16


def test_no_token_sees_those_behind_it_and_the_loss_is_the_librarys(model: Model, request: Any) -> None:
    (row,) = model.encode([("", prose(1))], [0])
    ids, size = row["ids"][None], len(row["ids"])
    other = ids.clone()
    other[0, -1] = 7
    there = torch.ones_like(ids)
    with torch.inference_mode():
        ours, theirs = (model.run({"ids": one, "taught": there, "token_mask": there})["x"] for one in (ids, other))
        loss = model.heads["write"]("generate").loss(model.run(collate([row], model.inputs)), {})
    assert torch.allclose(ours[:, :-1], theirs[:, :-1], atol=1e-6)
    assert not torch.allclose(ours[:, -1], theirs[:, -1], atol=1e-6)
    eager = type(model.net).from_pretrained(_folder(model, request), attn_implementation="eager").eval()  # type: ignore[attr-defined]
    with torch.inference_mode():
        expected = eager(input_ids=ids, labels=ids).loss * (size - 1)
    assert float(loss.sums) == pytest.approx(float(expected), rel=1e-4)


def test_a_decoder_whose_tokens_see_those_behind_them_is_refused(
    decoder_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ukulele.models import causal

    forward = causal.Whole.forward

    def seeing(self: Any, live: Tensors) -> Tensors:
        found = forward(self, live)
        return {**found, "x": found["x"].flip(1)}

    monkeypatch.setattr(causal.Whole, "forward", seeing)
    with pytest.raises(ModelError, match="depends on those behind it"):
        load(decoder_folder("gpt_neox"))


def test_a_model_writes_by_the_habits_of_its_folder_before_and_after_it_is_packed(
    decoder_folder: Folders, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(decoder_folder("gpt2"), folder)
    told = {
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 2,
        "min_length": 40,
        "temperature": 0.1,
        "do_sample": True,
    }
    (folder / "generation_config.json").write_text(json.dumps({**told, "eos_token_id": 0}))
    model, plain = load(folder), load(decoder_folder("gpt2"))
    assert model.recipe["habits"] == {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2}
    again = models.build(model.recipe, model.assets)
    again.net.load_state_dict(model.net.state_dict())
    prompts = [row["ids"].tolist() for row in model.encode([("Anna sees",), ("Ben",)], [0, 0])]
    texts = [one.heads["write"]("generate").write(prompts, Writing(tokens=24)) for one in (model, again, plain)]  # type: ignore[attr-defined]
    assert texts[0] == texts[1] != texts[2]


def test_what_is_done_to_scores_is_measured(decoder_folder: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: load(decoder_folder(name)).heads["write"]("generate").bend for name in ("cohere", "granite")}
    assert found == {"cohere": Bend(0.0625), "granite": Bend(0.125)}
    assert load(decoder_folder("gemma2")).heads["write"]("generate").bend == Bend(1.0, 0.5)
    forward = GPTNeoXForCausalLM.forward

    def strange(self: Any, *args: Any, **given: Any) -> Any:
        found = forward(self, *args, **given)
        found.logits = found.logits.abs()
        return found

    monkeypatch.setattr(GPTNeoXForCausalLM, "forward", strange)
    with pytest.raises(ModelError, match="are not those of its last layer"):
        load(decoder_folder("gpt_neox"))


def test_a_habit_that_is_no_number_is_named(decoder_folder: Folders, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(decoder_folder("gpt2"), folder)
    for told, kept in (
        ({"repetition_penalty": 2}, {"repetition_penalty": 2.0}),
        ({"bad_words_ids": []}, {}),
        ({"bad_words_ids": [[3, 4], [5, 70_000]], "suppress_tokens": [-1, 9]},
         {"bad_words_ids": [[3, 4]], "suppress_tokens": [9]}),
        ({"begin_suppress_tokens": [70_000]}, {}),
    ):  # fmt: skip
        (folder / "generation_config.json").write_text(json.dumps({**told, "eos_token_id": 0}))
        assert load(folder).recipe["habits"] == kept
    (folder / "generation_config.json").write_text(json.dumps({"no_repeat_ngram_size": "two", "eos_token_id": 0}))
    with pytest.raises(ModelError, match="no_repeat_ngram_size is 'two'"):
        load(folder)
    (folder / "generation_config.json").write_text(json.dumps({"bad_words_ids": [3], "eos_token_id": 0}))
    with pytest.raises(ModelError, match=r"bad_words_ids is \[3\].*token numbers were expected"):
        load(folder)
