"""Interpolated Kneser-Ney against a slow one written from its definition, and what must hold of any such model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from ukulele.tools.kneser_ney import fit

SIZE = 8


def corpus(seed: int, rows: int = 30) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [[0, *draw.integers(1, SIZE, draw.integers(1, 20)).tolist()] for _ in range(rows)]


def slow(rows: Sequence[Sequence[int]], longest: int, ids: Sequence[int]) -> list[float]:
    """Losses by dictionaries, one token after the other."""
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(longest + 1)]
    for n in range(1, longest + 1):
        grams = [(tuple(row[i - n + 1 : i + 1]), i) for row in rows for i in range(max(1, n - 1), len(row))]
        if n == longest:
            counts[n].update(gram for gram, _ in grams)
            continue
        before = {(row[i - n], *row[i - n + 1 : i + 1]) for row in rows for i in range(n, len(row))}
        counts[n].update(gram[1:] for gram in before)
        if n > 1:
            counts[n].update(gram for gram, i in grams if i == n - 1)

    def likely(context: tuple[int, ...], token: int) -> float:
        n = len(context) + 1
        lower = 1 / SIZE if n == 1 else likely(context[1:], token)
        found = {gram: count for gram, count in counts[n].items() if gram[:-1] == context}
        if not found:
            return lower
        once, twice = (sum(count == k for count in counts[n].values()) for k in (1, 2))
        discount = min(once / (once + 2 * twice) if once else 0.5, 0.95)
        total = sum(found.values())
        return max(found.get((*context, token), 0) - discount, 0) / total + discount * len(found) / total * lower

    return [-math.log(likely(tuple(ids[max(0, i - longest + 1) : i]), ids[i])) for i in range(1, len(ids))]


@pytest.mark.parametrize("longest", [1, 2, 3, 5])
def test_it_is_what_the_definition_says(longest: int) -> None:
    rows, asked = corpus(0), corpus(1, 5)
    model = fit(rows, longest, SIZE)
    for row in asked:
        np.testing.assert_allclose(model.losses(row), slow(rows, longest, row), rtol=1e-9)


@pytest.mark.parametrize("longest", [1, 2, 5])
@pytest.mark.parametrize("context", [[0], [0, 3], [0, 3, 4, 5, 6, 1], [0, 7, 7, 7, 7, 7, 7]])
def test_probabilities_of_all_tokens_add_up_to_one(longest: int, context: list[int]) -> None:
    model = fit(corpus(2), longest, SIZE)
    total = sum(math.exp(-model.losses([*context, token])[-1]) for token in range(SIZE))
    assert total == pytest.approx(1)


def test_more_context_helps_where_there_is_something_in_it() -> None:
    rows = [[0, *([1, 2, 3, 4] * 5)[: 5 + n]] for n in range(10)]
    one, five = (fit(rows, longest, SIZE).losses(rows[-1]).mean() for longest in (1, 5))
    assert five < one / 5


def test_nothing_counted_is_uniform() -> None:
    assert fit([], 5, SIZE).losses([0, 1, 2]) == pytest.approx([math.log(SIZE)] * 2)
