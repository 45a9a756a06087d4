"""The metrics against scikit-learn and scipy on rows repeated as often as the counts say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from ukulele.errors import DataError, PlanError
from ukulele.tasks import Classify, MultiLabel, Regress


def ints(n: int, high: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, n)


def values_of(task, table, counts) -> dict[str, float]:
    return {metric.name: metric.value(table, counts) for metric in task.metrics}


@pytest.mark.parametrize("classes", [2, 3, 7])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_classification_matches_sklearn_on_repeated_rows(classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    n = 60
    labels = tuple(f"c{i}" for i in range(classes))
    truth = np.concatenate([np.arange(classes), generator.integers(0, classes, n - classes)])
    p = np.round(generator.dirichlet(np.ones(classes), n), 1) + 0.01  # coarse, for many ties
    p /= p.sum(1, keepdims=True)
    counts = generator.integers(0, 4, n)
    counts[:classes] = 1
    task = Classify("t", labels)
    found = values_of(task, task.table(list(p), [labels[i] for i in truth]), counts)

    rows = np.repeat(np.arange(n), counts)
    y, q = truth[rows], p[rows]
    answer = q.argmax(1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, answer))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, answer))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, answer, average="macro"))
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, q, labels=range(classes)))
    area = sk.roc_auc_score(y, q[:, 1]) if classes == 2 else sk.roc_auc_score(y, q, multi_class="ovr")
    assert found["roc_auc"] == pytest.approx(area)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["two", "classes", "labels", "number"]))
def test_many_draws_at_once_are_the_same_as_one_by_one(seed: int, kind: str) -> None:
    draw = np.random.default_rng(seed)
    n = int(draw.integers(1, 25))
    match kind:
        case "labels":
            task, answers = MultiLabel("t", ("a", "b", "c")), draw.random((n, 3))
            truth = [tuple(np.array(task.labels)[row]) for row in draw.random((n, 3)) < 0.3]
        case "number":
            task, answers = Regress("t"), np.round(draw.normal(size=n), 1)
            truth = np.round(draw.normal(size=n)).tolist()
        case _:
            task = Classify("t", ("a", "b") if kind == "two" else ("a", "b", "c", "d"))
            answers = np.round(draw.dirichlet(np.ones(len(task.labels)), n), 1) + 0.01
            answers /= answers.sum(1, keepdims=True)
            truth = [task.labels[i] for i in draw.integers(0, len(task.labels), n)]
    truth = [None if draw.random() < 0.2 else value for value in truth]
    table, counts = task.table(list(answers), truth), draw.integers(0, 3, (30, n)).astype(float)
    counts[0] = 0
    for metric in task.metrics:
        one = [metric.value(table, drawn) for drawn in counts]
        np.testing.assert_allclose(metric.many(table, counts), one, rtol=1e-12, atol=1e-12, err_msg=metric.name)


def test_calibration_error_by_hand() -> None:
    task = Classify("t", ("a", "b"))
    table = task.table([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7]], ["a", "b", "b"])
    found = values_of(task, table, np.array([1, 1, 2]))["calibration_error"]
    assert found == pytest.approx(2 / 4 * abs(0.9 - 0.5) + 2 / 4 * abs(0.7 - 1.0))


def test_calibration_error_of_labels_by_hand() -> None:
    task = MultiLabel("t", ("a", "b"))
    table = task.table([[0.9, 0.1], [0.9, 0.5], [0.3, 0.1]], [("a",), ("b",), ()])
    found = values_of(task, table, np.array([1, 1, 2]))["calibration_error"]
    gaps = [2 * 0.9 - 1, 0.5 - 1, 2 * 0.3 - 0, 3 * 0.1 - 0]  # of 8 labels of rows, in four bins
    assert found == pytest.approx(sum(map(abs, gaps)) / 8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_multilabel_matches_sklearn_on_repeated_rows(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n, labels = 40, ("x", "y", "z", "never")
    marks = generator.integers(0, 2, (n, 4))
    p = np.round(generator.uniform(0.05, 0.94, (n, 4)), 1) + 0.005  # coarse, for many ties
    marks[:, 3], p[:, 3] = 0, 0.1  # neither there nor given: left out
    counts = generator.integers(0, 4, n)
    counts[0] = 1
    task = MultiLabel("t", labels)
    truth = [tuple(label for label, yes in zip(labels, row, strict=True) if yes) for row in marks]
    found = values_of(task, task.table(list(p), truth), counts)

    rows = np.repeat(np.arange(n), counts)
    y, given_ = marks[rows], (p[rows] >= 0.5).astype(int)
    assert found["micro_f1"] == pytest.approx(sk.f1_score(y, given_, average="micro"))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, given_, average="macro", zero_division=np.nan))
    assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(y, given_))
    losses = [sk.log_loss(y[:, i], p[rows, i], labels=[0, 1]) for i in range(4)]
    assert found["log_loss"] == pytest.approx(np.mean(losses))
    both = [i for i in range(4) if 0 < y[:, i].sum() < len(y)]
    areas = [sk.roc_auc_score(y[:, i], p[rows, i]) for i in both]
    assert found["roc_auc"] == pytest.approx(np.mean(areas) if areas else np.nan, nan_ok=True)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_regression_matches_sklearn_and_scipy_on_repeated_rows(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n = 50
    truth = np.round(generator.normal(3, 2, n), 0) + np.arange(n) % 3
    answer = np.round(truth + generator.normal(0, 1, n), 1)
    counts = generator.integers(0, 4, n)
    counts[:5] = 1
    task = Regress("t")
    found = values_of(task, task.table(answer.tolist(), truth.tolist()), counts)

    rows = np.repeat(np.arange(n), counts)
    y, a = truth[rows], answer[rows]
    assert found["r2"] == pytest.approx(sk.r2_score(y, a))
    assert found["rmse"] == pytest.approx(math.sqrt(sk.mean_squared_error(y, a)))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, a))
    assert found["pearson"] == pytest.approx(stats.pearsonr(y, a).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(y, a).statistic)


def test_a_class_absent_from_a_resample_is_left_out() -> None:
    task = Classify("t", ("a", "b", "c"))
    p = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]])
    found = values_of(task, task.table(list(p), ["a", "b", "c"]), np.array([2, 1, 0]))
    assert found["balanced_accuracy"] == found["macro_f1"] == found["roc_auc"] == 1.0
    alone = values_of(task, task.table(list(p), ["a", "b", "c"]), np.array([3, 0, 0]))
    assert math.isnan(alone["roc_auc"])
    assert alone["accuracy"] == 1.0


def test_rows_without_a_true_value_count_for_nothing() -> None:
    cases = [
        (Classify("t", ("a", "b")), [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], ["a", "b", None]),
        (MultiLabel("t", ("a", "b")), [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], [("a",), ("a", "b"), None]),
        (Regress("t"), [1.0, 2.5, 7.0], [1.0, 2.0, None]),
    ]
    for task, answers, truth in cases:
        whole = values_of(task, task.table(answers, truth), np.ones(3))
        part = values_of(task, task.table(answers[:2], truth[:2]), np.ones(2))
        assert whole == pytest.approx(part, nan_ok=True)
        assert all(math.isnan(v) for v in values_of(task, task.table(answers[2:], [None]), np.ones(1)).values())


def test_constant_answers_have_no_correlation_rather_than_nan() -> None:
    task = Regress("t")
    found = values_of(task, task.table([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]), np.ones(3))
    assert found["pearson"] == found["spearman"] == 0.0
    assert math.isnan(values_of(task, task.table([1.0, 2.0], [5.0, 5.0]), np.ones(2))["r2"])


def test_the_chosen_metric_comes_first_and_an_unknown_one_is_refused() -> None:
    assert Classify("t", ("a", "b"), metric="roc_auc").metrics[0].name == "roc_auc"
    directions = {m.name: m.higher_is_better for m in Classify("t", ("a", "b")).metrics}
    assert [name for name, up in directions.items() if not up] == ["log_loss", "calibration_error"]
    several = MultiLabel("t", ("a", "b"), metric="roc_auc").metrics
    assert several[0].name == "roc_auc"
    assert [metric.name for metric in several if not metric.higher_is_better] == ["log_loss", "calibration_error"]
    with pytest.raises(PlanError, match="unknown metric 'acc'") as caught:
        _ = Classify("t", ("a", "b"), metric="acc").metrics
    assert "accuracy" in caught.value.hint


def test_an_unknown_label_names_the_nearest() -> None:
    with pytest.raises(DataError, match="'postive'") as caught:
        Classify("mood", ("negative", "positive")).table([[0.5, 0.5]], ["postive"])
    assert "'positive'" in caught.value.hint
