"""Small models by name (`config:t5-tiny`), to be trained from scratch with a vocabulary of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ukulele.errors import ModelError
from ukulele.models.words import Words

PREFIX = "config:"
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "t5-tiny": {
        "model_type": "t5", "d_model": 192, "d_kv": 32, "d_ff": 768, "num_layers": 3, "num_decoder_layers": 3,
        "num_heads": 6, "feed_forward_proj": "gated-gelu", "dropout_rate": 0.1,
    },
    "marian-tiny": {
        "model_type": "marian", "d_model": 192, "encoder_layers": 3, "decoder_layers": 3, "encoder_ffn_dim": 768,
        "decoder_ffn_dim": 768, "encoder_attention_heads": 6, "decoder_attention_heads": 6, "dropout": 0.1,
        "activation_function": "relu", "scale_embedding": True, "max_position_embeddings": 512, "init_std": 0.07,
    },
    "bart-tiny": {
        "model_type": "bart", "d_model": 192, "encoder_layers": 3, "decoder_layers": 3, "encoder_ffn_dim": 768,
        "decoder_ffn_dim": 768, "encoder_attention_heads": 6, "decoder_attention_heads": 6, "dropout": 0.1,
        "max_position_embeddings": 1024, "init_std": 0.07,
    },
    "gpt2-tiny": {
        "model_type": "gpt2", "n_embd": 256, "n_layer": 6, "n_head": 8, "n_positions": 256, "resid_pdrop": 0.1,
        "embd_pdrop": 0.1, "attn_pdrop": 0.0,  # attention of 16 rows of 256 tokens: 83 ms, with dropout 350
    },
    "llama-tiny": {
        "model_type": "llama", "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6,
        "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    },
}  # fmt: skip


def knows(name: str) -> bool:
    """Whether a model's name is that of a configuration."""
    return name.startswith(PREFIX)


def make(name: str, words: Words) -> Any:
    """The configuration of a name, with room for a vocabulary.

    Raises
    ------
    ModelError
        If there is none.
    """
    from ukulele.models import hub

    plain = dict(find(name))
    start = {"t5": words.pad, "marian": words.pad, "bart": words.eos}.get(plain["model_type"])
    plain |= {"vocab_size": words.size, "pad_token_id": words.pad, "eos_token_id": words.eos, "bos_token_id": words.bos}
    plain |= {"forced_bos_token_id": None, "forced_eos_token_id": None} if start is not None else {}
    return hub.config_from(plain | ({} if start is None else {"decoder_start_token_id": start}))


def find(name: str) -> Mapping[str, Any]:
    """What is known of a configuration before there is a vocabulary.

    Raises
    ------
    ModelError
        If there is none of that name.
    """
    short = name.removeprefix(PREFIX)
    if short not in CONFIGS:
        raise ModelError(f"there is no {name!r}.", hint=f"Choose one of: {', '.join(PREFIX + one for one in CONFIGS)}.")
    return CONFIGS[short]
