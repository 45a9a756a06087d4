"""Estimates, verdicts and particulars."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukulele import diagnose, evaluate
from ukulele.tasks import Classify, MultiLabel, Regress


def sentiment(n: int, skill: float, seed: int = 0, noise: int = 1):
    truth = np.random.default_rng(seed).integers(0, 2, n)
    z = (2 * truth - 1) * skill + np.random.default_rng(noise).normal(size=n)
    p = 1 / (1 + np.exp(-z))
    task = Classify("mood", ("bad", "good"))
    return task, task.table(np.stack([1 - p, p], 1), [task.labels[i] for i in truth])


def test_estimates_hold_every_metric_with_an_interval_around_it() -> None:
    task, table = sentiment(500, 1.0)
    found = evaluate.estimates(task, table)
    assert list(found) == [m.name for m in task.metrics]
    for name, estimate in found.items():
        assert estimate.n == 500
        assert estimate.low < estimate.value < estimate.high, name
    width = found["accuracy"].high - found["accuracy"].low
    p = found["accuracy"].value
    assert width == pytest.approx(2 * 1.96 * np.sqrt(p * (1 - p) / 500), rel=0.1)
    assert evaluate.estimates(task, table) == found
    json.dumps(evaluate.plain(found), allow_nan=False)


def test_of_few_rows_no_share_is_certain() -> None:
    task = Classify("mood", ("bad", "good"))
    right = task.table(np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]), ["bad", "bad", "good"])
    found = evaluate.estimates(task, right)
    for name in ("accuracy", "macro_f1", "balanced_accuracy"):
        assert (found[name].value, found[name].high) == (1.0, 1.0)
        assert found[name].low == pytest.approx(0.2924, abs=1e-4)
        assert found[name].method.startswith("exact")
    same = evaluate.compare(task.metrics[0], right, right, "itself")
    assert same.outcome == "inconclusive"
    assert (same.difference.low, same.difference.high) == pytest.approx((-0.7076, 0.7076), abs=1e-4)


def test_where_few_are_wrong_an_accuracy_has_an_exact_interval() -> None:
    truth = np.arange(100) % 2
    for wrong, exact in ((0, True), (4, True), (5, False), (95, False), (96, True)):
        given = np.where(np.arange(100) < wrong, 1 - truth, truth)
        task = Classify("mood", ("bad", "good"))
        table = task.table(np.eye(2)[given] * 0.8 + 0.1, [task.labels[i] for i in truth])
        found = evaluate.estimates(task, table)["accuracy"]
        assert found.value == pytest.approx(1 - wrong / 100)
        assert found.method.startswith("exact") == exact
        assert 0.03 < found.high - found.low < 0.1


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    true = 0.8413  # of rows on the right side of 0 with a skill of 1
    hits = 0
    for seed in range(40):
        task, table = sentiment(200, 1.0, seed, 1000 + seed)
        estimate = evaluate.estimates(SimpleNamespace(metrics=task.metrics[:1]), table)["accuracy"]
        hits += estimate.low <= true <= estimate.high
    assert 33 <= hits <= 40


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 40), kind=st.sampled_from(["classify", "multilabel", "regress"]))
def test_an_estimate_lies_within_its_interval(seed: int, n: int, kind: str) -> None:
    draw = np.random.default_rng(seed)
    task: Any
    match kind:
        case "classify":  # with classes so rare that resamples lack them
            task = Classify("t", ("a", "b", "c", "d"))
            answers = draw.dirichlet(np.ones(4), n)
            truth = [task.labels[i] for i in draw.choice(4, n, p=[0.7, 0.2, 0.05, 0.05])]
        case "multilabel":
            task = MultiLabel("t", ("a", "b", "c"))
            answers = draw.random((n, 3))
            truth = [tuple(np.array(task.labels)[row]) for row in draw.random((n, 3)) < (0.6, 0.2, 0.05)]
        case _:
            task = Regress("t")
            answers, truth = draw.normal(size=n), draw.integers(0, 3, n).astype(float)
    for name, found in evaluate.estimates(task, task.table(list(answers), list(truth))).items():
        assert found.low <= found.value <= found.high, name


def test_the_interval_of_a_calibration_error_reaches_down_to_what_is_not_noise() -> None:
    z = np.random.default_rng(0).normal(size=100) * 1.5
    p = 1 / (1 + np.exp(-z))  # calibrated: all that is measured is noise
    task = Classify("t", ("a", "b"))
    truth = [task.labels[int(yes)] for yes in np.random.default_rng(1).random(100) < p]
    found = evaluate.estimates(task, task.table(np.stack([1 - p, p], 1), truth))["calibration_error"]
    assert 0 <= found.low < found.value < found.high
    assert "less what resampling adds" in found.method


def test_undefined_metrics_are_left_out_and_empty_tables_are_legal() -> None:
    task = Classify("mood", ("bad", "good"))
    found = evaluate.estimates(task, task.table([[0.9, 0.1], [0.6, 0.4]], ["bad", "bad"]))
    assert "roc_auc" not in found
    assert found["accuracy"].value == 1.0
    assert evaluate.estimates(task, task.table([[0.9, 0.1]], [None])) == {}


def test_compare_is_paired_and_signed_so_that_positive_is_better() -> None:
    task, ours = sentiment(1000, 1.5)
    _, theirs = sentiment(1000, 0.5)
    for metric in task.metrics[:5]:
        better, worse = evaluate.compare(metric, ours, theirs, "b"), evaluate.compare(metric, theirs, ours, "a")
        assert (better.outcome, worse.outcome) == ("helped", "hurt"), metric.name
        assert better.difference.value == pytest.approx(-worse.difference.value)
        assert better.difference.low > 0
    same = evaluate.compare(task.metrics[0], ours, ours, "itself")
    assert same.outcome == "inconclusive"
    assert same.difference.low == -same.difference.high  # a thousand rows alike do not say that none would differ
    assert 0 < same.difference.high < 0.005


def test_compare_refuses_tables_of_different_rows_and_survives_an_undefined_metric() -> None:
    task, table = sentiment(50, 1.0)
    with pytest.raises(ValueError, match="different rows"):
        evaluate.compare(task.metrics[0], table, table[1:], "x")
    alone = task.table([[0.9, 0.1]] * 3, ["bad"] * 3)
    area = next(m for m in task.metrics if m.name == "roc_auc")
    assert evaluate.compare(area, alone, alone, "x").outcome == "inconclusive"


def test_slices_give_figures_by_subgroup() -> None:
    task, table = sentiment(300, 1.0)
    found = evaluate.slices(task, table, ["en"] * 200 + ["de"] * 99 + [None], "language")
    assert [(s["value"], s["n"]) for s in found] == [("en", 200), ("de", 99), ("(empty)", 1)]
    assert found[0]["test"]["accuracy"]["value"] == pytest.approx((table[:200, 0] == table[:200, 1]).mean())
    json.dumps(found, allow_nan=False)


def test_values_without_figures_are_counted() -> None:
    values = [f"shop {number % 50}" for number in range(150)] + [f"kiosk {number % 30}" for number in range(40)]
    task, table = sentiment(190, 1.0)
    left = evaluate.left_out(values, "shop")
    assert left == {"column": "shop", "values": 80, "shown": 50, "rows": 40}
    assert sum(part["n"] for part in evaluate.slices(task, table, values, "shop")) + left["rows"] == 190
    (found,) = diagnose.slices_left_out(left)
    assert found.message == "50 of 80 values of 'shop' have figures; the other 30 hold 40 rows."
    assert diagnose.slices_left_out({**left, "values": 51, "rows": 1}, "mood")[0].message == (
        "mood: 50 of 51 values of 'shop' have figures; the other 1 holds 1 row."
    )
    assert evaluate.left_out(values[:150], "shop") is None


def test_details_of_one_class() -> None:
    task = Classify("t", ("a", "b", "c"))
    answers = [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.9, 0.0], [0.2, 0.7, 0.1]]
    truth = ["a", "b", "b", None]
    found = evaluate.details(task, task.table(answers, truth), answers)
    assert found["confusion"]["counts"] == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert found["per_class"][0] == {"label": "a", "n": 1, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)}
    assert found["per_class"][2] == {"label": "c", "n": 0, "precision": None, "recall": None, "f1": None}
    assert sum(b["n"] for b in found["calibration"]["bins"]) == 3
    json.dumps(found, allow_nan=False)
    assert evaluate.mistakes(task, answers, truth, 5) == [{"row": 1, "truth": "b", "answer": "a", "confidence": 0.6}]


def test_details_of_several_labels_and_of_a_number() -> None:
    several = MultiLabel("t", ("x", "y"))
    answers, truth = [[0.9, 0.2], [0.6, 0.7], [0.1, 0.1]], [("x",), (), None]
    found = evaluate.details(several, several.table(answers, truth), answers)
    assert [c["precision"] for c in found["per_class"]] == [0.5, 0.0]
    worst = evaluate.mistakes(several, answers, truth, 5)
    assert worst == [{"row": 1, "truth": [], "answer": ["x", "y"], "confidence": None}]
    number = Regress("t")
    assert evaluate.details(number, number.table([1.0, 2.0], [1.5, None]), [1.0, 2.0]) == {"scatter": [[1.5, 1.0]]}
    assert [m["row"] for m in evaluate.mistakes(number, [1.0, 5.0, 3.0], [1.5, 1.0, 3.0], 5)] == [1, 0]


@pytest.mark.slow
def test_a_large_table_is_drawn_less_often() -> None:
    generator = np.random.default_rng(0)
    n, classes = 30_000, 77
    task = Classify("t", tuple(map(str, range(classes))))
    p = generator.dirichlet(np.ones(classes), n)
    table = task.table(p, [str(i) for i in generator.integers(0, classes, n)])
    found = evaluate.estimates(task, table)
    assert "200 draws" in found["accuracy"].method
