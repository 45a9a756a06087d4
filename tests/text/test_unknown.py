"""Words that a tokenizer has no pieces for, and languages that a code does not name alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers import models as kinds
from tokenizers.pre_tokenizers import Whitespace

from ukulele.models.new_tokens import extend
from ukulele.models.words import Words, unknown_id


def words(*added: str) -> Words:
    known = {"</s>": 0, "[UNK]": 1, "ein": 2, "Hund": 3}
    tokenizer = Tokenizer(kinds.WordLevel(known, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens([AddedToken(one, special=True) for one in added])
    return Words(tokenizer.to_str().encode(), {"eos": 0})


def test_bytes_that_no_token_spells_do_not_count() -> None:
    found = words()
    assert found.unknown == 1
    assert found.taught(["ein Hund", "ein 犬", "犬 Hund Hund"], 2) == [([2, 3], 8), ([2, 1], 4), ([1, 3], 5)]


def test_who_knows_every_byte_has_no_token_for_what_it_does_not() -> None:
    from language_kit import tokenizer_json

    assert unknown_id(tokenizer_json().encode()) is None


def test_a_code_that_names_several_languages_names_none() -> None:
    found = words("zho_Hans", "zho_Hant", "deu_Latn")
    assert found.language("zh") is None
    assert found.of_language("zh") == ["zho_Hans", "zho_Hant"]
    assert found.language("de") == found.id("deu_Latn")
    assert found.language("zho_Hant") == found.id("zho_Hant")


def test_a_network_grows_whose_embeddings_hold_more_than_a_table() -> None:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    net = Gemma3ForCausalLM(config)
    before = net.get_input_embeddings().weight.detach().clone()
    extend(net, {"new": (20, [3, 4])})
    after = net.get_input_embeddings().weight
    assert after.shape == (21, 16)
    assert torch.allclose(after[20], before[[3, 4]].mean(0))


@pytest.mark.parametrize(("word", "told"), [("東京", True), ("w3", False)])
def test_unknown_words_are_told_before_anything_is_trained(
    word: str, told: bool, encoder_folder: Callable[..., Path], uke: Callable[..., Any], tmp_path: Path
) -> None:
    draw = random.Random(0)
    lines = [
        {"text": f"{draw.choice(('good', 'fine'))} {word} w{n % 30}", "label": "ab"[n % 2]} for n in range(60)
    ]  # fmt: skip
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    args = ("--model", encoder_folder("bert"), "--strategy", "probe", "--controls", "none")
    found = uke("fit", data, *args, "--out", tmp_path / "run")
    assert found.code == 0, found.err
    record = json.loads((tmp_path / "run" / "record.json").read_text("utf-8"))
    assert ("unknown-words" in {one["code"] for one in record["findings"]}) == told
    assert ("does not know" in found.err) == told
    if told:
        assert found.err.index("does not know") < found.err.index("probe:")
