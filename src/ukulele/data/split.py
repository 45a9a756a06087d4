"""Who trains and who is asked: stratified, seeded, with groups kept together, or from past to future."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ukulele.data.frame import Indices
from ukulele.errors import DataError

ROOM = 1.1  # how far a group may overfill a split
DRIFT = 0.01  # of a split's rows, that it may have more or fewer where each stratum's are rounded by itself
Flags = NDArray[np.bool_]


def by_strata(
    strata: Indices, groups: Indices, shares: Sequence[float], seed: int, families: Indices | None = None
) -> NDArray[np.int8]:
    """A part for each row: groups whole, the strata in each part as in all.

    A stratum too small for a row in every part shares their places with others, so that the parts speak for the same
    rows: not each has every stratum, but one of two rows or more is trained on, and one of a single row only that.

    Parameters
    ----------
    strata, groups
        A number for each row, both from 0.
    shares
        Of the parts, with a sum of 1; the first is the one to train on and takes what does not fit elsewhere.
    seed
        The same seed gives the same parts.
    families
        A number for each stratum: every family has a row in every part, where it has enough. None: all are one.

    Returns
    -------
    NDArray
        Places in `shares`.
    """
    counts = np.bincount(strata)
    families = np.zeros(len(counts), np.int64) if families is None else families
    target = np.zeros((len(shares), len(counts)), np.int64)
    for family in np.unique(families).tolist():
        own = families == family
        target[:, own] = _wanted(counts[own], shares, np.random.default_rng((seed, 1, family)))
    return _dealt(strata, groups, target, np.random.default_rng(seed))


def one_more(strata: Indices, groups: Indices, held: Flags, free: Flags, size: int, seed: int) -> Flags:
    """Rows for one more part, drawn as those held out were, so that its rows are like theirs.

    It takes less of a stratum that gave more than its share already: that a row of a small stratum is held out, and
    what is left to learn it from, depends as little as it can on the part.

    Parameters
    ----------
    strata, groups
        As for `by_strata`.
    held, free
        Which rows are held out already, and which may be taken; groups are whole in both.
    size
        About how many rows to take.
    seed
        The same seed gives the same rows.
    """
    rng = np.random.default_rng((seed, 77))
    counts, gave = np.bincount(strata), np.bincount(strata[held], minlength=int(strata.max()) + 1)
    rows = np.flatnonzero(free)
    own = np.bincount(strata[rows], minlength=len(counts))
    able = counts * (counts > 1)
    before = able * (gave.sum() / max(int(able.sum()), 1))
    after = np.minimum(able * ((gave.sum() + size) / max(int(able.sum()), 1)), np.maximum(counts - 1, 0))
    here, there = before % 1, after % 1  # of such strata the first `here` gave one more; the first `there` are to
    more = np.where(
        gave > before, np.minimum(there, here) / np.maximum(here, 1e-9), np.maximum(there - here, 0) / (1 - here)
    )
    most = np.maximum(np.minimum(own, counts - gave - 1), 0)
    order = np.lexsort((rng.random(len(counts)), counts))
    taken = _rounded(np.clip(np.floor(after) - gave + more, 0, most), most, size, order, rng)
    numbers = np.unique(groups[rows], return_inverse=True)[1]
    found = np.zeros(len(strata), bool)
    found[rows] = _dealt(strata[rows], numbers, np.stack([own - taken, taken]), rng) == 1
    return found


def _dealt(strata: Indices, groups: Indices, target: Indices, rng: np.random.Generator) -> NDArray[np.int8]:
    """A part for each row, of each stratum about as many as `target` (parts, strata) says."""
    part = np.full(len(strata), -1, np.int8)
    sizes = np.bincount(groups)
    have = np.zeros_like(target)
    _place_groups(part, strata, groups, sizes, (target, have), rng)
    alone = rng.permutation(np.flatnonzero(sizes[groups] == 1))
    alone = alone[np.argsort(strata[alone], kind="stable")]
    counts = np.bincount(strata[alone], minlength=target.shape[1])
    rank = np.arange(len(alone)) - np.repeat(np.cumsum(counts) - counts, counts)
    need = np.maximum(target - have, 0)[1:]  # of the parts that are not for training
    for at, room in enumerate(np.maximum((target - have).sum(axis=1), 0)[1:].tolist()):
        if need[at].sum() > room:  # groups took more of other strata than these were to give
            need[at] = _rounded(need[at], need[at], room, np.arange(len(counts)), rng)
    edges = np.minimum(np.cumsum(need, axis=0), np.maximum(counts - (have[0] == 0), 0))
    chosen = np.zeros(len(alone), np.int8)
    for at in range(len(target) - 1, 0, -1):
        chosen[rank < edges[at - 1, strata[alone]]] = at
    part[alone] = chosen
    return part


def _wanted(counts: Indices, shares: Sequence[float], rng: np.random.Generator) -> Indices:
    """Rows of each stratum in each part: its share, rounded, where every part so gets a row of each stratum and about
    its share of all; else see `_shared`.
    """
    exact: NDArray[np.float64] = np.outer(shares, counts).astype(np.float64)
    target = np.rint(exact).astype(np.int64)
    drift = np.abs((target - exact).sum(axis=1))[1:]
    target[0] = counts - target[1:].sum(axis=0)
    if target[np.array(shares) > 0].min() < 1 or (drift > np.maximum(1, DRIFT * exact.sum(axis=1)[1:])).any():
        target[1:] = _shared(counts, shares, rng)
        target[0] = counts - target[1:].sum(axis=0)
    return target


def _shared(counts: Indices, shares: Sequence[float], rng: np.random.Generator) -> Indices:
    """Rows of each stratum in each held-out part, where small strata share the parts' places: (parts - 1, strata).

    In expectation every stratum gives its share of two rows or more and keeps one at least; those of one size together
    give theirs to a row. What is held out is drawn first and then dealt to the parts, so that none gives to two parts
    before it must.
    """
    most = np.maximum(counts - 1, 0)
    able = int(counts[counts > 1].sum())
    places = [max(1, round(able * share)) if share > 0 else 0 for share in shares[1:]]
    order = np.lexsort((rng.random(len(counts)), counts))
    left = _rounded(counts * (counts > 1), most, sum(places), order, rng)
    given = []
    for at, own in enumerate(places):
        total = round(int(left.sum()) * own / max(sum(places[at:]), 1))
        given.append(_rounded(left, left, total, np.lexsort((rng.random(len(counts)), counts)), rng))
        left = left - given[-1]
    return np.array(given, np.int64)


def _rounded(
    weights: Indices | NDArray[np.float64], most: Indices, total: int, order: Indices, rng: np.random.Generator
) -> Indices:
    """Whole numbers with a sum of `total`, each the one below or above its share by weight, `most` at most.

    Systematic sampling: neighbours in `order` share a fraction, and each share is met in expectation.
    """
    exact = np.minimum(weights * (total / max(float(weights.sum()), 1e-9)), most)
    steps = np.rint(np.cumsum(exact[order]) + rng.uniform(-0.5, 0.5))
    found = np.zeros_like(most)
    found[order] = np.diff(steps, prepend=0)
    return np.asarray(np.minimum(found, most), np.int64)


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
    totals, unplaced = target.sum(axis=1), target.sum(axis=0)
    for group in several.tolist():
        rows = order[ends[group] - sizes[group] : ends[group]]
        classes, counts = np.unique(strata[rows], return_counts=True)
        filled = have.sum(axis=1)
        fits = filled + len(rows) <= ROOM * totals
        lack = ((target - have)[:, classes] * counts).sum(axis=1) / np.maximum(totals, 1)
        snug = fits & (have[:, classes] + counts <= target[:, classes]).all(axis=1)
        last = (unplaced[classes] == counts) & (have[0, classes] == 0)
        unplaced[classes] -= counts
        if fits[0] and last.any():  # of a stratum that nothing else is left to learn from
            fits[1:] = False
        elif snug.any():
            fits = snug
        if not fits.any():
            fits = (filled == 0) & (totals > 0)
        at = int(np.argmax(np.where(fits, lack, -np.inf))) if fits.any() else 0
        part[rows] = at
        have[at, classes] += counts


def by_groups(
    strata: Indices, groups: Indices, shares: Sequence[float], seed: int, families: Indices | None = None
) -> NDArray[np.int8]:
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
    part = by_strata(strata, groups, shares, seed, families)
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
