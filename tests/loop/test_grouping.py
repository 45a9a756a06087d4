"""Which tasks are suggested to learn together: by looking ahead, and by what validation says of the model for all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ukulele.evaluate import Grouping
from ukulele.tasks import Classify
from ukulele.trial.grouping import parted, suggested
from ukulele.types import Candidate, Plan

NAMES = ("mood", "marks", "score")
TRUTH = ["a", "b"] * 40
HELP = [[0.0, 0.1, 0.1], [0.1, 0.0, 0.1], [0.1, 0.1, 0.0]]


def outcome(name: str, hits: dict[str, int], looks: Any = (), role: Any = "control") -> Any:
    """What is looked at of a fitted candidate: so many of 80 validation rows are right, by task."""
    tasks = {task: Classify(task, ("a", "b")) for task in hits}

    def table(split: str, task: str) -> Any:
        assert split == "validation", "the test rows have no say"
        right = [[0.9, 0.1] if value == "a" else [0.1, 0.9] for value in TRUTH]
        answers = [row if at < hits[task] else row[::-1] for at, row in enumerate(right)]
        return tasks[task].table(answers, TRUTH)

    candidate = Candidate(name, "m", Plan("x"), role, True, tasks=tuple(hits) if role == "control" else None)
    looked = [{"affinity": look} for look in looks]
    return SimpleNamespace(candidate=candidate, tasks=tasks, table=table, groups=lambda *_: None, looks=looked)


def joint(hits: tuple[int, ...], looks: Any = (HELP,) * 3) -> Any:
    return outcome("finetune", dict(zip(NAMES, hits, strict=True)), looks, "rung")


def alone(*hits: int) -> list[Any]:
    return [outcome(f"{task} alone", {task: n}) for task, n in zip(NAMES, hits, strict=True)]


def test_a_task_that_is_worse_together_is_parted_with_the_figures_in_the_reason() -> None:
    found = suggested(joint((60, 44, 60)), alone(56, 60, 56))
    assert found is not None
    assert found.groups == (("mood", "score"), ("marks",))
    assert found.text == "Train marks alone and mood and score together."
    assert "all three together" in found.reason
    assert "marks: together 0.550, alone 0.750 accuracy, difference -0.200" in found.reason
    assert "chance" not in found.reason
    assert "mood:" not in found.reason
    assert {one.task: (one.together, one.alone) for one in found.seen}["mood"] == (0.75, 0.7)


def test_what_may_be_chance_is_said_to_be() -> None:
    found = suggested(joint((60, 59, 60)), alone(56, 60, 56))
    assert found is not None
    assert found.groups == (("mood", "score"), ("marks",))
    assert "which may be chance" in found.reason


def test_where_validation_agrees_all_stay_together() -> None:
    found = suggested(joint((60, 60, 60)), alone(56, 60, 56))
    assert found is not None
    assert found.groups == (NAMES,)
    assert "no task is worse" in found.reason


def test_without_models_alone_it_rests_on_looking_ahead() -> None:
    fitted = outcome("mood", {"mood": 70})
    fitted.candidate = Candidate("mood", "m", Plan("x"), "rung", True, tasks=("mood",))
    found = suggested(joint((60, 44, 60)), [fitted])
    assert found is not None
    assert found.groups == (NAMES,)
    assert found.seen == []
    assert "--controls tasks" in found.reason


def test_each_alone_where_all_are_worse() -> None:
    found = suggested(joint((50, 50, 50)), alone(56, 60, 56))
    assert found is not None
    assert found.text == "Each alone."


def test_without_a_look_ahead_nothing_is_suggested() -> None:
    assert suggested(joint((50, 50, 50), ()), alone(56, 60, 56)) is None


@pytest.mark.parametrize(
    ("change", "groups"),
    [
        ({"a": 4.0, "b": -1.0}, (("a", "b"),)),  # one task cannot stay behind in company
        ({"a": 1.0, "b": -4.0}, (("a",), ("b",))),
        ({"a": float("nan"), "b": -4.0}, (("a",), ("b",))),
    ],
)
def test_of_two_the_whole_gain_decides(change: dict[str, float], groups: Any) -> None:
    assert parted(Grouping((("a", "b"),), {"a": 0.1, "b": 0.1}), {"b"}, change) == groups


def test_from_groups_that_were_not_measured_a_task_leaves_only_if_looking_ahead_agrees() -> None:
    groups, change = (("a", "b"), ("c", "d")), dict.fromkeys("abcd", -1.0)
    ahead = Grouping(groups, {"a": 0.1, "b": 0.1, "c": 0.1, "d": -0.1})
    assert parted(ahead, {"a", "d"}, change) == (("a", "b"), ("c",), ("d",))
