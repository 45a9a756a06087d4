"""H-score: how much of the features' spread lies between classes, plain and with a shrunk covariance.

Bao, Li, Huang, Zhang, Zheng, Zamir, Guibas: An Information-Theoretic Approach to Transferability in Task Transfer
Learning (ICIP 2019), definition 2: tr(cov(f)⁻¹ cov(E[f | y])). Ibrahim, Ponomareva, Mazumder: Newer is not always
better (ECML 2022), equation 5, shrink cov(f) as Ledoit and Wolf (2004) do and multiply by one less the shrinkage.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ukulele.rank.spectrum import Floats, spectrum


def h_score(features: NDArray[np.floating], classes: NDArray[np.integer], *, shrunk: bool = False) -> float:
    """The H-score of features (n, d) for classes (n,); higher is better, at most the number of classes less one.

    The plain one means little where there are not many more rows than features; the shrunk one does.

    Examples
    --------
    >>> draw = np.random.RandomState(0)
    >>> y, mu = draw.randint(0, 5, 300), draw.randn(5, 16)
    >>> f = mu[y] + draw.randn(300, 16)
    >>> round(h_score(f, y), 6), round(h_score(f, y, shrunk=True), 6)
    (2.97368, 2.891917)
    """
    x = np.asarray(features, np.float64)
    x = x - x.mean(0)
    found = spectrum(x)
    n = len(x)
    _, numbers, counts = np.unique(classes, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), found.left.shape[1]))
    np.add.at(sums, numbers, found.left)
    # cov(E[f | y]), as far as it lies on the axes of the features
    between = found.squares * (sums**2 / counts[:, None]).sum(0) / (n - 1)
    if not shrunk:
        return float((between / (found.squares / (n - 1))).sum())
    share = shrinkage(x, found.squares)
    middle = float(found.squares.sum()) / n / found.width
    spread = (1 - share) * found.squares / n + share * middle
    return float((1 - share) * (between / spread).sum())


def shrinkage(centred: Floats, squares: Floats) -> float:
    """Ledoit's and Wolf's share of the identity (2004, lemma 3.2 ff.) for centred rows (n, d).

    `squares` are the squared singular values of those rows.
    """
    n, d = centred.shape
    middle = float(squares.sum()) / n / d
    norm = float((squares**2).sum()) / n**2  # of the covariance
    away = norm - d * middle**2
    lengths = (centred**2).sum(1)
    noise = (float((lengths**2).sum()) / n - norm) / n
    return min(noise, away) / away if away > 0 else 0.0
