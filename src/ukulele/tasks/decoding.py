"""From raw answers to final ones: what is tuned on validation rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Temperature:
    """Log-probabilities are divided by `value` before the softmax (Guo et al., 2017)."""

    value: float = 1.0


@dataclass(frozen=True)
class Thresholds:
    """A label is given where its probability reaches its threshold; empty means .5 for all.

    Logits are divided by `value`, the temperature of all labels, before the sigmoid.
    """

    values: tuple[float, ...] = ()
    value: float = 1.0


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
    if not len(labels):
        return Temperature()
    shifted = logits - logits.max(1, keepdims=True)
    true = shifted[np.arange(len(labels)), labels]

    def loss(inverse: float) -> float:
        return float((np.log(np.exp(shifted * inverse).sum(1)) - true * inverse).sum())

    return _least(loss)


def fit_label_temperature(logits: NDArray[np.float64], truth: NDArray[np.bool_]) -> Temperature:
    """The same for labels, each with a sigmoid of its own: one temperature for all, from logits (n, labels)."""
    if not len(truth):
        return Temperature()
    wrong = np.where(truth, -logits, logits)
    return _least(lambda inverse: float(np.logaddexp(0, wrong * inverse).sum()))


def _least(loss: Callable[[float], float]) -> Temperature:
    """The temperature with the least loss, a function of its inverse, and prior."""
    from scipy.optimize import minimize_scalar

    def penalised(log_temperature: float) -> float:
        return loss(float(np.exp(-log_temperature))) + 0.5 * log_temperature**2

    found = minimize_scalar(penalised, bounds=(np.log(0.02), np.log(50)), method="bounded")
    return Temperature(float(np.exp(found.x)))


def fit_thresholds(
    probabilities: NDArray[np.float64], truth: NDArray[np.bool_], metric: str = "micro_f1"
) -> Thresholds:
    """The thresholds that the metric likes best on validation rows, each half-way between two probabilities.

    For the mean of the labels' F1 that is each label's own best. The F1 over all labels is a ratio of sums, so its
    best is found exactly by Dinkelbach's method (1967): at a ratio F a label adds 2 * right - F * given. Rows that are
    right as a whole are climbed to, label by label, from there and from the most frequent set of labels.

    Parameters
    ----------
    probabilities, truth
        Of validation rows (n, labels). A label without a true row keeps .5 where F1 decides.
    metric
        "micro_f1", "macro_f1" or "subset_accuracy"; what does not look at the labels given is served by the first.
    """
    if not len(truth):
        return Thresholds((0.5,) * truth.shape[1])
    if metric == "subset_accuracy":
        sets, times = np.unique(truth, axis=0, return_counts=True)
        frequent = np.where(sets[times.argmax()], ALWAYS, NEVER)
        starts = (_for_micro(probabilities, truth), frequent)
        return Thresholds(tuple(max((_climbed(start, probabilities, truth) for start in starts), key=_first)[1]))
    values = _for_macro(probabilities, truth) if metric == "macro_f1" else _for_micro(probabilities, truth)
    return Thresholds(tuple(values.tolist()))


ALWAYS, NEVER = 0.0, 2.0  # thresholds that every probability reaches, or none


@dataclass(frozen=True)
class _Cuts:
    """Where a label's threshold may lie: (threshold, rows given, of them right), none given in front.

    Only cuts behind a true row are worth a look: any other gives more for no more right.
    """

    thresholds: NDArray[np.float64]
    given: NDArray[np.float64]
    right: NDArray[np.float64]

    def best(self, ratio: float) -> int:
        return int(np.argmax(2 * self.right - ratio * self.given))


def _cuts(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> _Cuts:
    order = np.argsort(-probabilities, kind="stable")
    descending, right = probabilities[order], np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(descending[1:] < descending[:-1], True))  # rows of equal probability go together
    ends = ends[np.diff(right[ends], prepend=0) > 0]
    below = np.append(descending, 0.0)[ends + 1]
    return _Cuts(
        np.append(_above(descending[0]), (descending[ends] + below) / 2),
        np.append(0.0, ends + 1),
        np.append(0.0, right[ends]),
    )


def _above(probability: float) -> float:
    """A threshold that a probability does not reach."""
    half_way = (1 + float(probability)) / 2
    return half_way if half_way > probability else NEVER


def _for_macro(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    values = np.full(truth.shape[1], 0.5)
    for label in np.flatnonzero(truth.any(0)):
        cuts = _cuts(probabilities[:, label], truth[:, label])
        values[label] = cuts.thresholds[np.argmax(2 * cuts.right / (cuts.given + truth[:, label].sum()))]
    return values


def _for_micro(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    values = np.full(truth.shape[1], 0.5)
    cuts = {label: _cuts(probabilities[:, label], truth[:, label]) for label in np.flatnonzero(truth.any(0))}
    ratio, positive = -1.0, float(truth.sum() + (probabilities[:, ~truth.any(0)] >= 0.5).sum())
    while cuts:
        chosen = {label: one.best(max(ratio, 0.0)) for label, one in cuts.items()}
        right = sum(one.right[chosen[label]] for label, one in cuts.items())
        better = 2 * right / (sum(one.given[chosen[label]] for label, one in cuts.items()) + positive)
        if not better > ratio:
            break
        ratio = float(better)
        for label, one in cuts.items():
            values[label] = one.thresholds[chosen[label]]
    return values


def _climbed(
    start: NDArray[np.float64], probabilities: NDArray[np.float64], truth: NDArray[np.bool_]
) -> tuple[int, list[float]]:
    """(rows that are right as a whole, thresholds), one label's threshold moved after the other while that helps."""
    values, wrong = start.copy(), (probabilities >= start) != truth
    before, now = -1, int((~wrong.any(1)).sum())
    while now > before:
        before = now
        for label in range(len(values)):
            free = wrong.sum(1) == wrong[:, label]  # rows whose other labels are right
            order = np.argsort(-probabilities[:, label], kind="stable")
            descending, true = probabilities[order, label], truth[order, label]
            ends = np.flatnonzero(np.append(descending[1:] < descending[:-1], True))
            gains = np.append(0, np.cumsum(np.where(free[order], 2 * true.astype(int) - 1, 0))[ends])
            best = int(gains.argmax())
            reached = int((free & ~truth[:, label]).sum() + gains[best])
            if reached <= now:
                continue
            last = ends[best - 1]
            below = np.append(descending, 0.0)[last + 1]
            values[label] = (descending[last] + below) / 2 if best else _above(descending[0])
            wrong[:, label] = (probabilities[:, label] >= values[label]) != truth[:, label]
            now = reached
    return now, values.tolist()


def _first(found: tuple[int, list[float]]) -> int:
    return found[0]
