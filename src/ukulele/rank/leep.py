"""LEEP and NCE: how well a source model's own answers tell the new classes.

Nguyen, Hassner, Seeger, Archambeau: LEEP (ICML 2020), equations 1 and 2. Tran, Nguyen, Hassner: Transferability and
Hardness of Supervised Classification Tasks (ICCV 2019), equation 9: the negative conditional entropy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def leep(source: NDArray[np.floating], classes: NDArray[np.integer]) -> float:
    """The mean log-likelihood of classes (n,) given source probabilities (n, z); higher is better, at most 0.

    Examples
    --------
    >>> draw = np.random.RandomState(0)
    >>> y, mu = draw.randint(0, 5, 300), draw.randn(5, 16)
    >>> p = np.exp((mu[y] + draw.randn(300, 16))[:, :8])
    >>> p /= p.sum(1, keepdims=True)
    >>> round(leep(p, y), 6), round(nce(p.argmax(1), y), 6)
    (-1.244948, -0.996189)
    """
    p = np.asarray(source, np.float64)
    _, numbers = np.unique(classes, return_inverse=True)
    joint = np.eye(numbers.max() + 1)[numbers].T @ p / len(p)
    given = joint / np.maximum(joint.sum(0), 1e-300)  # P(y | z)
    return float(np.log(np.maximum((p @ given.T)[np.arange(len(p)), numbers], 1e-300)).mean())


def nce(source: NDArray[np.integer], classes: NDArray[np.integer]) -> float:
    """The negative entropy of classes (n,) given source classes (n,); higher is better, at most 0."""
    _, z = np.unique(source, return_inverse=True)
    _, y = np.unique(classes, return_inverse=True)
    joint = np.zeros((y.max() + 1, z.max() + 1))
    np.add.at(joint, (y, z), 1 / len(y))
    given = joint / joint.sum(0)
    there = joint > 0
    return float((joint[there] * np.log(given[there])).sum())
