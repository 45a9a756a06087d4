"""Intervals over seeds and rows: as wide as both kinds of chance make them."""

from __future__ import annotations

import numpy as np
import pytest

from ukulele.evaluate import compare, compare_seeds, over_seeds
from ukulele.types import Metric

ACCURACY = Metric("share of hits", lambda table, counts: float((table[:, 0] * counts).sum() / counts.sum()))
ERROR = Metric(
    "error", lambda table, counts: float((table[:, 0] * counts).sum() / counts.sum()), higher_is_better=False
)


def right(share: float, n: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((n, 1)) < share).astype(np.float64)


def test_the_value_is_the_mean_over_seeds() -> None:
    tables = [right(share, 400, seed) for seed, share in enumerate((0.7, 0.8, 0.9))]
    found = over_seeds({"accuracy": [ACCURACY] * 3}, tables)["accuracy"]
    assert found.value == pytest.approx(np.mean([table.mean() for table in tables]))
    assert found.low < found.value < found.high
    assert found.n == 400
    assert "mean of 3 seeds" in found.method


def test_equal_seeds_give_the_interval_of_one() -> None:
    table = right(0.8, 300, 0)
    one = compare(ACCURACY, table, right(0.7, 300, 1), "rival")
    several = compare_seeds(ACCURACY, [table] * 4, [right(0.7, 300, 1)], "rival")
    assert several.difference.value == pytest.approx(one.difference.value)
    assert several.difference.low == pytest.approx(one.difference.low, abs=1e-12)
    assert several.outcome == one.outcome
    assert several.p == pytest.approx(one.p, abs=1e-12)
    assert several.test == "paired bootstrap over seeds and rows"


def test_seeds_that_differ_widen_the_interval() -> None:
    rival = right(0.75, 500, 9)
    calm = compare_seeds(ACCURACY, [right(0.8, 500, seed) for seed in range(5)], [rival], "rival").difference
    wild = compare_seeds(
        ACCURACY, [right(s, 500, i) for i, s in enumerate((0.95, 0.65, 0.9, 0.7, 0.8))], [rival], "rival"
    ).difference
    assert wild.high - wild.low > 1.5 * (calm.high - calm.low)


def test_both_sides_may_have_seeds() -> None:
    ours, theirs = ([right(share, 400, seed + at) for seed in range(3)] for at, share in ((0, 0.8), (10, 0.7)))
    found = compare_seeds(ACCURACY, ours, theirs, "rival")
    expected = np.mean([table.mean() for table in ours]) - np.mean([table.mean() for table in theirs])
    assert found.difference.value == pytest.approx(expected)
    same = compare_seeds(ACCURACY, ours, ours, "rival")  # the same seeds and rows are drawn of both
    assert (same.difference.low, same.difference.high, same.outcome) == (0.0, 0.0, "inconclusive")
    with pytest.raises(ValueError, match="2 tables against 3 seeds"):
        compare_seeds(ACCURACY, ours, theirs[:2], "rival")


def test_the_interval_covers_the_true_mean_over_seeds() -> None:
    """Seeds whose true accuracy varies by .03, tested on 300 rows: about 95 % of intervals hold their mean."""
    inside = 0
    for run in range(120):
        draw = np.random.default_rng(run)
        shares = 0.8 + 0.03 * draw.standard_normal(8)
        tables = [right(share, 300, 1000 * run + i) for i, share in enumerate(shares)]
        found = over_seeds({"accuracy": [ACCURACY] * 8}, tables)["accuracy"]
        inside += found.low <= 0.8 <= found.high
    assert 0.86 <= inside / 120 <= 1


def test_lower_is_better_and_rows_without_a_target() -> None:
    ours, theirs = [right(0.1, 200, seed) for seed in range(3)], [right(0.4, 200, 7)]
    verdict = compare_seeds(ERROR, ours, theirs, "rival")
    assert verdict.outcome == "helped"
    assert verdict.difference.value > 0
    for table in ours:
        table[:50] = np.nan
    assert compare_seeds(ERROR, ours, theirs, "rival").difference.n == 150


def test_what_is_not_defined_is_left_out() -> None:
    nothing = Metric("nothing", lambda _table, _counts: float("nan"))
    assert over_seeds({"nothing": [nothing] * 2}, [right(0.5, 9, 0)] * 2) == {}
    assert compare_seeds(nothing, [right(0.5, 9, 0)] * 2, [right(0.5, 9, 1)], "x").outcome == "inconclusive"
