"""Tiny models that write, with random weights, and rows for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ukulele.models import hub, words
from ukulele.types import Request, Row, Where

NOUNS = {"dog": "Hund", "cat": "Kater", "man": "Mann", "boy": "Junge", "horse": "Gaul", "bird": "Vogel"}
VERBS = {"runs": "rennt", "sleeps": "schläft", "eats": "isst", "sings": "singt", "waits": "wartet"}
PLACES = {"here": "hier", "outside": "draußen", "at home": "daheim", "in the park": "im Park"}


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Sentences with their translations, word for word."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        noun, verb, place = (draw.choice(sorted(some)) for some in (NOUNS, VERBS, PLACES))
        found.append((f"The {noun} {verb} {place}.", f"Der {NOUNS[noun]} {VERBS[verb]} {PLACES[place]}."))
    return found


class Held(list[Row]):
    """Rows in a list."""

    groups = None

    def take(self, indices: Any) -> Held:
        return Held(self[i] for i in indices)

    def column(self, name: str) -> list[Any]:
        return [row.targets.get(name) for row in self]


def rows(count: int, seed: int = 0) -> Held:
    return Held(Row((a,), {"de": b}, Where("list", i)) for i, (a, b) in enumerate(pairs(count, seed), 1))


SHAPES: dict[str, dict[str, Any]] = {
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2},
    "bart": {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64,
    },
}  # fmt: skip
SHAPES |= {name: dict(SHAPES["bart"]) for name in ("marian", "mbart", "m2m_100")}
LANGUAGES = {"mbart": ("en_XX", "de_DE"), "m2m_100": ("eng_Latn", "deu_Latn")}


def folder(path: Path, family: str, seed: int = 0, count: int = 60, **changed: Any) -> Path:
    """A model's folder as the library writes one: config.json, model.safetensors, tokenizer.json and its settings."""
    from tokenizers import AddedToken

    found = words.learn(rows(count), 300)
    tokenizer = found.tokenizer
    tokenizer.add_special_tokens([AddedToken(code, special=True) for code in LANGUAGES.get(family, ())])
    plain = {
        "model_type": family, "vocab_size": tokenizer.get_vocab_size(), "pad_token_id": found.pad,
        "eos_token_id": found.eos, "bos_token_id": found.bos, "forced_eos_token_id": None, "forced_bos_token_id": None,
        "decoder_start_token_id": found.eos if family in {"bart", "m2m_100"} else found.pad,
        **SHAPES[family], **changed,
    }  # fmt: skip
    torch.manual_seed(seed)
    net = hub.writing_network(None, hub.config_from(plain), "seq2seq", {})
    net.save_pretrained(path)
    (path / "tokenizer.json").write_text(tokenizer.to_str())
    told = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    (path / "tokenizer_config.json").write_text(json.dumps(told))
    return path


def request(path: Path | str, family: str = "", **changed: Any) -> Request:
    told: dict[str, Any] = {"languages": LANGUAGES.get(family, ()), **changed}
    return Request(str(path), writes="translate", rows=rows(60), **told)
