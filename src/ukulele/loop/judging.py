"""How a task fares on validation rows, as one number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ukulele.types import WRITTEN, Metric, Task


def score_of(task: Task, raw: Sequence[Any], values: Sequence[Any], loss: float, *, alone: bool) -> float:
    """The metric that decides, of a head's raw answers to rows with these true values; higher is better.

    Where lower values of it are better: 1 / (1 + value) beside other tasks, so that none outweighs the rest by its
    unit, and -value `alone`. NaN where it has no value, such as an area under a curve of a class that the rows lack.
    """
    asked = task.tuned(raw, values) if task.kind == "multilabel" else task  # as it will be asked
    table = asked.table(asked.decode(raw), values)
    metric = task.metrics[0]
    value = metric.value(table, np.ones(len(table)))
    if task.kind in WRITTEN:
        written = getattr(task, "judged", task).decoding.tokens > 0
        return standing(metric, value, loss, written=written)
    if metric.higher_is_better:
        return value
    return -value if alone else 1 / (1 + max(value, 0.0))  # in this order NaN stays NaN


def standing(metric: Metric, value: float, loss: float, *, written: bool) -> float:
    """The score of an epoch of writing: where no text was written, or BLEU is below one point and so tells nothing,
    it is 1 / perplexity.

    >>> standing(Metric("bleu", lambda _table, _counts: 0.0), 0.2, 3.0, written=True) < 1
    True
    """
    if not metric.higher_is_better:
        return -value
    if written and not (metric.name == "bleu" and value < 1):
        return value
    return math.exp(-loss) if math.isfinite(loss) else 0.0
