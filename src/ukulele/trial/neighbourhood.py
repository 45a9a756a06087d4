"""Features and answers handed to `rank`: neighbours' answers as row statistics, and the scores without a probe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ukulele import models, rank
from ukulele.errors import RunError
from ukulele.loop.probing import probe_targets
from ukulele.loop.truth import Numbers
from ukulele.models.bundle import is_bundle, read_bundle
from ukulele.trial.evidence import Floats, tabled
from ukulele.types import Task

LINEAR = {"linear.weight", "linear.bias"}


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
    x: Tensor, task: Task, values: Sequence[Any], source: tuple[str, Tensor]
) -> dict[str, float]:  # fmt: skip
    """LogME, and of classes the H-score, shrunk and plain; LEEP and NCE where the model brings a classifier of its own.

    `source` is the model's name, and what such a classifier would read of the same rows.
    """
    columns, y = marks(task, values)
    features = x.double().numpy()
    found = {"LogME": rank.logme(features, columns)}
    if task.kind != "classify":
        return found
    classes = y.numpy()
    found |= {name: rank.h_score(features, classes, shrunk=shrunk) for name, shrunk in H_SCORES.items()}
    p = source_answers(source[0], source[1])
    if p is not None:
        found |= {"LEEP": rank.leep(p, classes), "NCE": rank.nce(p.argmax(1), classes)}
    return found


def source_answers(name: str, pooled: Tensor) -> Floats | None:
    """The probabilities (n, z) of the classifier that a bundle brings along; None where there is none."""
    path = Path(name).expanduser()
    if not is_bundle(path):
        return None
    try:
        bundle = read_bundle(path, models.build)
    except RunError:
        return None
    kinds = {task: plain["kind"] for task, plain in bundle.about["tasks"].items()}
    for task, head in bundle.heads.items():
        if kinds.get(task) == "classify" and set(head) == LINEAR and head["linear.weight"].shape[1] == pooled.shape[1]:
            outputs = pooled.float() @ head["linear.weight"].T + head["linear.bias"]
            return np.asarray(outputs.double().softmax(1).numpy())
    return None
