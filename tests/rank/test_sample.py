"""Samples of training rows: shares of classes, every task, and smaller ones inside larger ones."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np

from ukulele.loop.truth import Truth
from ukulele.tasks import Classify
from ukulele.trial.drawing import enough, sample
from ukulele.types import Row, Where


def context_of(targets: dict[str, list[Any]]) -> Any:
    rows = [
        Row(("text",), dict(zip(targets, row, strict=True)), Where("made.csv", line))
        for line, row in enumerate(zip(*targets.values(), strict=True))
    ]
    tasks = {n: Classify(n, tuple(sorted({v for v in cells if v is not None}))) for n, cells in targets.items()}
    truth = Truth(rows)  # type: ignore[arg-type]
    return SimpleNamespace(truth=lambda _split: truth, tasks=tasks, options=SimpleNamespace(seed=0))


def test_every_task_has_some_rows() -> None:
    common = [*("ab" * 4900), *[None] * 200]
    rare = [*[None] * 9800, *("xyzw" * 50)]
    context = context_of({"common": common, "rare": rare})
    for most in (30, 200, 1000):
        numbers = sample(context, most)
        assert len(numbers) == most
        classes = Counter(rare[i] for i in numbers if rare[i] is not None)
        assert set(classes) == set("xyzw")
        assert sum(classes.values()) >= min(most // 2, 40)
        assert max(classes.values()) - min(classes.values()) <= 2
    assert set(sample(context, 30)) < set(sample(context, 200)) < set(sample(context, 1000))


def test_tasks_that_all_rows_have_change_nothing() -> None:
    labels, shops = ["a", "b", "c", "d"] * 500, ["x", "y"] * 1000
    for most in (40, 500):
        one = sample(context_of({"label": labels}), most)
        assert np.array_equal(one, sample(context_of({"label": labels, "shop": shops}), most))
        assert set(Counter(labels[i] for i in one).values()) == {most // 4}


def test_a_probe_has_several_rows_of_each_of_many_classes() -> None:
    labels = [str(number) for number in range(600)]
    numbers, values = enough(np.arange(12_000), Classify("label", tuple(labels)), labels * 20, 0)
    assert len(numbers) == 3000
    assert set(Counter(values).values()) == {5}
