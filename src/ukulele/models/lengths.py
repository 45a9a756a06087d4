"""How long texts are in tokens before anything of them is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def uncut(content: bytes) -> Tokenizer:
    """The tokenizer of a file's content, which cuts and pads nothing."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(content.decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def count(tokenizer: Tokenizer, pairs: str, inputs: Sequence[tuple[Any, ...]]) -> list[tuple[int, ...]]:
    """The tokens of each row, special ones included: of two texts that are read separately those of each."""
    if pairs == "separate":
        sides = [tokenizer.encode_batch_fast(list(side)) for side in zip(*inputs, strict=True)]
    else:
        sides = [tokenizer.encode_batch_fast([texts if len(texts) > 1 else texts[0] for texts in inputs])]
    return [tuple(len(one) for one in row) for row in zip(*sides, strict=True)]


def lengths(content: bytes, pairs: str, inputs: Sequence[tuple[Any, ...]]) -> list[tuple[int, ...]]:
    """`count` for a few rows of a model: its tokenizer is built for them."""
    return count(uncut(content), pairs, inputs)
