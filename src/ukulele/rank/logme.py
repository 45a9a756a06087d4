"""LogME: how probable the targets are under the best Bayesian linear model on the features.

You, Liu, Wang, Long: LogME: Practical Assessment of Pre-trained Models for Transfer Learning (ICML 2021), equations
1 to 3, with the fixed point of their later paper (JMLR 23, 2022, algorithm 3).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ukulele.rank.spectrum import Floats, Spectrum, spectrum

ROUNDS, CLOSE = 11, 1e-3  # of the fixed point, as its authors have them


def logme(features: NDArray[np.floating] | Spectrum, targets: NDArray[np.floating]) -> float:
    """The mean over targets of the logarithm of the evidence per row; higher is better.

    Parameters
    ----------
    features
        (n, d), neither centred nor scaled; or their spectrum, where it is at hand.
    targets
        (n, k): one column a class (0 and 1), a label or a number.

    Examples
    --------
    >>> draw = np.random.RandomState(0)
    >>> y, mu = draw.randint(0, 5, 300), draw.randn(5, 16)
    >>> f = mu[y] + draw.randn(300, 16)
    >>> round(logme(f, np.eye(5)[y]), 6)
    -0.048893
    """
    found = features if isinstance(features, Spectrum) else spectrum(features)
    y = np.asarray(targets, np.float64)
    return float(np.mean([_evidence(found, column) for column in y.T]))


def _evidence(found: Spectrum, y: Floats) -> float:
    """(log p(y | F, α, β)) / n at the α (of the weights) and β (of the noise) that make it largest."""
    n, sigma = len(y), found.squares
    x2 = (found.left.T @ y) ** 2
    beyond = float(y @ y - x2.sum())  # of y, what lies in no direction of the features
    alpha = beta = 1.0
    for _ in range(ROUNDS):
        t = alpha / beta
        gamma = float((sigma / (sigma + t)).sum())
        m2 = float((sigma * x2 / (t + sigma) ** 2).sum())
        r2 = float((x2 / (1 + sigma / t) ** 2).sum()) + beyond
        alpha, beta = gamma / (m2 + 1e-5), (n - gamma) / (r2 + 1e-5)
        if abs(alpha / beta - t) / t <= CLOSE:
            break
    t = alpha / beta
    m2 = float((sigma * x2 / (t + sigma) ** 2).sum())
    r2 = float((x2 / (1 + sigma / t) ** 2).sum()) + beyond
    # directions without spread have log α in the determinant and in the prior: they cancel
    inside = len(sigma) * math.log(alpha) + n * math.log(beta) - float(np.log(alpha + beta * sigma).sum())
    return (inside - beta * r2 - alpha * m2 - n * math.log(2 * math.pi)) / (2 * n)
