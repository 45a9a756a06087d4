"""What a report shows beside the numbers: who is taken for whom, how sure, and where it went wrong. Plain JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ukulele.types import WRITTEN, Task

BINS = 15  # of the calibration curve, of equal width
POINTS = 2000  # of a scatter plot


def details(task: Task, table: NDArray[np.float64], answers: Sequence[Any]) -> dict[str, Any]:
    """The particulars of answers on some rows, by kind of task.

    Parameters
    ----------
    task, table
        The task, and its row statistics (n, k).
    answers
        Final answers, one a row.

    Returns
    -------
    dict
        One class: "confusion" (`labels`, and `counts` with the truth in rows), "per_class", "calibration".
        Several labels: "per_class", "calibration" over all labels. A number: "scatter", pairs of (truth, answer).
        Boxes: "per_class", "sizes", "curves", "confidence".
    """
    known = ~np.isnan(table[:, 0])
    labels = list(getattr(task, "labels", ()))
    match task.kind:
        case "classify":
            truth, answer = table[known, 0].astype(np.intp), table[known, 1].astype(np.intp)
            counts = np.zeros((len(labels), len(labels)), np.int64)
            np.add.at(counts, (truth, answer), 1)
            return {
                "confusion": {"labels": labels, "counts": counts.tolist()},
                "per_class": _per_class(labels, counts.diagonal(), counts.sum(1), counts.sum(0)),
                "calibration": {
                    "bins": calibration(table[known, 2], truth == answer),
                    "temperature": float(task.decoding.value),
                },
            }
        case "multilabel":
            marks = table[known, 1 : 1 + len(labels)]
            given = table[known, 1 + len(labels) : 1 + 2 * len(labels)]
            probabilities = np.asarray(answers, np.float64).reshape(-1, len(labels))[known]
            return {
                "per_class": _per_class(labels, (marks * given).sum(0), marks.sum(0), given.sum(0)),
                "calibration": {
                    "bins": calibration(probabilities.ravel(), marks.ravel() > 0),
                    "temperature": float(task.decoding.value),
                },
            }
        case "regress":
            pairs = table[known, :2]
            step = -(-len(pairs) // POINTS) or 1
            return {"scatter": pairs[::step].tolist()}
        case "detect":
            plain: dict[str, Any] = getattr(task, "details")(table[known])  # noqa: B009 - its own alone
            return plain
        case _:
            return {}


def _per_class(
    labels: Sequence[str], right: NDArray[Any], truth: NDArray[Any], answers: NDArray[Any]
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each label; null where nothing was answered, or nothing was there to find."""
    return [
        {
            "label": label,
            "n": int(n),
            "precision": _share(hits, given),
            "recall": _share(hits, n),
            "f1": _share(2 * hits, n + given),
        }
        for label, hits, n, given in zip(labels, right.tolist(), truth.tolist(), answers.tolist(), strict=True)
    ]


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def calibration(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """How often answers are right in each bin of confidence that holds any: `confidence`, `accuracy`, `n`.

    >>> calibration(np.array([0.95, 0.98, 0.5]), np.array([True, False, True]))
    [{'confidence': 0.5, 'accuracy': 1.0, 'n': 1}, {'confidence': 0.965, 'accuracy': 0.5, 'n': 2}]
    """
    bins = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
    n = np.bincount(bins, minlength=BINS)
    sure, hits = np.bincount(bins, confidence, BINS), np.bincount(bins, right.astype(np.float64), BINS)
    return [
        {"confidence": float(sure[b] / n[b]), "accuracy": float(hits[b] / n[b]), "n": int(n[b])}
        for b in np.nonzero(n)[0]
    ]


def mistakes(task: Task, answers: Sequence[Any], values: Sequence[Any], limit: int) -> list[dict[str, Any]]:
    """The worst mistakes: `row` (its index), `truth`, `answer`, `confidence` (null for a number).

    One class: the surest wrong answers. Several labels: the sets with the greatest loss. A number: the furthest.

    Parameters
    ----------
    task
        The task.
    answers, values
        Final answers and true values, one a row; rows whose true value is None are passed over.
    limit
        How many at most.
    """
    known = [row for row, value in enumerate(values) if value is not None]
    if not known:
        return []
    if task.kind in WRITTEN:  # a text is seldom right or wrong as a whole
        return []
    if task.kind == "detect":
        found: list[dict[str, Any]] = getattr(task, "worst")(answers, values, limit)  # noqa: B009 - its own alone
        return found
    table = task.table([answers[row] for row in known], [values[row] for row in known])
    labels = np.array(getattr(task, "labels", ()), dtype=object)
    match task.kind:
        case "classify":
            badness = np.where(table[:, 0] != table[:, 1], table[:, 2], -1.0)
        case "multilabel":
            truth, given, _ = np.split(table[:, 1:], 3, axis=1)
            badness = np.where((truth != given).any(1), table[:, 0], -1.0)
        case "regress":
            badness = np.where(table[:, 0] != table[:, 1], np.abs(table[:, 0] - table[:, 1]), -1.0)
        case _:
            return []
    worst = [int(i) for i in np.argsort(-badness, kind="stable")[:limit] if badness[i] >= 0]
    return [{"row": known[i], **_mistake(task.kind, labels, table[i])} for i in worst]


def _mistake(kind: str, labels: NDArray[Any], line: NDArray[np.float64]) -> dict[str, Any]:
    match kind:
        case "classify":
            return {"truth": labels[int(line[0])], "answer": labels[int(line[1])], "confidence": float(line[2])}
        case "multilabel":
            truth, given, _ = np.split(line[1:] > 0, 3)
            return {"truth": labels[truth].tolist(), "answer": labels[given].tolist(), "confidence": None}
        case _:
            return {"truth": float(line[0]), "answer": float(line[1]), "confidence": None}
