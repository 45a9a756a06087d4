"""Which rows make a step: shares, repetitions, lengths."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukulele.loop.sampling import MOST, batches, drawn, pieces
from ukulele.loop.truth import Truth
from ukulele.tools.typed import power

SAMPLINGS = st.sampled_from(["proportional", "sqrt", "equal", "temperature:3"])


def strata_of(counts: list[int]) -> list[np.ndarray]:
    edges = np.cumsum([0, *counts])
    return [np.arange(a, b) for a, b in pairwise(edges)]


def batched(counts: list[int], size: int, sampling: str, seed: int = 0) -> list[list[int]]:
    lengths = np.random.default_rng(1).integers(1, 60, sum(counts))
    return batches(strata_of(counts), lengths, size, sampling, np.random.default_rng(seed))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=5), st.integers(1, 33), SAMPLINGS, st.integers(0, 9))
def test_each_stratum_is_drawn_as_often_as_it_should(counts: list[int], size: int, sampling: str, seed: int) -> None:
    steps = batched(counts, size, sampling, seed)
    seen = Counter(number for step in steps for number in step)
    for stratum, take in zip(strata_of(counts), drawn(counts, sampling), strict=True):
        times = [seen[number] for number in stratum.tolist()]
        assert sum(times) == take
        assert max(times) - min(times) <= 1  # no row is drawn again before all others were
        assert max(times) <= MOST
    assert steps == batched(counts, size, sampling, seed)
    if sampling == "proportional" or len(counts) == 1:
        assert set(seen.values()) == {1}


@given(st.lists(st.integers(20, 400), min_size=2, max_size=4), SAMPLINGS)
def test_each_step_has_its_share_of_every_stratum(counts: list[int], sampling: str) -> None:
    size = 32
    steps = batched(counts, size, sampling)
    for stratum, take in zip(strata_of(counts), drawn(counts, sampling), strict=True):
        share = take / len(steps)
        mine = [sum(number in stratum for number in step) for step in steps]
        assert max(mine) <= share + 1
        assert min(mine) >= share - 1


def test_rows_of_like_length_go_together() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 3200)
    steps = batches([np.arange(3200)], lengths, 32, "proportional", np.random.default_rng(0))
    spread = np.mean([np.ptp(lengths[step]) for step in steps])
    assert spread < 10  # of 100, where chance alone gives 94


@pytest.mark.parametrize("word", ["often", "temperature:0", "temperature:", "temperature:x", ""])
def test_other_words_are_no_sampling(word: str) -> None:
    assert power(word) is None


def test_truth_knows_who_has_what(joint_rows) -> None:  # type: ignore[no-untyped-def]
    truth = Truth(joint_rows(12))
    assert truth.numbers("type").tolist() == [2, 3, 6, 7, 10, 11]
    assert truth.having(["mood", "type"]).tolist() == list(range(12))
    strata = truth.strata(["mood", "marks", "type"])
    assert [s.tolist() for s in strata] == [[2, 3, 6, 7, 10, 11], [0, 1, 4, 5, 8, 9]]  # rarest first
    assert len(truth.values("marks")) == len(truth.numbers("marks")) == 9


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(0, 500))
def test_pieces_hold_every_row_once_and_pay_for_themselves(lengths: list[int], cost: int) -> None:
    sizes = np.array(lengths)
    found = pieces(sizes, cost)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(sizes)))
    padded = sum(int(sizes[group].max()) * len(group) for group in found)
    assert padded + cost * (len(found) - 1) <= int(sizes.max()) * len(sizes)
    firsts = [int(sizes[group][0]) for group in found]
    assert firsts == sorted(firsts, reverse=True)
    if cost == 0:
        assert padded == int(sizes.sum())


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(1024, {32: 32}), (1050, {32: 6, 33: 26}), (6920, {32: 208, 33: 8}), (1000, {31: 24, 32: 8}), (40, {20: 2})],
)
def test_steps_of_many_rows_have_one_size_or_a_row_more(rows: int, expected: dict[int, int]) -> None:
    assert Counter(len(step) for step in batched([rows], 32, "proportional")) == expected
