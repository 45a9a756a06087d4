"""How far two sets of features lie apart: evidence that data differ, and no more.

These distances say that rows look different to a model. Whether it transfers is another question, and published
comparisons find that they predict it poorly (Renggli et al., 2022; Ibrahim et al., 2022): they never decide alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PERMUTATIONS = 500
KERNEL_ROWS = 1000  # of each side in the kernel's matrix


def frechet(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """The squared Fréchet distance of the normal distributions of two sets of features (n, d) and (m, d).

    |μ - ν|² + tr(C + D - 2 (C D)^½) (Dowson, Landau, 1982; Heusel et al., 2017, for images). It grows with d and
    shrinks with more rows: compare it with that of two random halves of one set.

    >>> x = np.random.default_rng(0).standard_normal((2000, 3))
    >>> round(frechet(x, x + 2.0), 6), round(frechet(x, 3 * x) / frechet(x, 2 * x), 1)
    (12.0, 4.0)
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    a, b = (a - a.mean(0)) / np.sqrt(max(len(a) - 1, 1)), (b - b.mean(0)) / np.sqrt(max(len(b) - 1, 1))
    # the singular values of a bᵀ are the square roots of the eigenvalues of C D: no square root of a matrix is needed
    cross = np.linalg.svd(_short(a) @ _short(b).T, compute_uv=False).sum()
    return float(max(0.0, means + (a**2).sum() + (b**2).sum() - 2 * cross))


def _short(a: Floats) -> Floats:
    """At most d rows with the same second moments."""
    return np.asarray(np.linalg.qr(a, mode="r")) if len(a) > a.shape[1] else a


@dataclass(frozen=True)
class Discrepancy:
    """The squared maximum mean discrepancy, and how often a random division of the rows has one as large."""

    value: float
    p: float


def mmd(x: NDArray[np.floating], y: NDArray[np.floating], seed: int = 0) -> Discrepancy:
    """The unbiased MMD² with a Gaussian kernel as wide as the median distance, tested by permutations.

    Gretton, Borgwardt, Rasch, Schölkopf, Smola: A Kernel Two-Sample Test (JMLR 13, 2012), equation 3. At most 1,000
    rows a side are looked at.

    >>> draw = np.random.default_rng(0)
    >>> same = mmd(draw.standard_normal((90, 4)), draw.standard_normal((90, 4)))
    >>> other = mmd(draw.standard_normal((90, 4)), draw.standard_normal((90, 4)) + 1)
    >>> same.p > 0.05, other.p < 0.01
    (True, True)
    """
    generator = np.random.default_rng(seed)
    a, b = (_some(np.asarray(side, np.float64), generator) for side in (x, y))
    both = np.concatenate([a, b])
    squares = (both**2).sum(1)
    apart = np.maximum(squares[:, None] + squares[None] - 2 * both @ both.T, 0)
    middle = float(np.median(apart[np.triu_indices(len(both), 1)]))
    kernel = np.exp(-apart / max(middle, 1e-300))
    np.fill_diagonal(kernel, 0)
    n, m, total = len(a), len(b), float(kernel.sum())

    def values(left: Floats) -> Floats:
        """Of divisions (rows, divisions), 1 where a row lies in the first part."""
        inside = (left * (kernel @ left)).sum(0)
        rows = kernel.sum(1) @ left  # first part against all
        cross = rows - inside
        outside = total - inside - 2 * cross
        return np.asarray(inside / (n * (n - 1)) + outside / (m * (m - 1)) - 2 * cross / (n * m))

    ours = np.zeros((n + m, 1))
    ours[:n] = 1
    value = float(values(ours)[0])
    divisions = np.zeros((n + m, PERMUTATIONS))
    for column in range(PERMUTATIONS):
        divisions[generator.permutation(n + m)[:n], column] = 1
    as_large = int((values(divisions) >= value - 1e-12).sum())
    return Discrepancy(value, (1 + as_large) / (1 + PERMUTATIONS))


def _some(rows: Floats, generator: np.random.Generator) -> Floats:
    if len(rows) <= KERNEL_ROWS:
        return rows
    return rows[np.sort(generator.choice(len(rows), KERNEL_ROWS, replace=False))]


def proxy_a(error: float) -> float:
    """The proxy A-distance 2 (1 - 2 ε) for the error of a classifier that tells two sets apart: 0 to 2.

    Ben-David, Blitzer, Crammer, Kulesza, Pereira, Vaughan: A Theory of Learning from Different Domains (2010).

    >>> proxy_a(0.5), proxy_a(0.0), proxy_a(0.6)
    (0.0, 2.0, 0.0)
    """
    return max(0.0, 2 * (1 - 2 * error))


def cka(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """The linear centred kernel alignment of two sets of features of the same rows (n, d) and (n, e): 0 to 1.

    Kornblith, Norouzi, Lee, Hinton: Similarity of Neural Network Representations Revisited (ICML 2019), equation 5.

    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> round(cka(x, 5 * x @ np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])), 6)
    1.0
    """
    a, b = (np.asarray(side, np.float64) - np.mean(side, 0, dtype=np.float64) for side in (x, y))
    below = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float((a.T @ b * (a.T @ b)).sum() / below) if below > 0 else 0.0


def covariance_cka(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """How much two sets of rows vary along the same directions of one feature space: 0 to 1.

    `cka` needs the same rows twice; of different rows it is the features whose relations are compared: the cosine of
    the two covariance matrices.

    >>> x = np.random.default_rng(0).standard_normal((500, 2))
    >>> covariance_cka(x, x + 3) > 0.99, covariance_cka(x * [1, 0.01], x * [0.01, 1]) < 0.01
    (True, True)
    """
    a, b = (np.asarray(side, np.float64) - np.mean(side, 0, dtype=np.float64) for side in (x, y))
    c, d = a.T @ a, b.T @ b
    below = np.linalg.norm(c) * np.linalg.norm(d)
    return float((c * d).sum() / below) if below > 0 else 0.0
