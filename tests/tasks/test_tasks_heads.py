"""Heads, decoding, and tasks as plain data."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from ukulele.errors import PlanError
from ukulele.tasks import Classify, MultiLabel, Regress, dump, load, make
from ukulele.tasks.decoding import Temperature, Thresholds, fit_temperature, fit_thresholds
from ukulele.tasks.heads import BinaryCrossEntropy, CrossEntropy, Linear, SparseLinear, SquaredError
from ukulele.tools.collate import collate
from ukulele.types import Field, Target

TASKS = [
    (Classify("t", ("a", "b", "c")), ["a", None, "c"]),
    (MultiLabel("t", ("a", "b", "c")), [("a", "c"), None, ()]),
    (Regress("t", mean=10.0, scale=2.0), [12.0, None, 9.0]),
]


def head_of(task, width: int = 4) -> Linear:
    criteria = {
        "classify": lambda: (len(task.labels), CrossEntropy()),
        "multilabel": lambda: (len(task.labels), BinaryCrossEntropy()),
        "regress": lambda: (1, SquaredError(task.mean, task.scale)),
    }
    return Linear(width, *criteria[task.kind]())


@pytest.mark.parametrize(("task", "values"), TASKS, ids=lambda v: getattr(v, "kind", ""))
def test_missing_targets_count_for_nothing_and_give_no_gradient(task, values) -> None:
    torch.manual_seed(0)
    head, live = head_of(task), {"pooled": torch.randn(3, 4, requires_grad=True)}
    torch.nn.init.normal_(head.linear.weight)
    loss = head.loss(live, collate([task.target(v) for v in values], task.fields))
    assert loss.counts.tolist() == [1, 0, 1]
    assert loss.sums[1] == 0
    loss.sums.sum().backward()
    gradient = live["pooled"].grad
    assert gradient.isfinite().all()
    assert (gradient[1] == 0).all()
    assert (gradient[0] != 0).any()


@pytest.mark.parametrize(("task", "values"), TASKS, ids=lambda v: getattr(v, "kind", ""))
def test_a_fresh_head_answers_evenly_and_decodes(task, values) -> None:
    head = head_of(task)
    answers = task.decode(head.predict({"pooled": torch.randn(3, 4)}, task.decoding))
    expected = {"classify": [1 / 3] * 3, "multilabel": [0.5] * 3, "regress": 10.0}[task.kind]
    for answer in answers:
        assert np.asarray(answer) == pytest.approx(np.asarray(expected))
    assert task.table(answers, values).shape[0] == 3
    json.dumps(task.plain(answers))


def test_a_head_works_in_float32_under_autocast() -> None:
    head = head_of(TASKS[0][0])
    with torch.autocast("cpu", torch.bfloat16):
        assert head({"pooled": torch.randn(2, 4).bfloat16()}).dtype == torch.float32


def test_a_sparse_head_equals_the_dense_one() -> None:
    torch.manual_seed(0)
    dense, sparse = Linear(6, 3, CrossEntropy()), SparseLinear(6, 3, CrossEntropy())
    torch.nn.init.normal_(dense.linear.weight)
    sparse.load_state_dict(dense.state_dict())
    rows = [
        {"index": torch.tensor([0, 5]), "value": torch.tensor([0.5, 2.0])},
        {"index": torch.tensor([3]), "value": torch.tensor([1.0])},
    ]
    live = collate(rows, {"index": Field("term"), "value": Field("term")})
    x = torch.tensor([[0.5, 0, 0, 0, 0, 2.0], [0, 0, 0, 1.0, 0, 0]])
    torch.testing.assert_close(sparse(live), dense({"pooled": x}))
    sparse.loss(live, {"label": torch.tensor([0, 1])}).sums.sum().backward()
    dense.loss({"pooled": x}, {"label": torch.tensor([0, 1])}).sums.sum().backward()
    torch.testing.assert_close(sparse.linear.weight.grad, dense.linear.weight.grad)


def test_class_weights_multiply_the_loss() -> None:
    head, live = Linear(2, 2, CrossEntropy((1.0, 3.0))), {"pooled": torch.ones(2, 2)}
    sums = head.loss(live, {"label": torch.tensor([0, 1])}).sums
    plain = cross_entropy(torch.zeros(1, 2), torch.tensor([0]))
    torch.testing.assert_close(sums, torch.stack([plain, 3 * plain]))


def test_making_a_head_draws_no_random_numbers() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    head_of(TASKS[0][0])
    assert torch.equal(before, torch.get_rng_state())


def test_temperature_recovers_what_the_logits_were_multiplied_by() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 4)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([generator.choice(4, p=row) for row in p])
    assert fit_temperature(logits * 3, labels).value == pytest.approx(3, rel=0.05)


def test_temperature_stays_finite_when_all_is_right_or_nothing_is_there() -> None:
    logits = np.eye(3) * 5
    assert 0.05 < fit_temperature(logits, np.arange(3)).value < 1
    assert fit_temperature(np.empty((0, 3)), np.empty(0, np.intp)) == Temperature(1.0)


def drawn_labels(rows: int) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Logits of three labels, and labels drawn with those probabilities."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(rows, 3)) * 2 - 1
    marks = generator.random((rows, 3)) < 1 / (1 + np.exp(-logits))
    return logits, [tuple(np.array(["a", "b", "c"])[row]) for row in marks]


@pytest.mark.parametrize("metric", ["micro_f1", "macro_f1", "subset_accuracy"])
def test_one_temperature_for_all_labels_and_thresholds_at_it(metric: str) -> None:
    logits, truth = drawn_labels(8_000)
    task = MultiLabel("t", ("a", "b", "c"), metric)
    plain, sharp = task.tuned(list(logits), [*truth[:-1], None]), task.tuned(list(3 * logits), [*truth[:-1], None])
    assert plain.decoding.value == pytest.approx(1, rel=0.05)
    assert sharp.decoding.value == pytest.approx(3, rel=0.05)
    ours, theirs = np.array(sharp.decode(list(3 * logits))), np.array(plain.decode(list(logits)))
    assert np.abs(ours - theirs).max() < 1e-3
    assert (sharp.chosen(ours) == plain.chosen(theirs)).all()


def test_the_temperature_of_labels_stays_finite_when_all_is_right_or_nothing_is_there() -> None:
    task = MultiLabel("t", ("a", "b"))
    right = task.tuned([np.array([5.0, -5.0])] * 3, [("a",)] * 3)
    assert 0.05 < right.decoding.value < 1
    assert task.tuned([], []).decoding == Thresholds((0.5, 0.5))


def test_thresholds_maximise_f1_and_split_no_ties() -> None:
    p = np.array([[0.9], [0.4], [0.4], [0.1]])
    truth = np.array([[True], [True], [False], [False]])
    (threshold,) = fit_thresholds(p, truth).values
    assert threshold == pytest.approx(0.25)  # F1 .8 with both rows of .4, against .667 with the first row alone
    assert fit_thresholds(p, np.zeros((4, 1), bool)) == Thresholds((0.5,))


METRICS = {metric.name: metric for metric in MultiLabel("t", ("a", "b", "c")).metrics}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), name=st.sampled_from(["micro_f1", "macro_f1", "subset_accuracy"]))
def test_thresholds_are_the_best_there_are_for_the_metric_that_decides(seed: int, name: str) -> None:
    draw = np.random.default_rng(seed)
    task = MultiLabel("t", ("a", "b", "c"), name)
    p = draw.choice([0.1, 0.3, 0.5, 0.7, 0.9], (8, 3))
    marks = draw.random((8, 3)) < 0.4
    marks[draw.integers(8)] = True  # each label is there
    truth = [tuple(np.array(task.labels)[row]) for row in marks]

    def score(thresholds) -> float:
        tried = replace(task, decoding=Thresholds(tuple(thresholds)))
        return METRICS[name].value(tried.table(list(p), truth), np.ones(8))

    tuned = fit_thresholds(p, marks, name).values
    found, grid = score(tuned), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    if name == "subset_accuracy":  # climbed to: no other threshold of a label alone is better, nor any constant set
        assert found >= np.unique(marks, axis=0, return_counts=True)[1].max() / 8
        others = [(*tuned[:at], other, *tuned[at + 1 :]) for at in range(3) for other in grid]
        assert found >= max(map(score, others))
    else:
        assert found == pytest.approx(max(score(thresholds) for thresholds in product(grid, repeat=3)))


@pytest.mark.parametrize("metric", ["micro_f1", "subset_accuracy"])
def test_the_best_constant_answer_is_not_every_label(metric: str) -> None:
    task = MultiLabel("t", ("usual", "rare", "other"), metric)
    truth = [("usual",)] * 6 + [("rare",), ("other",)]
    raw = [np.array([1.0, -2.0, -2.0])] * 8
    tuned = task.tuned(raw, truth)
    assert tuned.chosen(tuned.decode(raw)).tolist() == [[True, False, False]] * 8


def test_a_label_that_no_training_row_has_is_never_given() -> None:
    task = make(Target("t", "multilabel", ("a", "new")), [("a",), ()], metric="macro_f1")
    assert task.unseen == ("new",)
    tuned = task.tuned([np.array([3.0, 9.0])] * 2, [("a", "new"), ("new",)])
    assert tuned.plain(tuned.decode([np.array([3.0, 99.0])]))[0]["labels"] == ["a"]
    assert load(json.loads(json.dumps(dump(tuned)))) == tuned
    assert make(Target("t", "multilabel", ("a", "new"))).unseen == ()


def test_tuning_lowers_the_loss_and_ignores_missing_rows() -> None:
    task = Classify("t", ("a", "b"))
    raw = [np.log([0.99, 0.01])] * 3 + [np.log([0.01, 0.99])]
    tuned = task.tuned([*raw, np.log([0.5, 0.5])], ["a", "a", "b", "b", None])
    assert tuned.decoding.value > 1
    assert task.decoding.value == 1.0
    assert tuned.decode(raw)[0][0] < task.decode(raw)[0][0]


def test_make_reads_weights_mean_and_scale_from_the_training_rows() -> None:
    target = Target("mood", "classify", ("bad", "good", "unseen"))
    task = make(target, ["bad", "good", "good", None], class_weights="balanced")
    assert task.weights == (1.5, 0.75, 1.0)
    assert make(target, class_weights={"bad": 2}).weights == (2.0, 1.0, 1.0)
    with pytest.raises(PlanError, match="'evil'"):
        make(target, class_weights={"evil": 2})
    number = make(Target("stars", "regress"), [1.0, 3.0, None], metric="pearson")
    assert (number.mean, number.scale, number.metric) == (2.0, 1.0, "pearson")
    assert make(Target("stars", "regress"), [4.0, 4.0]).scale == 1.0
    with pytest.raises(PlanError, match="class weights"):
        make(Target("stars", "regress"), [1.0], class_weights="balanced")
    with pytest.raises(PlanError, match="unknown metric"):
        make(target, metric="r2")


@pytest.mark.parametrize(
    "task",
    [
        Classify("t", ("a", "b"), (1.0, 2.0), "macro_f1", Temperature(1.5)),
        MultiLabel("t", ("a", "b"), decoding=Thresholds((0.2, 0.7), 1.5)),
        Regress("t", 1.0, 2.0, "mae"),
    ],
    ids=lambda task: task.kind,
)
def test_a_task_survives_json(task) -> None:
    assert load(json.loads(json.dumps(dump(task)))) == task


def test_labels_of_a_bundle_without_a_temperature_have_that_of_one() -> None:
    task = MultiLabel("t", ("a", "b"), decoding=Thresholds((0.2, 0.7)))
    plain = json.loads(json.dumps(dump(task)))
    del plain["decoding"]["value"]
    assert load(plain) == task
