"""Features and answers handed to `rank`: neighbours' answers as row statistics, and the scores without a probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ukulele import rank
from ukulele.loop.probing import probe_targets
from ukulele.loop.summed import spread
from ukulele.loop.truth import Numbers
from ukulele.trial.evidence import Floats, Own, tabled
from ukulele.types import Task

ANSWERS, LEAST = 1 << 26, 500  # of a model's own classifier that are held at once; rows, however many its classes


def marks(task: Task, values: Sequence[Any]) -> tuple[Floats, Tensor]:
    """Targets as columns (n, m), one a class, label or number; and as the probe takes them."""
    y, _, classes = probe_targets(task, values)
    if task.kind == "classify":
        assert classes is not None  # a classifier has some
        return np.eye(classes)[y.numpy()], y
    return np.asarray(y.double().reshape(len(y), -1).numpy()), y


def nearest(x: Tensor, task: Task, values: Sequence[Any], groups: Numbers | None) -> dict[int, Floats]:
    """By k, row statistics of what the k nearest rows of other groups answer. Rows have targets."""
    columns, _ = marks(task, values)
    found = rank.neighbours(x.numpy(), columns, groups=groups)
    return {k: tabled(task, _answers(task, mean, columns, k), values)[1] for k, mean in found.items()}


def _answers(task: Task, mean: Floats, columns: Floats, k: int) -> Tensor:
    """Votes as log-probabilities or logits: one vote more goes to each class by its frequency, so that none has 0."""
    if task.kind == "regress":
        return torch.from_numpy(mean)
    share = torch.from_numpy((mean * k + columns.mean(0)) / (k + 1)).clamp(1e-9, 1 - 1e-9)
    return share.logit() if task.kind == "multilabel" else share.log()


H_SCORES = {"H-score": True, "plain H-score": False}  # whether its covariance is shrunk


def source_scores(
    x: Tensor, task: Task, values: Sequence[Any], own: Own | None, numbers: Numbers
) -> dict[str, float]:  # fmt: skip
    """LogME, and of classes the H-score, shrunk and plain; LEEP and NCE where the model brings a classifier of its own,
    which is asked about rows of those numbers: all of them, or some where its classes are very many.
    """
    columns, y = marks(task, values)
    features = x.double().numpy()
    found = {"LogME": rank.logme(features, columns)}
    if task.kind != "classify":
        return found
    classes = y.numpy()
    found |= {name: rank.h_score(features, classes, shrunk=shrunk) for name, shrunk in H_SCORES.items()}
    if own is not None:
        some = spread(np.arange(len(classes)), max(LEAST, ANSWERS // own.classes))
        p = own.logits(numbers[some]).double().softmax(1).numpy()
        found |= {"LEEP": rank.leep(p, classes[some]), "NCE": rank.nce(p.argmax(1), classes[some])}
    return found
