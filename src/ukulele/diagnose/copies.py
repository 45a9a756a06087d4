"""Rows that stand in two splits but for small changes: figures on the second are then too good."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ukulele.types import Finding

NEAREST = 3  # rows that are looked at for each, by the cosine of their features
LEAST = 0.9  # cosine from which texts are looked at
ALIKE = 0.95  # share of common letters in fours from which two texts are one
GRAM = 4
BLOCK = 512

Floats = NDArray[np.float32]


def nearest_rows(here: Floats, there: Floats, count: int = NEAREST) -> tuple[NDArray[np.intp], Floats]:
    """For each row of `there` the rows of `here` with the greatest cosine, and that: (m, count) each."""
    one, other = _unit(here), _unit(there)
    count = min(count, len(one))
    rows, cosines = np.empty((len(other), count), np.intp), np.empty((len(other), count), np.float32)
    for start in range(0, len(other), BLOCK):
        found = other[start : start + BLOCK] @ one.T
        at = np.arange(len(found))
        for rank in range(count):  # a few times over all of them is quicker than to order them
            best = found.argmax(1)
            rows[start + at, rank], cosines[start + at, rank] = best, found[at, best]
            found[at, best] = -np.inf
    return rows, cosines


def _unit(x: Floats) -> Floats:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)


def bare(text: str) -> str:
    """A text without case, punctuation and width of spaces.

    >>> bare("I'm  here: NOW!")
    'im here now'
    """
    return " ".join(re.findall(r"\w+", text.lower().replace("'", "").replace("’", "")))


def likeness(one: str, other: str) -> float:
    """The share of common runs of four letters of two texts, as `bare` gives them: Jaccard similarity.

    >>> likeness("my card", "my card"), round(likeness("my new card came", "my card came"), 2)
    (1.0, 0.53)
    """
    first, second = _grams(one), _grams(other)
    return len(first & second) / len(first | second)


def _grams(text: str) -> set[str]:
    whole = f" {text} "
    return {whole[at : at + GRAM] for at in range(max(1, len(whole) - GRAM + 1))}


def copies(split: str, seen: Sequence[str], looked: int, rows: int, file: str) -> list[Finding]:
    """A finding of rows of a split that are nearly training rows; `seen` says where the first of them stand."""
    if not seen:
        return []
    some = "" if looked == rows else f" (of {looked:,} looked at)"
    return [
        Finding(
            "warning",
            "near-duplicate-across-splits",
            f"{len(seen):,} of {rows:,} {split} rows{some} are training or validation rows but for case, "
            f"punctuation, a cut or a new compression: figures on {split} are too good by that. The first: {seen[0]}.",
            {"split": split, "count": len(seen), "rows": rows, "looked_at": looked, "examples": list(seen[:20])},
            f"Remove them from train; all are in {file}.",
        )
    ]
