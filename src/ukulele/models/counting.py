"""How long texts are in the tokens of an encoder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ukulele.errors import ModelError
from ukulele.models.lengths import count, uncut
from ukulele.types import Model, Request, Rows

WINDOW = 1024  # rows at a time


def tokens(request: Request, inputs: Iterable[tuple[Any, ...]]) -> tuple[int, list[int]]:
    """The most tokens that the encoder reads at once, and how many each row has before it is cut to them; of two texts
    that are read separately, how many each has.

    Raises
    ------
    ModelError
        If there is no such encoder within reach.
    """
    from ukulele.models import CLASSICAL, encoders, hub, is_bundle

    if request.name in CLASSICAL or is_bundle(Path(request.name).expanduser()):
        raise ModelError(
            f"{request.name} has no tokenizer of its own to count with.", hint="Name a hub id, a folder or minilm."
        )
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    folder = hub.text_folder(request.name)
    recipe = encoders.reading(folder, hub.text_config(folder), request)
    tokenizer = uncut(hub.tokenizer_json(folder))
    rows, counts = iter(inputs), list[int]()
    while some := list(islice(rows, WINDOW)):
        counts += [tokens for row in count(tokenizer, recipe["pairs"], some) for tokens in row]
    return int(recipe["max_length"]), counts


def whole(model: Model, read: Sequence[int], rows: Rows) -> list[int]:
    """The length of each row, before what is too long is cut, of how many tokens of each the model has `read`.

    Where some are too long, and two texts of a row are read separately, it is the length of each text.
    """
    full = [] if model.limit is None else [row for row, length in enumerate(read) if length >= model.limit]
    if not full or model.lengths is None:
        return list(read)
    found = model.lengths([rows[row].inputs for row in full])
    if any(len(texts) > 1 for texts in found):
        return [length for texts in model.lengths([row.inputs for row in rows]) for length in texts]
    lengths = dict(zip(full, (length for (length,) in found), strict=True))
    return [lengths.get(row, length) for row, length in enumerate(read)]


def chunkable(request: Request) -> bool:
    """Whether the encoder would read long texts in pieces."""
    from ukulele.models import encoders, hub

    return encoders.chunkable(hub.text_config(hub.text_folder(request.name)).model_type, request.inputs)


def written(request: Request, pairs: Iterable[tuple[str, str]]) -> tuple[int, list[int]]:
    """The most tokens that a model that writes takes at once, and the tokens of each row: of a text and its answer
    together, where the model continues the one with the other, else of each.

    Raises
    ------
    ModelError
        If there is no such model within reach, or it has no tokenizer of its own yet.
    """
    from ukulele.models import causal, configs, hub, is_bundle, passages, seq2seq, words

    name = request.name
    if configs.knows(name) or is_bundle(Path(name).expanduser()):
        raise ModelError(f"{name} has no tokenizer of its own to count with.", hint="Name a hub id or a folder.")
    folder = hub.text_folder(name)
    config = hub.writing_config(folder)
    tokens = words.load(folder, config)
    measure: Callable[[Sequence[tuple[str, ...]]], list[tuple[int, ...]]]
    if config.is_encoder_decoder:
        recipe = seq2seq.recipe_of(folder, config, tokens, request)
        measure = seq2seq.Encoder(tokens, recipe, pad=int(tokens.pad)).lengths
    else:
        recipe = causal.recipe_of(folder, config, tokens, request)
        measure = passages.reader_of(recipe, tokens).lengths
    rows, counts = iter(pairs), list[int]()
    while some := list(islice(rows, WINDOW)):
        counts += [tokens for row in measure(some) for tokens in row]
    return int(recipe["max_length"]), counts
