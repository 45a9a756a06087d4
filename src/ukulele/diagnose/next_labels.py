"""Which rows to label next: those that the model is unsure of, and unlike each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POOL = 20_000  # of the most uncertain rows that are looked at

Floats = NDArray[np.float64]


def unsure_of_class(probabilities: Floats) -> Floats:
    """1 less the margin between the two most probable classes of each row: (n, classes) to (n,)."""
    best = np.sort(probabilities, axis=1)
    return np.asarray(1 - (best[:, -1] - best[:, -2]), np.float64)


def unsure_of_labels(probabilities: Floats) -> Floats:
    """How near to even the most uncertain label of each row is: (n, labels) to (n,), from 0 to 1."""
    return np.asarray((4 * probabilities * (1 - probabilities)).max(1), np.float64)


def next_labels(unsure: Floats, features: NDArray[np.float32], wanted: int) -> list[int]:
    """Rows to label, the most worthwhile first.

    Greedy: each is the one for which uncertainty times the cosine distance to the nearest row chosen so far is
    greatest; the first is the most uncertain. Copies of a row are never chosen twice.

    Parameters
    ----------
    unsure
        How unsure the model is of each row (n,), from 0.
    features
        What it makes of each (n, width).
    wanted
        How many.

    Examples
    --------
    >>> x = np.array([[1, 0], [1, 0.01], [0, 1], [-1, -1]], np.float32)
    >>> next_labels(np.array([0.9, 0.89, 0.5, 0.1]), x, 2)
    [0, 2]
    """
    pool = np.argsort(-unsure, kind="stable")[:POOL]
    x = features[pool].astype(np.float32)
    x = x - features.mean(0, dtype=np.float64).astype(np.float32)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    weight, far = unsure[pool], np.full(len(pool), 2.0)
    chosen: list[int] = []
    while len(chosen) < min(wanted, len(pool)):
        worth = weight * far
        if chosen:
            worth[far <= 1e-6] = -1
        best = int(worth.argmax())
        if worth[best] < 0:
            break
        chosen.append(best)
        far = np.minimum(far, 1 - x @ x[best])
    return [int(number) for number in pool[chosen]]
