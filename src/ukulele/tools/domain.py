"""What the training rows look like to a model, in short, so that rows unlike them are noticed.

Mean and covariance of the features, shrunk: the main axes with their variances, and one variance for all other
directions. The distance is Mahalanobis'; what counts as far is read off rows that the statistics were not made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

AXES = 128
ENOUGH, FOLDS = 200, 5  # held rows that do alone
FALSE = 0.01  # share of rows like those of training that may be called unlike them

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Domain:
    """Statistics of training features: mean (d,), axes (k, d) with variances (k,), and the variance of the rest."""

    mean: Floats
    axes: Floats
    variances: Floats
    rest: float
    limit: float  # distance from which a row lies outside
    rows: int  # the mean and covariance rest on
    held: int  # rows the limit rests on

    @classmethod
    def of(cls, train: Floats, held: Floats) -> Self:
        """From features of training rows (n, d) and of rows that were not trained on (m, d).

        The limit is passed by 1 in 100 rows like the held ones; where those are few, training rows are held out by
        fold, too.
        """
        whole = cls._from(train)
        apart = [whole.distance(held)]
        if len(held) < ENOUGH and len(train) > FOLDS:
            fold = np.arange(len(train)) % FOLDS
            apart += [cls._from(train[fold != k]).distance(train[fold == k]) for k in range(FOLDS)]
        known = np.sort(np.concatenate(apart))
        place = min(int(np.ceil((len(known) + 1) * (1 - FALSE))), len(known))
        return replace(whole, limit=float(known[place - 1]), held=len(known))

    @classmethod
    def _from(cls, train: Floats) -> Self:
        mean = train.mean(0, dtype=np.float64)
        centred = train.astype(np.float64) - mean
        width, count = centred.shape[1], len(centred)
        values, vectors = np.linalg.eigh(centred.T @ centred / max(1, count - 1))
        axes = min(AXES, width, max(1, count - 1))
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        rest = float(values[axes:].mean()) if axes < width else float(values[-1])
        shrunk = count / (count + width)  # towards the mean variance where rows are few
        average = float(values.mean())
        kept = shrunk * values[:axes] + (1 - shrunk) * average
        rest = max(shrunk * rest + (1 - shrunk) * average, 1e-9 * max(average, 1e-9))
        return cls(
            mean.astype(np.float32),
            vectors[:, :axes].T.astype(np.float32),
            np.maximum(kept, rest * 1e-3).astype(np.float32),
            rest,
            np.inf,
            count,
            0,
        )

    def distance(self, x: Floats) -> Floats:
        """How far rows (n, d) lie from the training rows (n,)."""
        centred = x.astype(np.float32) - self.mean
        along = centred @ self.axes.T
        beside = np.maximum((centred**2).sum(1) - (along**2).sum(1), 0)
        return np.asarray(np.sqrt((along**2 / self.variances).sum(1) + beside / self.rest), np.float32)

    def outside(self, x: Floats) -> NDArray[np.bool_]:
        """Which rows (n, d) are unlike the training rows."""
        return np.asarray(self.distance(x) > self.limit, bool)

    def frechet(self, x: Floats) -> float:
        """The squared Fréchet distance of rows (n, d), as a normal distribution, to that of the training rows.

        >>> x = np.random.default_rng(0).standard_normal((4000, 3)).astype(np.float32)
        >>> domain = Domain.of(x, x[:300])
        >>> round(domain.frechet(x + 2), 1), domain.frechet(x) < 0.01
        (12.0, True)
        """
        mean = x.mean(0, dtype=np.float64)
        centred = (x.astype(np.float64) - mean) / np.sqrt(max(len(x) - 1, 1))
        along = centred @ self.axes.T
        beside = centred - along @ self.axes
        root = (along * np.sqrt(self.variances)) @ self.axes + np.sqrt(self.rest) * beside
        short = np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root  # with the same singular values
        cross = np.linalg.svd(short, compute_uv=False).sum()
        spread = float(self.variances.sum()) + self.rest * (len(mean) - len(self.variances))
        return float(max(0.0, ((mean - self.mean) ** 2).sum() + spread + (centred**2).sum() - 2 * cross))

    def drawn(self, count: int, generator: np.random.Generator) -> Floats:
        """Rows (count, d) from the normal distribution of these statistics."""
        noise = generator.standard_normal((count, len(self.mean)))
        along = noise @ self.axes.T
        beside = (noise - along @ self.axes) * np.sqrt(self.rest)
        return np.asarray(self.mean + (along * np.sqrt(self.variances)) @ self.axes + beside, np.float32)

    def arrays(self) -> dict[str, Floats]:
        """Its arrays, by name."""
        return {"mean": self.mean, "axes": self.axes, "variances": self.variances}

    def numbers(self) -> dict[str, Any]:
        """The rest, as plain JSON."""
        return {"rest": self.rest, "limit": self.limit, "rows": self.rows, "held": self.held}

    @classmethod
    def load(cls, arrays: Mapping[str, Floats], numbers: Mapping[str, Any]) -> Self:
        """The inverse of `arrays` and `numbers`."""
        return cls(
            arrays["mean"], arrays["axes"], arrays["variances"], float(numbers["rest"]), float(numbers["limit"]),
            int(numbers["rows"]), int(numbers["held"]),
        )  # fmt: skip
