"""Who trains and who is asked: stratified, seeded, with groups kept together, or from past to future."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ukulele.data.frame import Indices
from ukulele.errors import DataError

ROOM = 1.1  # how far a group may overfill a split


def by_strata(strata: Indices, groups: Indices, shares: Sequence[float], seed: int) -> NDArray[np.int8]:
    """A part for each row: groups whole, the strata in each part as in all.

    Parameters
    ----------
    strata, groups
        A number for each row, both from 0.
    shares
        Of the parts, with a sum of 1; the first is the one to train on and takes what does not fit elsewhere.
    seed
        The same seed gives the same parts.

    Returns
    -------
    NDArray
        Places in `shares`.
    """
    rng = np.random.default_rng(seed)
    target = _wanted(np.bincount(strata), shares)
    part = np.full(len(strata), -1, np.int8)
    sizes = np.bincount(groups)
    have = np.zeros_like(target)
    _place_groups(part, strata, groups, sizes, (target, have), rng)
    alone = rng.permutation(np.flatnonzero(sizes[groups] == 1))
    alone = alone[np.argsort(strata[alone], kind="stable")]
    counts = np.bincount(strata[alone], minlength=target.shape[1])
    rank = np.arange(len(alone)) - np.repeat(np.cumsum(counts) - counts, counts)
    need = np.maximum(target - have, 0)[1:]  # of the parts that are not for training
    edges = np.cumsum(need, axis=0)
    chosen = np.zeros(len(alone), np.int8)
    for at in range(len(shares) - 1, 0, -1):
        chosen[rank < edges[at - 1, strata[alone]]] = at
    part[alone] = chosen
    return part


def _wanted(counts: Indices, shares: Sequence[float]) -> Indices:
    """Rows of each stratum in each part, at least one while two or more are left for training."""
    target = np.zeros((len(shares), len(counts)), np.int64)
    left = counts.copy()
    for at in sorted(range(1, len(shares)), key=lambda at: -shares[at]):
        if shares[at] > 0:
            wanted = np.maximum(np.rint(counts * shares[at]).astype(np.int64), 1)
            target[at] = np.minimum(wanted, np.maximum(left - 1, 0))
            left -= target[at]
    target[0] = left
    return target


def _place_groups(
    part: NDArray[np.int8],
    strata: Indices,
    groups: Indices,
    sizes: Indices,
    plan: tuple[Indices, Indices],
    rng: np.random.Generator,
) -> None:
    """Put each group of several rows where its strata are wanted most, the largest first."""
    target, have = plan
    order = np.argsort(groups, kind="stable")
    ends = np.cumsum(sizes)
    several = np.flatnonzero(sizes > 1)
    several = several[np.lexsort((rng.random(len(several)), -sizes[several]))]
    totals = target.sum(axis=1)
    for group in several.tolist():
        rows = order[ends[group] - sizes[group] : ends[group]]
        classes, counts = np.unique(strata[rows], return_counts=True)
        filled = have.sum(axis=1)
        fits = filled + len(rows) <= ROOM * totals
        lack = ((target - have)[:, classes] * counts).sum(axis=1) / np.maximum(totals, 1)
        if not fits.any():
            fits = (filled == 0) & (totals > 0)
        at = int(np.argmax(np.where(fits, lack, -np.inf))) if fits.any() else 0
        part[rows] = at
        have[at, classes] += counts


def by_groups(strata: Indices, groups: Indices, shares: Sequence[float], seed: int) -> NDArray[np.int8]:
    """As `by_strata`, for groups that the user names: no part stays empty.

    Raises
    ------
    DataError
        If there are fewer groups than parts.
    """
    wanted = [at for at, share in enumerate(shares) if share > 0]
    count = len(np.unique(groups))
    if count < len(wanted):
        raise DataError(
            f"the group column has {count} groups; {len(wanted)} splits need at least {len(wanted)}.",
            hint="Choose another --group column or leave it out.",
        )
    part = by_strata(strata, groups, shares, seed)
    for at in wanted:
        if not (part == at).any():
            donors, sizes = np.unique(groups[part == np.bincount(part).argmax()], return_counts=True)
            part[groups == donors[sizes.argmin()]] = at
    return part


def by_time(times: NDArray[np.float64], shares: Sequence[float]) -> NDArray[np.int8]:
    """Parts in order of time: the past trains, then validation, then test. Equal times stay together.

    >>> by_time(np.array([3.0, 1.0, 2.0, 4.0]), (0.5, 0.25, 0.25)).tolist()
    [1, 0, 0, 2]
    """
    order = np.argsort(times, kind="stable")
    edges = np.rint(np.cumsum(shares)[:-1] * len(times)).astype(np.int64)
    ordered = times[order]
    part = np.zeros(len(times), np.int8)
    for edge in edges:
        if 0 < edge < len(times):
            first = np.searchsorted(ordered, ordered[edge], side="left")
            first = first if first > 0 else np.searchsorted(ordered, ordered[edge], side="right")
            part[order[first:]] += 1
    return part
