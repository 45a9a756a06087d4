import numpy as np
import pytest
from scipy.stats import betabinom

from ukulele.evaluate import coverage, reach, sets, strangeness
from ukulele.tasks import Classify, MultiLabel, Regress

LABELS = ("a", "b", "c")


def answers_of(truth: np.ndarray, seed: int, sharp: float = 1.5) -> np.ndarray:
    """Probabilities of a middling model."""
    logits = np.random.default_rng(seed).normal(0, 1, (len(truth), 3))
    logits[np.arange(len(truth)), truth] += sharp
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_sets_of_classes_hold_the_truth_as_often_as_promised():
    task, draw = Classify("mood", LABELS), np.random.default_rng(0)
    hits = []
    for seed in range(200):
        truth = draw.integers(0, 3, 400)
        answers, values = answers_of(truth, seed), [LABELS[i] for i in truth]
        limit = reach(strangeness(task, answers[:200], values[:200]), 0.9)
        found = sets(task, answers[200:], limit)
        hits += [value in one["set"] for value, one in zip(values[200:], found, strict=True)]
    assert np.mean(hits) == pytest.approx(0.9, abs=0.005)


def test_an_answer_is_given_where_one_label_is_left():
    task = Classify("mood", LABELS)
    sure, torn, lost = sets(task, [[0.9, 0.05, 0.05], [0.5, 0.45, 0.05], [0.34, 0.33, 0.33]], 0.6)
    assert sure == {"set": ["a"], "abstained": False}
    assert torn == {"set": ["a", "b"], "abstained": True}
    assert lost == {"set": [], "abstained": True}


def test_sets_of_labels_hold_all_labels_as_often_as_promised():
    task, draw = MultiLabel("marks", LABELS), np.random.default_rng(1)
    hits = []
    for _ in range(200):
        marks = draw.random((400, 3)) < 0.4
        answers = 1 / (1 + np.exp(-(draw.normal(0, 1, marks.shape) + np.where(marks, 1.5, -1.5))))
        values = [tuple(np.array(LABELS)[row]) for row in marks]
        limit = reach(strangeness(task, answers[:200], values[:200]), 0.9)
        for value, one in zip(values[200:], sets(task, answers[200:], limit), strict=True):
            hits.append(set(one["certain"]) <= set(value) <= {*one["certain"], *one["possible"]})
            assert one["abstained"] == bool(one["possible"])
    assert np.mean(hits) >= 0.89


def test_intervals_of_numbers_hold_the_truth_as_often_as_promised():
    task, draw = Regress("stars"), np.random.default_rng(2)
    hits = []
    for _ in range(200):
        truth = draw.normal(3, 1, 400)
        answers = truth + draw.standard_t(3, 400)
        found = sets(task, answers[200:], reach(strangeness(task, answers[:200], truth[:200]), 0.95))
        hits += [one["low"] <= value <= one["high"] for value, one in zip(truth[200:], found, strict=True)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.005)


def test_the_interval_of_coverage_is_that_of_its_sizes():
    draw = np.random.default_rng(3)
    inside, low, high = [], 0.0, 0.0
    for _ in range(400):
        told = coverage(draw.random(300), draw.random(150), 0.95)
        inside.append(told["inside"])
        low, high = told["low"], told["high"]
    assert np.mean(inside) >= 0.975
    assert (low, high) == tuple(betabinom.ppf([0.005, 0.995], 300, 144, 7) / 300)
    assert not coverage(np.linspace(0, 1, 300), np.linspace(0, 0.5, 150), 0.95)["inside"]


def test_too_few_rows_promise_nothing():
    assert reach(np.zeros(18), 0.95) == float("inf")
    assert reach(np.arange(19.0), 0.95) == 18.0
