"""Leave-one-out nearest neighbours by cosine: what the rows around a row say of it.

Renggli, Pinto, Rimanic, Puigcerver, Riquelme, Zhang, Lučić: Which Model to Transfer? (CVPR 2022) found it, beside a
linear probe, to rank models better than published scores do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ukulele.rank.spectrum import Floats

KS = (1, 5, 20)
AT_ONCE = 1024  # rows whose similarities to all are held
TIE = 1e-6  # so little more counts a nearer one, where votes are even


def neighbours(
    features: NDArray[np.floating],
    targets: NDArray[np.floating],
    ks: Sequence[int] = KS,
    groups: NDArray[np.integer] | None = None,
) -> dict[int, Floats]:
    """By k, the mean target of the k nearest other rows (n, m); 0 where there are no others.

    Parameters
    ----------
    features
        (n, d); centred here, for what all rows share says nothing.
    targets
        (n, m): one column a class or label (0 and 1), or numbers.
    ks
        Those beyond the first are left out of which there are no two other rows for each: where nearly all rows answer,
        a row's own class is the rarer one for want of the row itself.
    groups
        (n,): rows of one group are no neighbours of each other, where there are two groups or more; None: each row is
        by itself.

    Examples
    --------
    >>> f = np.array([[1.0, 0.1], [1.0, 0.0], [-1.0, 0.1], [-1.0, 0.0]])
    >>> neighbours(f, np.eye(2)[[0, 0, 1, 1]], (1,))[1].argmax(1).tolist()
    [0, 0, 1, 1]
    """
    x, y = np.asarray(features, np.float32), np.asarray(targets, np.float64)
    x = x - x.mean(0)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    n = len(x)
    of = np.arange(n) if groups is None or len(np.unique(groups)) < 2 else np.asarray(groups, np.int64)
    _, group, sizes = np.unique(of, return_inverse=True, return_counts=True)
    others = n - int(sizes.max(initial=0))  # of a row of the largest group
    ks = [k for place, k in enumerate(ks) if not place or 2 * k <= others]
    most, found = min(max(ks), n - 1), {k: np.zeros_like(y) for k in ks}
    if most < 1:
        return found
    for start in range(0, n, AT_ONCE):
        stop = min(start + AT_ONCE, n)
        alike = x[start:stop] @ x.T
        alike[group[start:stop, None] == group] = -np.inf
        near = np.argpartition(-alike, most - 1, axis=1)[:, :most]
        order = np.argsort(-np.take_along_axis(alike, near, 1), axis=1, kind="stable")
        near = np.take_along_axis(near, order, 1)
        weights = np.isfinite(np.take_along_axis(alike, near, 1)) * (1 - TIE * np.arange(most))
        for k in ks:
            some, counts = near[:, :k], weights[:, :k, None]
            found[k][start:stop] = (y[some] * counts).sum(1) / np.maximum(counts.sum(1), TIE)
    return found
