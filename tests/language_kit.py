"""Tiny decoders with random weights in folders, and text with something in it to be learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("Anna", "Ben", "Carla", "Dora")
VERBS = ("sees", "greets", "calls", "likes")
TOKENS = 300
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64},
    "llama": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64,
    },
}  # fmt: skip
CONFIGS["mistral"] = {**CONFIGS["llama"], "sliding_window": 8}
CONFIGS["qwen2"] = {**CONFIGS["llama"], "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
CONFIGS["qwen3"] = {**CONFIGS["llama"], "head_dim": 8}
WITHOUT_LAYOUT = {
    "gpt_neox": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 64,
    },
}  # fmt: skip
WITHOUT_LAYOUT["gemma2"] = {
    **CONFIGS["llama"], "head_dim": 8, "final_logit_softcapping": 0.5, "query_pre_attn_scalar": 8, "sliding_window": 64,
}  # fmt: skip
# these add the mask to their scores themselves
WITHOUT_LAYOUT["bloom"] = {"hidden_size": 32, "n_layer": 2, "n_head": 4}
WITHOUT_LAYOUT["gpt_neo"] = {
    "hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 8,
    "max_position_embeddings": 64,
}  # fmt: skip
WITHOUT_LAYOUT["falcon"] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
WITHOUT_LAYOUT["gpt_oss"] = {  # with sinks
    **CONFIGS["llama"], "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 8,
}  # fmt: skip
WITHOUT_LAYOUT["cohere"] = {**CONFIGS["llama"], "logit_scale": 0.0625}
WITHOUT_LAYOUT["granite"] = {**CONFIGS["llama"], "logits_scaling": 8.0, "embedding_multiplier": 2.0}


def prose(sentences: int, seed: int = 0) -> str:
    """Sentences of a small grammar, some to a line."""
    draw = np.random.default_rng(seed)
    made = []
    for number in range(sentences):
        subject, verb, other = draw.choice(NAMES), draw.choice(VERBS), draw.choice(NAMES)
        made.append(f"{subject} {verb} {other} on day {draw.integers(1, 30)}." + ("\n" if number % 4 == 3 else " "))
    return "".join(made)


def tokenizer_json() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=["<|end|>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator([prose(400)], trainer)
    return str(tokenizer.to_str())


def decoder(folder: Path, model_type: str, template: str | None = None, **changes: Any) -> Path:
    """The folder of a tiny decoder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    known = CONFIGS.get(model_type) or WITHOUT_LAYOUT[model_type]
    plain = {
        "vocab_size": TOKENS, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None, "tie_word_embeddings": True,
        **known, **changes,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **plain))
        for parameter in net.parameters():  # biases and norms, too, so that nothing is forgotten unseen
            parameter.data.add_(0.05 * torch.randn_like(parameter))
        net.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer_json(), "utf-8")
    settings = {"eos_token": "<|end|>", **({"chat_template": template} if template else {})}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    return folder
