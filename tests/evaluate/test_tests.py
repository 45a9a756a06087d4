import numpy as np
import pytest
from scipy.stats import binom

from ukulele.evaluate import compare, holm
from ukulele.evaluate.tests import FEW, mcnemar
from ukulele.tasks import Classify
from ukulele.types import Estimate, Verdict


def verdict(name, p, outcome="helped"):
    return Verdict(outcome, name, "accuracy", Estimate(0.1, 0.05, 0.15, 100, ""), p)


def test_the_exact_test_is_that_of_a_fair_coin():
    ours, theirs = np.ones(20, bool), np.ones(20, bool)
    ours[:3], theirs[5:15] = False, False
    assert mcnemar(ours, theirs) == pytest.approx(2 * binom.cdf(3, 13, 0.5))
    many = np.zeros(400, bool)
    many[: FEW + 1] = True
    assert mcnemar(many, np.zeros(400, bool)) is None


def test_holm_adjusts_for_the_number_of_comparisons():
    found = holm([verdict("a", 0.03), verdict("b", 0.001), verdict("c", None, "inconclusive"), verdict("d", 0.02)])
    assert [one.p_adjusted for one in found] == [pytest.approx(0.04), pytest.approx(0.003), None, pytest.approx(0.04)]
    assert {one.comparisons for one in found if one.p is not None} == {3}
    worse = holm([verdict("a", 0.03), verdict("b", 0.03)])
    assert [one.outcome for one in worse] == ["inconclusive", "inconclusive"]
    assert [one.p_adjusted for one in worse] == [pytest.approx(0.06)] * 2


def test_few_discordant_rows_are_told_by_the_exact_test():
    task = Classify("mood", ("a", "b"))
    truth = ["a"] * 40
    ours = task.table([[0.9, 0.1]] * 40, truth)
    theirs = task.table([[0.1, 0.9]] * 5 + [[0.9, 0.1]] * 35, truth)
    found = compare(task.metrics[0], ours, theirs, "control")
    assert found.test == "exact McNemar"
    assert found.p == pytest.approx(2 * 0.5**5)
    assert found.outcome == "inconclusive"
    theirs = task.table([[0.1, 0.9]] * 9 + [[0.9, 0.1]] * 31, truth)
    assert compare(task.metrics[0], ours, theirs, "control").outcome == "helped"


def test_no_difference_is_seldom_called_one():
    task, draw, called = Classify("mood", ("a", "b")), np.random.default_rng(0), 0
    for _ in range(60):
        truth = ["a"] * 150
        one, two = (
            task.table([[0.9, 0.1] if hit else [0.1, 0.9] for hit in draw.random(150) < 0.7], truth) for _ in "ab"
        )
        called += compare(task.metrics[0], one, two, "x").outcome != "inconclusive"
    assert called <= 7
