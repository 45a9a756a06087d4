"""Words that get tokens of their own: new rows that begin as the mean of their pieces, in every family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from text_kit import folder, pairs, request
from tokenizers import AddedToken, Tokenizer

import ukulele
import ukulele.api
from language_kit import decoder
from ukulele import models
from ukulele.config import FitOptions
from ukulele.errors import ModelError, PlanError
from ukulele.models.named import named_models
from ukulele.tools.collate import collate
from ukulele.tools.typed import words_or_lines
from ukulele.types import Model, Request, Tensors

WORDS = ("zebra", "quagga")


def live(model: Model) -> Tensors:
    for stage in model.stages:
        stage.module.eval()
    given = collate(model.encode([("The zebra runs here.", "Der quagga rennt.")], [0]), model.inputs)
    with torch.no_grad():
        return model.run(given)


@pytest.mark.parametrize("family", ["t5", "bart", "marian", "mbart", "m2m_100", "gpt2", "llama"])
def test_a_model_grows_and_is_built_again(family: str, tmp_path: Path) -> None:
    causal = family in {"gpt2", "llama"}
    place = decoder(tmp_path / family, family) if causal else folder(tmp_path / family, family)
    asked = Request(str(place), writes="generate") if causal else request(place, family)
    before = models.load(asked, "text")
    old = before.net.get_input_embeddings().weight  # type: ignore[operator]
    model = models.load(Request(**{**vars(asked), "new_tokens": WORDS}), "text")
    table = model.net.get_input_embeddings().weight  # type: ignore[operator]
    assert len(table) == len(old) + 2 == model.net.config.vocab_size  # type: ignore[union-attr]
    assert torch.equal(table[: len(old)], old)
    tokenizer = Tokenizer.from_str(model.assets["tokenizer.json"].decode())
    theirs = Tokenizer.from_str(before.assets["tokenizer.json"].decode())
    for word in WORDS:
        number, parts = tokenizer.token_to_id(word), theirs.encode(word, add_special_tokens=False).ids
        assert len(parts) > 1
        torch.testing.assert_close(table[number], old[parts].mean(0))
    top = model.net.get_output_embeddings()  # type: ignore[operator]
    assert len(top.weight) == len(table)
    assert top.weight is table
    again = models.build(json.loads(json.dumps(model.recipe)), model.assets)
    again.net.load_state_dict(model.net.state_dict())
    assert torch.equal(live(again)["x"], live(model)["x"])


def test_parted_weights_grow_apart(tmp_path: Path) -> None:
    model = models.load(request(folder(tmp_path / "bart", "bart"), "bart"), "text")
    assert model.untie is not None
    apart = model.untie([stage.name for stage in model.stages].index("target"))
    from ukulele.models.new_tokens import grown

    with torch.no_grad():
        apart.net.lm_head.weight.add_(1)  # type: ignore[union-attr, operator]
    found = grown(apart, request("bart", "bart", new_tokens=WORDS)).net
    encoder, decoder_ = found.get_encoder(), found.get_decoder()  # type: ignore[operator]
    assert found.lm_head.weight is decoder_.embed_tokens.weight  # type: ignore[union-attr]
    assert encoder.embed_tokens.weight is not decoder_.embed_tokens.weight
    torch.testing.assert_close(decoder_.embed_tokens.weight, encoder.embed_tokens.weight + 1)


def test_tokens_that_the_tokenizer_has_beyond_the_model_get_rows_too(tmp_path: Path) -> None:
    place = decoder(tmp_path / "gpt", "gpt2")
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("zebra", normalized=False)])
    tokenizer.save(str(place / "tokenizer.json"))
    model = models.load(Request(str(place), writes="generate"), "text")
    assert len(model.net.get_input_embeddings().weight) == tokenizer.get_vocab_size()  # type: ignore[operator]
    assert live(model)["x"].isfinite().all()


def test_what_is_known_already_changes_nothing(tmp_path: Path) -> None:
    place = folder(tmp_path / "t5", "t5")
    model = models.load(request(place, "t5", new_tokens=("</s>",)), "text")
    assert "new_tokens" not in model.recipe


def test_two_vocabularies_are_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    from ukulele.models.new_tokens import grown

    model = models.load(request(folder(tmp_path / "t5", "t5"), "t5"), "text")
    twofold = replace(model, assets={**model.assets, "tokenizer-answers.json": b"{}"})
    with pytest.raises(ModelError, match="can be given no new ones"):
        grown(twofold, request("t5", "t5", new_tokens=WORDS))


def test_words_and_files_of_words(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("zebra\n\n quagga \nzebra\n", "utf-8")
    assert words_or_lines(["okapi", str(tmp_path / "words.txt")]) == ("okapi", "zebra", "quagga")


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_files_of_words_in_any_encoding(codec: str, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes("zébra\r\nquagga\r\n".encode(codec))
    words = ("zébra", "quagga")
    assert words_or_lines([str(tmp_path / "words.txt")]) == words
    assert tuple(named_models([str(tmp_path / "words.txt")], "text")) == words


@pytest.mark.parametrize("option", ["--new-tokens", "--models"])
def test_a_file_of_words_that_cannot_be_decoded_is_named(option: str, tmp_path: Path, uke: Callable[..., Any]) -> None:
    (tmp_path / "words.txt").write_bytes("zébra\n".encode() + b"qu\xe9gga\n")
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"a{i},{i % 2}\n" for i in range(40)), "utf-8")
    answer = uke("fit", tmp_path / "rows.csv", option, tmp_path / "words.txt", "--out", tmp_path / "run")
    assert answer.code == 2, answer.err
    assert "words.txt" in answer.flat
    assert "Save it as UTF-8" in answer.flat


def test_a_file_of_words_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "words.txt").write_text("zebra", "utf-8")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PlanError, match=r"words\.txt.*Permission denied"):
        words_or_lines([str(tmp_path / "words.txt")])


def test_words_that_no_path_can_be() -> None:
    odd = ("~nobody", "x" * 5000)
    assert words_or_lines(odd) == odd


def test_python_takes_words_as_the_command_line_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[FitOptions] = []

    def stop(_data: Any, options: FitOptions, *_: Any, **__: Any) -> None:
        asked.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("ukulele.story.pipeline.fit", stop)
    file = tmp_path / "terms.txt"
    file.write_text("zebra\nquagga\n", "utf-8-sig")
    for given in (file, str(file), [file], [str(file)], "zebra", ("zebra", "quagga")):
        with pytest.raises(KeyboardInterrupt):
            ukulele.fit([("a", "b")], new_tokens=given, languages="deu_Latn", models=file, out=tmp_path / "run")
        assert asked[-1].new_tokens == (("zebra",) if given == "zebra" else WORDS)
        assert asked[-1].languages == ("deu_Latn",)
        assert asked[-1].models == (str(file),)


@pytest.mark.parametrize(("door", "name"), [("diagnosing", "diagnose"), ("curving", "curve"), ("choosing", "choose")])
def test_what_is_asked_before_training_takes_words_alike(
    door: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[FitOptions] = []
    monkeypatch.setattr(f"ukulele.doors.{door}.answer", lambda _data, options, *_, **__: asked.append(options))
    (tmp_path / "terms.txt").write_text("zebra\nquagga\n", "utf-8")
    for one, several in ((tmp_path / "terms.txt", [str(tmp_path / "terms.txt")]), ("zebra", ("zebra",))):
        for words, languages, text in ((one, "deu_Latn", "en"), (several, ["deu_Latn"], ["en"])):
            getattr(ukulele.api, name)("rows.csv", new_tokens=words, languages=languages, text=text)
        assert asked[-1] == asked[-2]
        assert asked[-1].new_tokens == (("zebra",) if one == "zebra" else WORDS)


def test_through_the_command_line(tmp_path: Path, uke: Callable[..., Any]) -> None:
    place, data, run = folder(tmp_path / "t5", "t5"), tmp_path / "pairs.jsonl", tmp_path / "run"
    lines = (json.dumps({"en": a, "de": b}, ensure_ascii=False) for a, b in pairs(60))
    data.write_text("\n".join(lines), "utf-8")
    asked = ["fit", data, "--task", "translate", "--source", "en", "--target", "de", "--model", place]
    asked += ["--strategy", "finetune", "--epochs", 1, "--controls", "none", "--metric", "perplexity"]
    answer = uke(*asked, "--new-tokens", *WORDS, "--out", run)
    assert answer.code == 0, answer.err
    record = json.loads((run / "record.json").read_text("utf-8"))
    assert "new-tokens-frozen" in {finding["code"] for finding in record["findings"]}
    assert uke("predict", run, "The zebra runs here.").code == 0
    again = models.load(request(run / "bundle"), "text")
    assert again.recipe["new_tokens"] == sorted(WORDS)
