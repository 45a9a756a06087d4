"""The control that a verdict is given against: the best on validation, and of equals not the weakest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ukulele.tasks import Classify, MultiLabel, Regress
from ukulele.trial.together import best_rival
from ukulele.types import Candidate, Plan


def outcome(name: str, task: Any, answers: Any, values: Any, *, pretrained: bool = False) -> Any:
    """What is looked at of a fitted candidate."""
    return SimpleNamespace(
        candidate=Candidate(name, name, Plan("x"), "control", pretrained),
        tasks={"t": task},
        table=lambda _split, _name: task.table(answers, values),
    )


TASK, TRUTH = Classify("t", ("a", "b")), ["a", "b", "a", "b"]
FLAT, SURE = [[0.5, 0.5]] * 4, [[0.9, 0.1], [0.4, 0.6], [0.4, 0.6], [0.9, 0.1]]  # both are right twice
RIGHT = [[0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.6, 0.4]]


def best(*rivals: Any) -> str:
    chosen = outcome("probe", rivals[0].tasks["t"], None, None, pretrained=True)
    found = best_rival([*rivals, chosen], chosen, "t")
    assert found is not None
    return found.candidate.name


def test_the_better_one_is_taken_wherever_it_stands() -> None:
    flat, right = outcome("flat", TASK, FLAT, TRUTH), outcome("right", TASK, RIGHT, TRUTH)
    assert best(flat, right) == best(right, flat) == "right"


def test_a_tie_goes_to_the_one_of_less_loss() -> None:
    flat, sure = outcome("flat", TASK, FLAT, TRUTH), outcome("sure", TASK, SURE, TRUTH)
    table, metric = TASK.table(SURE, TRUTH), TASK.metrics[0]
    assert metric.value(table, table[:, 0] * 0 + 1) == 0.5, "they tie"
    assert best(flat, sure) == best(sure, flat) == "flat"


@pytest.mark.parametrize(
    ("task", "answers", "values"),
    [(TASK, FLAT, TRUTH), (MultiLabel("t", ("a", "b")), FLAT, [("a",)] * 4), (Regress("t"), [1.0, 2.0], [1.0, 3.0])],
    ids=["classify", "multilabel", "regress"],
)
def test_equals_in_both_are_decided_for_the_dearer_one(task: Any, answers: Any, values: Any) -> None:
    assert best(outcome("cheap", task, answers, values), outcome("dear", task, answers, values)) == "dear"


def test_without_a_rival_there_is_none() -> None:
    chosen = outcome("probe", TASK, FLAT, TRUTH, pretrained=True)
    assert best_rival([chosen], chosen, "t") is None
