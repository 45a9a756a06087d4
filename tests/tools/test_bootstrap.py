"""Resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ukulele.tools.bootstrap import draws_for, interval, resamples


def test_every_draw_has_as_many_rows_and_the_seed_repeats_it() -> None:
    draws = list(resamples(30, 50, seed=3))
    assert all(draw.sum() == 30 and len(draw) == 30 for draw in draws)
    assert all(np.array_equal(a, b) for a, b in zip(draws, resamples(30, 50, seed=3), strict=True))
    assert not np.array_equal(draws[0], draws[1])


def test_the_spread_of_means_is_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    means = [counts @ values / 400 for counts in resamples(400)]
    assert np.std(means) == pytest.approx(values.std() / 20, rel=0.1)


def test_undefined_draws_are_left_out() -> None:
    assert interval([1.0, float("nan"), 1.0]) == (1.0, 1.0)
    assert all(math.isnan(end) for end in interval([float("nan")]))


def test_fewer_draws_for_large_tables() -> None:
    assert [draws_for(cells) for cells in (0, 10_000, 300_000, 10**9)] == [1000, 1000, 500, 200]
