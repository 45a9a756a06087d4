"""What a fitted candidate says of its answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ukulele.trial.outcome import Outcome
from ukulele.types import Plan


class Stub:
    """A feed of ten rows; those of `having` have the task, and are answered by their number."""

    def __init__(self, having: list[int]) -> None:
        self.having = having

    def numbers(self, _split: str) -> Any:
        return np.arange(10)

    def truth(self, _split: str) -> Any:
        numbers = np.array(self.having)
        return SimpleNamespace(numbers=lambda _task: numbers, clusters=lambda rows: rows // 2)

    def values(self, _split: str, _task: str) -> list[float]:
        return [float(row) for row in self.having]

    def answers(self, _split: str, _cut: int, *, some: Any = None) -> Any:
        rows = range(10) if some is None else some.tolist()
        return {"mood": [row if row in rows else None for row in self.having]}, {}


@pytest.mark.parametrize(
    ("having", "most", "expected"),
    [
        (list(range(10)), None, list(range(10))),
        (list(range(10)), 2, [0, 5]),
        ([3, 5, 8], 2, [5]),
        ([3, 8], 2, [3, 8]),  # none of the rows that are looked at has the task
    ],
)
def test_a_table_of_some_rows(having: list[int], most: int | None, expected: list[int]) -> None:
    task: Any = SimpleNamespace(decode=lambda raw: raw, table=lambda answers, values: (answers, values))
    nothing: Any = None
    candidate: Any = SimpleNamespace(plan=Plan("x"))
    model: Any = SimpleNamespace(stages=())
    feed: Any = Stub(having)
    outcome = Outcome(candidate, model, {}, {"mood": task}, feed, nothing, 0, nothing)
    groups = outcome.groups("train", "mood", most)
    assert outcome.table("train", "mood", most) == (expected, [float(row) for row in expected])
    assert groups is not None
    assert groups.tolist() == [row // 2 for row in expected], "those of the rows of the table"
