"""The singular values of features and the left singular vectors: all that LogME and the H-score need of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NOTHING = 1e-12  # of the largest squared singular value: below it a direction is rounding


@dataclass(frozen=True)
class Spectrum:
    """Left singular vectors (n, k) and squared singular values (k,) of features (n, d), largest first."""

    left: Floats
    squares: Floats
    width: int  # d


def spectrum(features: NDArray[np.floating]) -> Spectrum:
    """The spectrum of features (n, d), from whichever Gram matrix is the smaller one.

    >>> found = spectrum(np.array([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    >>> found.squares.round(6).tolist(), found.left.shape
    ([9.0, 4.0], (3, 2))
    """
    x = np.asarray(features, np.float64)
    n, d = x.shape
    values, vectors = np.linalg.eigh(x.T @ x if n > d else x @ x.T)
    keep = values[::-1] > NOTHING * max(float(values[-1]), 1e-300)
    squares, vectors = values[::-1][keep], vectors[:, ::-1][:, keep]
    left = x @ vectors / np.sqrt(squares) if n > d else vectors
    return Spectrum(left, squares, d)
