"""Rows that come in groups: intervals, comparisons and tests go by groups."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ukulele import evaluate
from ukulele.evaluate import Compared, Groups, compare, compare_seeds, delta_m, over_seeds
from ukulele.evaluate.grouped import flipped
from ukulele.evaluate.tests import p_of_draws
from ukulele.tasks import Classify, Regress
from ukulele.tools.bootstrap import resamples

TASK = Classify("mood", ("bad", "good"))
ACCURACY = TASK.metrics[0]


def right(hits: np.ndarray) -> np.ndarray:
    """A table of rows of which some are right."""
    return TASK.table(np.where(hits[:, None], [[0.2, 0.8]], [[0.8, 0.2]]), ["good"] * len(hits))


def drawn(groups: int, rows: int, seed: int, mean: float = 0.8, spread: float = 0.12) -> np.ndarray:
    """Which rows are right, group by group: each group has an accuracy of its own."""
    draw = np.random.default_rng(seed)
    own = np.clip(draw.normal(mean, spread, groups), 0, 1)
    return draw.random(groups * rows) < np.repeat(own, rows)


def by(groups: int, rows: int) -> np.ndarray:
    return np.repeat(np.arange(groups), rows)


def test_a_draw_is_of_whole_groups():
    groups = np.array([2, 0, 1, 0, 2, 2])
    draws = np.stack(list(resamples(6, 50, 1, groups)))
    assert (draws[:, [0]] == draws[:, [4, 5]]).all()
    assert (draws[:, 1] == draws[:, 3]).all()
    assert (draws[:, 0] + draws[:, 1] + draws[:, 2] == 3).all()
    assert np.array_equal(draws, np.stack(list(resamples(6, 50, 1, groups))))


@pytest.mark.parametrize("groups", [8, 20])
def test_intervals_by_group_hold_the_truth_where_those_by_row_do_not(groups):
    hits = {"groups": 0, "rows": 0}
    for seed in range(40):
        table = right(drawn(groups, 25, seed, 0.6, 0.2))
        for what, of in (("groups", by(groups, 25)), ("rows", None)):
            found = evaluate.decisive(TASK, table, of)
            hits[what] += found.low <= 0.6 <= found.high
    assert hits["groups"] >= 0.85 * 40
    assert hits["rows"] < 0.75 * 40


def test_no_difference_between_groups_is_seldom_called_one():
    called = {"groups": 0, "rows": 0}
    for seed in range(30):
        ours, theirs = (right(drawn(8, 25, 2 * seed + side, 0.6, 0.2)) for side in (0, 1))
        for what, of in (("groups", by(8, 25)), ("rows", None)):
            called[what] += compare(ACCURACY, ours, theirs, "x", of).outcome != "inconclusive"
    assert called["groups"] <= 3
    assert called["rows"] >= 8


def test_groups_of_one_row_are_rows_and_the_names_of_groups_are_nothing():
    table, other = right(drawn(20, 5, 0)), right(drawn(20, 5, 1))
    alone = np.random.default_rng(0).permutation(100)
    assert evaluate.estimates(TASK, table, alone) == evaluate.estimates(TASK, table)
    assert compare(ACCURACY, table, other, "x", alone) == compare(ACCURACY, table, other, "x")
    names = np.array([f"speaker {99 - number}" for number in by(20, 5)])
    found = evaluate.estimates(TASK, table, names)["accuracy"]
    assert found.groups == 20
    assert found.method == "percentile bootstrap over 20 groups of rows, widened by 10 %, 1,000 draws, 95 %"
    assert found.value == evaluate.estimates(TASK, table)["accuracy"].value


def test_every_metric_lies_within_its_interval_and_that_within_what_it_can_be():
    for seed in range(10):
        table = right(drawn(4, 12, seed, 0.9))
        for name, found in evaluate.estimates(TASK, table, by(4, 12)).items():
            assert 0 <= found.low <= found.value <= found.high, name
            assert found.high <= 1 or name == "log_loss", name
    number, draw = Regress("stars"), np.random.default_rng(0)
    found = evaluate.estimates(number, number.table(list(draw.normal(size=60)), list(draw.normal(size=60))), by(5, 12))
    assert found["r2"].low < 0 < found["rmse"].low


def test_nothing_but_right_answers_are_as_many_as_there_are_groups():
    found = evaluate.estimates(TASK, right(np.ones(100, bool)), by(5, 20))["accuracy"]
    assert (found.value, found.high, found.groups) == (1.0, 1.0, 5)
    assert found.low == pytest.approx(0.025 ** (1 / 5))
    assert found.method.startswith("exact (Clopper, Pearson) of 5 groups")
    few = np.ones(100, bool)
    few[[3, 40]] = False
    rows, groups = (evaluate.estimates(TASK, right(few), of)["accuracy"] for of in (None, by(5, 20)))
    assert groups.low <= rows.low
    assert groups.high >= rows.high


def test_rows_without_a_true_value_take_their_group_out():
    table = TASK.table([[0.2, 0.8]] * 6, ["good", "bad", None, "good", "bad", "good"])
    found = evaluate.estimates(TASK, table, [0, 0, 1, 2, 2, 2])["accuracy"]
    assert (found.n, found.groups) == (5, 2)


def test_few_groups_that_part_two_models_are_told_by_flipped_signs():
    hits = np.ones(200, bool)
    hits[:40] = False  # in 2 of 10 groups: 40 rows would convince McNemar
    found = compare(ACCURACY, right(np.ones(200, bool)), right(hits), "control", by(10, 20))
    assert found.test == "sign flips of groups"
    assert found.p == pytest.approx(0.5)
    assert found.outcome == "inconclusive"
    assert found.difference.groups == 10
    assert compare(ACCURACY, right(np.ones(200, bool)), right(hits), "control").outcome == "helped"
    everywhere = drawn(10, 20, 0, 0.7, 0.05)
    found = compare(ACCURACY, right(np.ones(200, bool)), right(everywhere), "control", by(10, 20))
    assert found.p == pytest.approx(2 / 2**10)
    assert found.outcome == "helped"


def test_flipped_signs_are_exact_of_few_and_drawn_of_many():
    assert flipped(np.full(6, 1.0)) == pytest.approx(2 / 2**6)
    assert flipped(np.array([5.0, 1, 1, 1, 1])) == pytest.approx(2 / 2**5)
    draw = np.random.default_rng(0)
    many = draw.normal(0.3, 1, 40)
    z = many.sum() / math.sqrt((many**2).sum())
    assert flipped(many) == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=0.02)


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_of_fewer_than_six_groups_no_model_is_better(groups):
    ours, theirs = right(np.ones(200, bool)), right(np.arange(200) % 3 > 0)
    of = by(groups, 200 // groups)
    every = [compare(metric, ours, theirs, "x", of) for metric in TASK.metrics if metric.name != "roc_auc"]
    every.append(compare_seeds(ACCURACY, [ours, ours], [theirs], "x", of))
    assert {one.outcome for one in every} == {"inconclusive"}
    assert all(one.difference.groups == groups for one in every if one.difference.high != one.difference.low)


def test_losses_are_told_apart_by_a_p_for_so_few_groups():
    loss = next(metric for metric in TASK.metrics if metric.name == "log_loss")
    ours, theirs = right(drawn(20, 20, 0, 0.9)), right(drawn(20, 20, 1, 0.6))
    found = compare(loss, ours, theirs, "x", by(20, 20))
    assert found.test == "paired bootstrap over groups"
    assert found.outcome == "helped"
    of, draws = Groups.of(by(8, 2)), np.array([1.0] * 990 + [-1.0] * 10)
    assert p_of_draws(draws) < of.p(p_of_draws(draws)) < 0.1


def test_seeds_and_groups_are_drawn_together():
    tables = [right(drawn(12, 30, 7)), right(drawn(12, 30, 8))]
    rows, groups = (over_seeds({"accuracy": [ACCURACY] * 2}, tables, of)["accuracy"] for of in (None, by(12, 30)))
    assert groups.value == rows.value
    assert groups.high - groups.low > 1.3 * (rows.high - rows.low)
    assert "over seeds and 12 groups of rows, widened by 17 %" in groups.method
    found = compare_seeds(ACCURACY, tables, [right(drawn(12, 30, 9, 0.3))], "x", by(12, 30))
    assert found.test == "paired bootstrap over seeds and groups"
    assert found.outcome == "helped"


def test_the_mean_over_tasks_is_drawn_by_group_also_where_tasks_share_some():
    groups, hits = by(10, 20), [drawn(10, 20, seed) for seed in range(4)]
    first, second = np.arange(120), np.arange(100, 200)  # group 5 has rows of both
    pairs = [
        Compared(ACCURACY, right(hits[0][first]), right(hits[1][first]), first, "mood"),
        Compared(ACCURACY, right(hits[2][second]), right(hits[3][second]), second, "topic"),
    ]
    blocks = [np.arange(100), np.arange(100, 120), np.arange(120, 200)]
    rows, found = delta_m(pairs, 200, blocks), delta_m(pairs, 200, blocks, groups)
    assert found.value == rows.value
    assert found.high - found.low > 1.3 * (rows.high - rows.low)
    assert found.groups == 5  # of the task that has the fewest
    assert "over 5 groups of rows, widened by 58 %" in found.method
    assert delta_m(pairs, 200, blocks, np.arange(200)) == rows


def test_slices_keep_the_groups_of_their_rows():
    table = right(drawn(10, 10, 3))
    found = evaluate.slices(TASK, table, ["a"] * 60 + ["b"] * 40, "part", by(10, 10))
    assert [one["test"]["accuracy"]["groups"] for one in found] == [6, 4]
    alone = evaluate.slices(TASK, table, by(10, 10), "speaker", by(10, 10))
    assert all(one["test"]["accuracy"]["groups"] == 1 for one in alone)


def test_the_share_that_sets_hold_has_no_range_where_rows_come_in_groups():
    draw = np.random.default_rng(3)
    told = evaluate.coverage(draw.random(300), draw.random(150), 0.95, grouped=True)
    assert told["covered"] > 0.9
    assert (told["low"], told["high"], told["inside"]) == (None, None, None)
