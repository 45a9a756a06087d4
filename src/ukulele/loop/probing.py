"""A task's linear probe: its targets, the search for its strength, and the fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ukulele.errors import InternalError
from ukulele.loop.truth import Numbers
from ukulele.tools.collate import collate
from ukulele.tools.probe import Probe, Search, fit_logistic, fit_ridge
from ukulele.types import Task


def fit_probe(
    x: Any, task: Task, values: Sequence[Any], strength: float | None, seed: int, groups: Numbers | None = None
) -> Probe:
    """The linear probe of a task, its strength chosen by cross-validation, which takes no group apart, unless given."""
    y, weights, classes = probe_targets(task, values)
    search = probe_search(task, strength, seed, groups)
    if classes is None:
        return fit_ridge(x, y, search=search)
    return fit_logistic(x, y, classes, weights=weights, search=search)


def probe_search(task: Task, strength: float | None, seed: int, groups: Numbers | None) -> Search:
    """Folds and metric of the search for a probe's strength; `groups` are those of the rows."""
    metric = task.metrics[0].name if task.kind == "classify" else "log_loss"
    near: Any = {"accuracy": "accuracy", "balanced_accuracy": "balanced_accuracy", "macro_f1": "balanced_accuracy"}
    bound = None if groups is None else torch.from_numpy(groups)
    return Search((strength,) if strength else None, metric=near.get(metric, "log_loss"), seed=seed, groups=bound)


def probe_targets(task: Task, values: Sequence[Any]) -> tuple[Tensor, Tensor | None, int | None]:
    """Targets of rows that all have one, the rows' weights, and how many classes or labels."""
    targets = collate([task.target(value) for value in values], task.fields)
    match task.kind:
        case "classify":
            y, given = targets["label"], getattr(task, "weights", None)
            return y, None if given is None else torch.tensor(given)[y], len(getattr(task, "labels", ()))
        case "multilabel":
            return targets["labels"], None, targets["labels"].shape[1]
        case "regress":
            return targets["value"], None, None
    raise InternalError(f"no probe for a task of the kind {task.kind!r}")


def pick(x: Any, numbers: Numbers) -> Any:
    """Some rows of a dense or sparse matrix."""
    if len(numbers) == x.shape[0]:
        return x
    return x[torch.from_numpy(numbers)] if isinstance(x, Tensor) else x[numbers]
