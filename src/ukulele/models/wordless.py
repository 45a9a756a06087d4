"""Words that a tokenizer has no pieces for: to a model they are all the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ukulele.models.words import ANSWERS, FILE, unknown_id
from ukulele.types import Model


def count(model: Model, inputs: Sequence[tuple[Any, ...]]) -> tuple[int, int]:
    """How many tokens of some rows stand for words without pieces, and how many tokens there are."""
    wordless = {
        "ids": unknown_id(model.assets.get(FILE)),
        "labels": unknown_id(model.assets.get(ANSWERS, model.assets.get(FILE))),
    }
    there = {name: number for name, number in wordless.items() if number is not None and name in model.inputs}
    if not there or not inputs:
        return 0, 0
    rows = model.encode(inputs, [0] * len(inputs))
    missed = sum(int((row[name] == number).sum()) for row in rows for name, number in there.items())
    return missed, sum(row[name].numel() for row in rows for name in there)
