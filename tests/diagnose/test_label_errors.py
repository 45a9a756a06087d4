import numpy as np
import pytest

from ukulele.diagnose import doubted_classes, doubted_numbers, doubted_sets, label_errors

LABELS = ("ant", "bee", "cow")


def sure(classes: np.ndarray, seed: int = 0, k: int = 3) -> np.ndarray:
    """Probabilities that lie on the classes, more or less."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 0.5, (len(classes), k))
    logits[np.arange(len(classes)), classes] += 3.5
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_flipped_classes_are_found_and_their_own_class_is_suggested():
    truth = np.arange(300) % 3
    given = truth.copy()
    given[:12] = (truth[:12] + 1) % 3
    found = doubted_classes(given, sure(truth), LABELS)
    assert {one.row for one in found} == set(range(12))
    assert all(one.given == LABELS[given[one.row]] and one.suggested == LABELS[truth[one.row]] for one in found)
    scores = [one.score for one in found]
    assert scores == sorted(scores)
    assert scores[0] >= 0
    assert scores[-1] < 0.5


def test_a_class_without_rows_is_never_suggested():
    truth = np.arange(90) % 2
    given = truth.copy()
    given[:4] = 1 - truth[:4]
    found = doubted_classes(given, sure(truth), LABELS)
    assert {one.row for one in found} == set(range(4))
    assert {one.suggested for one in found} <= {"ant", "bee"}
    assert doubted_classes(np.zeros(5, np.intp), sure(np.zeros(5, int)), LABELS) == []


def test_a_missing_and_an_added_label_are_found():
    draw = np.random.default_rng(0)
    truth = draw.random((400, 3)) < 0.4
    probabilities = np.clip(np.where(truth, 0.92, 0.06) + draw.normal(0, 0.02, truth.shape), 0.01, 0.99)
    given = truth.copy()
    given[:6, 1] = ~truth[:6, 1]
    found = doubted_sets(given, probabilities, LABELS)
    assert {one.row for one in found} == set(range(6))
    for one in found:
        assert set(one.suggested) == {LABELS[i] for i in np.flatnonzero(truth[one.row])}
        assert set(one.given) == {LABELS[i] for i in np.flatnonzero(given[one.row])}


def test_numbers_far_from_what_is_expected_are_found():
    draw = np.random.default_rng(0)
    expected = draw.normal(3, 1, 500)
    given = expected + draw.normal(0, 0.2, 500)
    given[[7, 70]] += [4, -3]
    found = doubted_numbers(given, expected)
    assert [one.row for one in found] == [7, 70]
    assert found[0].suggested == pytest.approx(expected[7])
    assert found[0].score <= found[1].score < 1e-6
    assert doubted_numbers(np.ones(9), np.ones(9)) == []


def test_the_finding_warns_where_many_labels_are_doubted():
    assert label_errors("mood", [], 100) == []
    few, many = label_errors("mood", ["a.csv:3"], 100)[0], label_errors("mood", ["a.csv:3"] * 9, 100)[0]
    assert (few.severity, many.severity) == ("info", "warning")
    assert few.evidence["count"] == 1
    assert "a.csv:3" in few.message
    assert "suspects.csv" in few.advice
    weak = label_errors("mood", ["a.csv:3"] * 16, 100)[0]
    assert weak.severity == "info"
    assert "contradicts 16 of 100 labels of 'mood' (16.0%): more than are usually wrong" in weak.message
