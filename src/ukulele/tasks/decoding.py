"""From raw answers to final ones: what is tuned on validation rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Temperature:
    """Log-probabilities are divided by `value` before the softmax (Guo et al., 2017)."""

    value: float = 1.0


@dataclass(frozen=True)
class Thresholds:
    """A label is given where its probability reaches its threshold; empty means .5 for all."""

    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Suppression:
    """Boxes are shown that reach the confidence; of boxes of a class that overlap by more, the surest stays."""

    confidence: float = 0.25
    overlap: float = 0.65


@dataclass(frozen=True)
class Identity:
    """The raw answer is the final one."""


def softmax(logits: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """Rows of probabilities."""
    scaled = logits / temperature
    exponentials = np.exp(scaled - scaled.max(1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True))


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities, one by one."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.intp]) -> Temperature:
    """The temperature with the least log-loss on validation rows.

    A standard normal prior on its logarithm, worth one row in all, keeps it finite where the answers are all
    right; with hundreds of rows it no longer matters.

    Parameters
    ----------
    logits
        Raw answers (n, classes).
    labels
        True classes (n,).
    """
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return Temperature()
    shifted = logits - logits.max(1, keepdims=True)
    true = shifted[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        normaliser = np.log(np.exp(shifted * inverse).sum(1))
        return float((normaliser - true * inverse).sum() + 0.5 * log_temperature**2)

    found = minimize_scalar(loss, bounds=(np.log(0.02), np.log(50)), method="bounded")
    return Temperature(float(np.exp(found.x)))


def fit_thresholds(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> Thresholds:
    """For each label the threshold with the best F1 on validation rows, half-way between two probabilities.

    A label without a positive row keeps .5.
    """
    return Thresholds(tuple(_best_threshold(p, t) for p, t in zip(probabilities.T, truth.T, strict=True)))


def _best_threshold(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    if not truth.any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    descending = probabilities[order]
    given = np.arange(1, len(order) + 1)
    f1 = 2 * np.cumsum(truth[order]) / (given + truth.sum())
    ends = np.append(descending[1:] < descending[:-1], True)  # rows of equal probability go together
    best = int(np.argmax(np.where(ends, f1, -1.0)))
    below = descending[best + 1] if best + 1 < len(order) else 0.0
    return float((descending[best] + below) / 2)
