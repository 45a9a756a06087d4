"""A learning curve extrapolated: what more labels would bring, with an interval.

Scores rise with the rows n as MMF4, (a b + c nᵈ) / (b + nᵈ), or POW4, a - b (n + d)⁻ᶜ: of the curves in use these two
extrapolate best (Viering, Loog: The Shape of Learning Curves, 2023; Mohr et al.: LCDB 1.0, 2022). Both are
A - B u(n), linear in A and B once two parameters that bend u are given. So every start on a grid of those two is solved
in closed form, and all of them answer together, each by its likelihood: one best curve would hide that others fit as
well. Few rows leave nearly all open; then it counts that curves rise by a good part of the way from their first score
to the best there can be. The last score, as if nothing more were gained, stands beside them: it is hard to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SAMPLES = 2000
LEVEL = 0.90
FEWEST, FEWEST_DRAWS = 4, 20  # points, and draws in which all of them are defined
FARTHEST = 64  # times the rows: no further is looked for a gain
STEPS = 8  # to a doubling, where it is
JITTER = 1e-3  # of a score: what no bootstrap of the test rows sees
WIDER = 1.3  # are the intervals than those of the curves, which held too few outcomes of those measured
TRAINED = 2.0  # the variance of scores, over that of the test rows alone
RISE = (0.85, 0.3)  # of the way from the first score to the best: mean and deviation of what curves rise by in the end


@dataclass(frozen=True)
class Fit:
    """Curves drawn by how well they fit: `top` - `drop` * u(n), each with its `bend` and kind."""

    top: Floats  # (samples,)
    drop: Floats
    bend: Floats  # (samples, 2)
    mmf: NDArray[np.bool_]
    first: float  # rows of the smallest subset: the unit of n

    def at(self, rows: float | Floats) -> Floats:
        """The scores at some numbers of rows: (samples,), or (samples, rows)."""
        n = np.atleast_1d(np.asarray(rows, np.float64)) / self.first
        u = np.where(self.mmf[:, None], _mmf(n, self.bend), _pow(n, self.bend))
        found = self.top[:, None] - self.drop[:, None] * u
        return np.asarray(found[:, 0] if np.ndim(rows) == 0 else found)


def fit_curve(
    sizes: Sequence[int], draws: Floats, scores: Sequence[float], most: float, rows: int, seed: int = 0
) -> Fit | None:
    """Fit the curves to measured scores.

    Parameters
    ----------
    sizes, scores
        Rows of the nested subsets, ascending, and the score on each; higher is better.
    draws
        The scores on resampled test rows (draws, sizes), the same rows in a draw for all sizes: how the errors of the
        points go together.
    most
        The best score there can be.
    rows
        On how many rows each score rests.

    Returns
    -------
    Fit or None
        None where there are too few points, or the score is not defined on them.

    Examples
    --------
    >>> sizes = np.array([16, 32, 64, 128, 256])
    >>> scores = 0.9 - 0.8 * sizes ** -0.5
    >>> draws = scores + 0.002 * np.random.default_rng(0).standard_normal((200, 5))
    >>> fit = fit_curve(sizes, draws, scores, 1.0, 2000)
    >>> round(float(np.median(fit.at(1024))), 2)
    0.87
    """
    s = np.asarray(scores, np.float64)
    if len(s) < FEWEST or not np.isfinite(s).all() or len(draws) < FEWEST_DRAWS:
        return None
    n = np.asarray(sizes, np.float64) / sizes[0]
    bends, mmf = _grid(float(n[-1]))
    u = np.where(mmf[:, None], _mmf(n, bends), _pow(n, bends))  # (grid, sizes)
    root = np.linalg.inv(np.linalg.cholesky(_errors(s, draws, most, rows)))
    way = max(most - float(s[0]), 0.05)
    solved = _solve((u @ root.T, root @ s, root @ np.ones(len(s))), most, (RISE[0] * way, RISE[1] * way))
    least = float(solved[2].min())
    excess = max(1.0, least / max(len(s) - 3, 1))  # points that scatter more than the test rows explain
    generator = np.random.default_rng(seed)
    weights = np.exp(-(solved[2] - least) / (2 * excess))
    picked = generator.choice(len(weights), SAMPLES, p=weights / weights.sum())
    top, drop = _drawn(solved, picked, most, excess, generator)
    return Fit(top, drop, bends[picked], mmf[picked], float(sizes[0]))


def _errors(s: Floats, draws: Floats, most: float, rows: int) -> Floats:
    """How the scores err, and err together (sizes, sizes).

    Of resampled rows that are all right none is ever wrong, so shares vary at least as those of two rows more do, one
    of them right and one wrong (Agresti, Coull, 1998). And other training rows would have given other scores: that is
    about as much again, and goes together for subsets that share their rows.
    """
    covariance = np.asarray(np.cov(np.asarray(draws, np.float64), rowvar=False), np.float64)
    if most == 1 and (s >= 0).all():
        share = (rows * s + 1) / (rows + 2)
        lack = np.sqrt(np.maximum(share * (1 - share) / (rows + 2) - np.diag(covariance), 0))
        covariance = covariance + 0.5 * (np.outer(lack, lack) + np.diag(lack**2))
    return np.asarray(TRAINED * covariance + JITTER**2 * np.eye(len(s)), np.float64)


def _grid(range_: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Starts: POW4's (d, c) and MMF4's (b, d); n is in units of the smallest subset."""
    power = [(d, c) for d in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0) for c in np.geomspace(0.05, 2.0, 16)]
    bend = [(b, d) for b in np.geomspace(0.05, 4 * range_, 14) for d in np.geomspace(0.2, 3.0, 12)]
    return np.array(power + bend), np.array([False] * len(power) + [True] * len(bend))


