"""Numbers that are so far from all others that their unit or their point is likely wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TIMES = 8.0  # as far from the median as all but one in a hundred
FEWEST = 20  # rows that can tell


def strays(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The rows of such numbers, the furthest first: at most one in a hundred.

    >>> strays(np.array([*range(30), 9000.0])).tolist(), strays(np.exp(np.arange(30) / 5)).tolist()
    ([30], [])
    """
    if len(values) < FEWEST:
        return np.zeros(0, np.int64)
    distance = np.abs(values - np.median(values))
    order = np.argsort(-distance, kind="stable")
    most = max(1, len(values) // 100)
    rest = distance[order[most]]
    far = order[:most]
    return np.asarray(far[distance[far] > TIMES * rest] if rest > 0 else far[:0], np.int64)
