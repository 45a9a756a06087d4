"""Several scores of several models as one, and what choosing each of them is expected to cost.

Scores have units of their own, so each is brought to the scale of the first (the probe's held-out metric): its mean
and spread over the models become those of the first. A score whose differences are no larger than its own noise is
drawn in towards the mean by as much, and the others decide.

Two things are unknown: which rows were drawn, and which score to believe. Both are drawn again: rows by the bootstrap,
the scores' weights from a Dirichlet distribution around those given. What a model lies behind the best one, on
average over those draws, is its expected regret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ukulele.rank.spectrum import Floats


@dataclass(frozen=True)
class Scores:
    """One score of all models.

    `values` (models,) may have NaN where a model has no such score; `drawn` (draws, models) are those of resampled
    rows, the same rows in a draw for all models and scores, or None where the score has none.
    """

    name: str
    values: Floats
    weight: float
    drawn: Floats | None = None


@dataclass(frozen=True)
class Fused:
    """Of each model (models,): the fused value on the scale of the first score, and the expected regret."""

    values: Floats
    regret: Floats


def fuse(scores: Sequence[Scores], seed: int = 0) -> Fused:
    """Fuse the scores; the first must be there for every model. Where it is the same for all, all is.

    Examples
    --------
    >>> sure = Scores("probe", np.array([0.9, 0.8, 0.6]), 1.0)
    >>> other = Scores("LogME", np.array([-0.2, -0.1, np.nan]), 0.25)
    >>> fused = fuse([sure, other])
    >>> int(fused.values.argmax()), int(fused.regret.argmin()), bool((fused.regret >= 0).all())
    (0, 0, True)
    """
    first = scores[0]
    models = len(first.values)
    if models == 1:
        return Fused(first.values.copy(), np.zeros(1))
    draws = max((len(s.drawn) for s in scores if s.drawn is not None), default=1000)
    scaled = [_scaled(one, first, draws) for one in scores]
    there = np.array([~np.isnan(one.values) for one in scores])  # (scores, models)
    given = np.array([one.weight for one in scores])
    values = _mean(np.stack([value for value, _ in scaled]), given[:, None] * there)
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(len(scores) * given / given.sum(), draws)  # (draws, scores)
    drawn = _mean(np.stack([many for _, many in scaled], 1), shares[:, :, None] * there, axis=1)
    return Fused(values, (drawn.max(1, keepdims=True) - drawn).mean(0))


def _scaled(one: Scores, first: Scores, draws: int) -> tuple[Floats, Floats]:
    """Values (models,) and draws (draws, models) on the scale of the first score."""
    known = ~np.isnan(one.values)
    if known.sum() < 2 or not np.ptp(one.values[known]) > 0:
        middle = np.full_like(first.values, first.values.mean())
        return middle, np.broadcast_to(middle, (draws, len(middle)))
    mean, variance = one.values[known].mean(), one.values[known].var()
    # on the models that have both, so that a score of a few good models is not taken for one of all
    centre, spread = first.values[known].mean(), first.values[known].std()
    factor = spread / np.sqrt(variance + _noise(one, known))
    drawn = one.values[None] if one.drawn is None else one.drawn
    many = centre + (np.where(np.isnan(drawn), one.values, drawn) - mean) * factor
    return centre + (one.values - mean) * factor, np.broadcast_to(many, (draws, len(one.values)))


def _noise(one: Scores, known: np.ndarray) -> float:
    """The variance of a model's value, less what moves all models alike."""
    if one.drawn is None:
        return 0.0
    drawn = one.drawn[:, known]
    return float(np.nanmean(np.nanvar(drawn - np.nanmean(drawn, 1, keepdims=True), 0)))


def _mean(values: Floats, weights: Floats, axis: int = 0) -> Floats:
    """The weighted mean of those that have a weight; their values may be NaN elsewhere."""
    sums: Floats = (np.where(weights > 0, values, 0.0) * weights).sum(axis)
    return np.asarray(sums / np.maximum(weights.sum(axis), 1e-300))