def _pow(n: Floats, bends: Floats) -> Floats:
    return np.asarray(((n[None] + bends[:, :1]) / (1 + bends[:, :1])) ** -bends[:, 1:])


def _mmf(n: Floats, bends: Floats) -> Floats:
    return np.asarray(bends[:, :1] / (bends[:, :1] + n[None] ** bends[:, 1:]))


Solved = tuple[Floats, Floats, Floats]  # of each start: (top, drop), their covariance, and the misfit


def _solve(whitened: tuple[Floats, Floats, Floats], most: float, rise: tuple[float, float]) -> Solved:
    """Generalised least squares within top ≤ most and drop ≥ 0, the drop being expected about `rise`.

    `whitened`: u (grid, sizes), the scores and the ones (sizes,), in coordinates where errors are independent.
    """
    u, s, one = whitened
    sure = 1 / rise[1] ** 2
    normal = np.empty((len(u), 2, 2))
    normal[:, 0, 0] = one @ one
    normal[:, 0, 1] = normal[:, 1, 0] = -(u @ one)
    normal[:, 1, 1] = (u**2).sum(1) + sure
    normal += 1e-9 * normal[:, :1, :1] * np.eye(2)
    right = np.stack([np.full(len(u), one @ s), sure * rise[0] - u @ s], 1)
    inverse = np.asarray(np.linalg.inv(normal), np.float64)
    found = (inverse @ right[..., None])[..., 0]
    high = found[:, 0] > most
    found[high, 0] = most
    found[high, 1] = (u[high] @ (most * one - s) + sure * rise[0]) / ((u[high] ** 2).sum(1) + sure)
    flat = found[:, 1] < 0
    found[flat] = (min(most, float(one @ s / (one @ one))), 0.0)
    misfit = ((found[:, :1] * one - found[:, 1:] * u - s) ** 2).sum(1) + sure * (found[:, 1] - rise[0]) ** 2
    return found, inverse, misfit


def _drawn(
    solved: Solved, picked: NDArray[np.intp], most: float, excess: float, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Tops and drops around the solutions, drawn again where they fall outside what can be, or else put back."""
    centre = solved[0][picked]
    root = np.linalg.cholesky(excess * solved[1][picked])
    found, waiting = centre.copy(), np.ones(len(picked), bool)
    for _ in range(20):
        tried = centre + (root @ generator.standard_normal((len(picked), 2, 1)))[..., 0]
        good = waiting & (tried[:, 0] <= most) & (tried[:, 1] >= 0)
        found[good] = tried[good]
        waiting &= ~good
    return found[:, 0], found[:, 1]


# ---------------------------------------------------------------- what it says


def between(values: Floats, level: float = LEVEL) -> dict[str, float]:
    """The median of draws, and the interval that is to hold the outcome at that level: that of the draws, made wider
    as far as there are draws, so that nothing impossible is in it.
    """
    least, low, middle, high, most = np.quantile(values, (0, (1 - level) / 2, 0.5, (1 + level) / 2, 1))
    low, high = middle - WIDER * (middle - low), middle + WIDER * (high - middle)
    return {"value": float(middle), "low": float(max(least, low)), "high": float(min(most, high))}


def rows_for(fit: Fit, rows: int, gain: float) -> dict[str, float | None]:
    """How many more rows than `rows` for a score that is better by `gain`.

    `value`, `low` and `high` are None where that is further than 64 times the rows; `reached` is the share of the
    curves that get there.
    """
    sizes = rows * 2 ** (np.arange(STEPS * int(np.log2(FARTHEST)) + 1) / STEPS)
    scores = fit.at(sizes)
    there = scores >= scores[:, :1] + gain
    first = np.where(there.any(1), there.argmax(1), len(sizes))
    far = np.append(sizes, np.inf)[first] - rows
    # NaN-free quantiles of numbers that may be infinite: one of the draws each
    found = np.quantile(far, ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2), method="higher")
    low, middle, high = (float(value) if np.isfinite(value) else None for value in found)
    return {"value": middle, "low": low, "high": high, "reached": float(there.any(1).mean())}
