"""How long texts are in an encoder's tokens, from its tokenizer alone: no weights are loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from ukulele.errors import ModelError
from ukulele.types import Request

WINDOW = 1024  # rows at a time


def tokens(request: Request, inputs: Iterable[tuple[Any, ...]]) -> tuple[int, list[int]]:
    """The most tokens that the encoder reads at once, and how many each row has, at most as many.

    Of two texts that are read separately the longer counts.

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
    tokenizer = encoders.tokenizer_of(hub.tokenizer_json(folder), recipe)
    rows, counts = iter(inputs), []
    while some := list(islice(rows, WINDOW)):
        if recipe["pairs"] == "separate":
            sides = [tokenizer.encode_batch_fast(list(side)) for side in zip(*some, strict=True)]
        else:
            sides = [tokenizer.encode_batch_fast([texts if len(texts) > 1 else texts[0] for texts in some])]
        counts += [max(len(one) for one in row) for row in zip(*sides, strict=True)]
    return int(recipe["max_length"]), counts
