"""Writing token by token, by the library's own loop with its cache of keys and values: the one caller of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch

from ukulele.models.words import Words
from ukulele.types import Writing


def generate(  # noqa: PLR0913 - what a family knows of its beginnings and ends
    net: Any,
    given: Mapping[str, Any],
    decoding: Writing,
    words: Words,
    *,
    most: int | None = None,
    first: int | None = None,
    start: int | None = None,
    streamer: Any = None,
    stops: Sequence[int] = (),
) -> list[list[int]]:
    """What a network writes for some rows, as tokens; each row ends where it said so.

    The same rows with the same decoding give the same tokens: what is drawn comes from a generator of its own.

    Parameters
    ----------
    net
        With transformers' `generate`; in eval mode.
    given
        Its inputs: `input_ids` and `attention_mask`, padded on the left, of a model that continues them; or
        `encoder_outputs` and `attention_mask`.
    decoding
        How it writes.
    words
        Whose ends and padding it knows.
    most
        Tokens that are left for it, if fewer than `decoding.tokens`.
    first
        A token that every text has to begin with, such as that of a language.
    start
        What a decoder is given before its first token.
    streamer
        With `put(tokens)` and `end()`: is given each token as it is written; for one row, without beams.
    stops
        Tokens that end a text; by default the one that `words` has for that.
    """
    from transformers import GenerationConfig

    tokens = decoding.tokens if most is None else min(decoding.tokens, most)
    mask = given["attention_mask"]
    if tokens < 1:
        return [[] for _ in range(len(mask))]
    drawn, ends = decoding.temperature > 0, tuple(stops) or (words.eos,)
    config = GenerationConfig(
        max_new_tokens=tokens,
        num_beams=decoding.beams,
        do_sample=drawn,
        early_stopping=decoding.beams > 1,
        max_time=decoding.seconds,
        pad_token_id=words.pad,
        eos_token_id=list(ends),
        bos_token_id=words.bos,
        decoder_start_token_id=start,
        forced_bos_token_id=first,
        use_cache=True,
        **({"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0} if drawn else {}),
    )
    prompt = given["input_ids"].shape[1] if "input_ids" in given else 1
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(decoding.seed)
        found = net.generate(**given, generation_config=config, streamer=streamer)
    return [_ended(row, ends) for row in found[:, prompt:].tolist()]


def placed(net: Any, device: torch.device) -> Any:
    """A network in eval mode, whole on a device: training moves no more there than what is trained.

    Weights that are moved in inference mode could not be trained afterwards.
    """
    if any(value.device != device for value in chain(net.parameters(), net.buffers())):
        with torch.inference_mode(False):
            net.to(device)
    return net.eval()


def _ended(row: list[int], ends: Sequence[int]) -> list[int]:
    """Without the end of the text, and what follows it."""
    return row[: next((at for at, token in enumerate(row) if token in ends), len(row))]
