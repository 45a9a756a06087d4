"""Which rows are looked at, where not all are: every class keeps its share, and every task has some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ukulele.loop.truth import Numbers, Truth
from ukulele.trial.context import Context
from ukulele.types import Task

PROBED, LEAST_PROBED = 5000, 1000  # rows that a probe's held-out answers are computed for: at most, and
ANSWERS = 150_000  # with many classes so many that their answers are no more than this, but not fewer than the least,
A_CLASS, OF_A_TASK = 5, 40  # nor than this many of each class, on average; and of each task a sample has this many


def outputs(task: Task) -> int:
    """How many numbers a probe of the task gives for a row."""
    labels = len(getattr(task, "labels", ()))
    return 1 if labels <= 2 else labels


def enough(numbers: Numbers, task: Task, values: Sequence[Any], seed: int) -> tuple[Numbers, list[Any]]:
    """As many of some rows as are looked at, and their targets: the same rows for every model."""
    most = min(PROBED, max(LEAST_PROBED, ANSWERS // outputs(task), A_CLASS * outputs(task)))
    if len(numbers) <= most:
        return numbers, list(values)
    some = np.sort(spread_rows(_strata(values), seed)[:most])
    return numbers[some], [values[i] for i in some.tolist()]


def sample(context: Context, most: int) -> Numbers:
    """The numbers of at most `most` training rows, in order: classes keep their shares, of several tasks those of the
    rarest that a row has; every task has some rows, and a larger sample holds every smaller one.
    """
    truth, tasks = context.truth("train"), context.tasks
    order = spread_rows(_strata_of_tasks(truth, tasks), context.options.seed)
    places = np.full(len(order), len(order))
    for name, task in tasks.items():
        having = order[np.isin(order, truth.numbers(name))][: max(OF_A_TASK, A_CLASS * outputs(task))]
        places[having] = np.minimum(places[having], np.arange(len(having)))
    return np.sort(order[np.argsort(places[order], kind="stable")][:most])


def _strata_of_tasks(truth: Truth, tasks: Mapping[str, Task]) -> list[Any]:
    """What rows are spread by: the class in the rarest task that a row has, with that task's name if there are more."""
    if len(tasks) == 1:
        return _strata(truth.cells(*tasks))
    strata: dict[int, tuple[str, ...]] = {}
    for name in sorted(tasks, key=lambda name: len(truth.numbers(name))):
        cells = _strata(truth.cells(name))
        for number in truth.numbers(name).tolist():
            cell = cells[number] or ""
            strata.setdefault(number, (name, *((cell,) if isinstance(cell, str) else cell)))
    return [strata.get(number) for number in range(len(truth.cells(name)))]


def _strata(cells: Sequence[Any]) -> list[Any]:
    """Classes as they are; numbers have none."""
    return [cell if isinstance(cell, str | tuple) else None for cell in cells]


def spread_rows(values: Sequence[Any], seed: int) -> Numbers:
    """The numbers of rows in an order in which any beginning has about the shares of classes of the whole.

    >>> order = spread_rows(["a"] * 6 + ["b"] * 3, 0)
    >>> sorted("aaaaaabbb"[i] for i in order[:3])
    ['a', 'a', 'b']
    """
    generator = np.random.default_rng(seed)
    keys = [";".join(value) if isinstance(value, tuple) else str(value or "") for value in values]
    _, group, counts = np.unique(keys, return_inverse=True, return_counts=True)
    shuffled = generator.permutation(len(keys))
    shuffled = shuffled[np.argsort(group[shuffled], kind="stable")]
    starts = np.cumsum(counts) - counts
    place = np.arange(len(keys)) - starts[group[shuffled]]
    jitter = generator.random(len(counts))[group[shuffled]]  # else the first row of every class would come first
    return np.asarray(shuffled[np.argsort((place + jitter) / counts[group[shuffled]], kind="stable")], np.int64)
