"""Interpolated Kneser-Ney: how likely a token is after the few before it, from counts alone.

Kneser & Ney, 1995; in the interpolated form of Chen & Goodman, 1998, section 4.1.6, one discount an order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Floats = NDArray[np.float64]
PRIME = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplying by it is a bijection of 64 bits


@dataclass(frozen=True)
class Order:
    """The n-grams of one length: how often each counts, and of each context the sum of those and how many there are."""

    grams: Hashes  # sorted
    counts: Floats
    contexts: Hashes  # sorted
    totals: Floats
    kinds: Floats
    discount: float


@dataclass(frozen=True)
class KneserNey:
    """Counts of n-grams, the shortest first; `size` tokens are equally likely where nothing else is known."""

    orders: tuple[Order, ...]
    size: int

    def losses(self, ids: Sequence[int]) -> Floats:
        """Minus the natural logarithm of the probability of each token but the first, given those before it."""
        tokens = np.asarray(ids, np.int64)
        if len(tokens) < 2:
            return np.zeros(0)
        likely = np.full(len(tokens), 1.0 / self.size)
        for n, order in enumerate(self.orders, 1):
            contexts, grams = _hashed(tokens, n)
            found = _lookup(order.contexts, order.totals, contexts)
            kinds = _lookup(order.contexts, order.kinds, contexts)
            counts = _lookup(order.grams, order.counts, grams)
            seen = found > 0
            seen[: n - 1] = False  # fewer than n - 1 tokens stand before these
            total = np.where(seen, found, 1.0)
            upper = np.maximum(counts - order.discount, 0.0) / total
            lower = order.discount * kinds / total
            likely = np.where(seen, upper + lower * likely, likely)
        return np.asarray(-np.log(likely[1:]))


def fit(rows: Sequence[Sequence[int]], longest: int, size: int) -> KneserNey:
    """Count the n-grams of up to `longest` tokens in rows; none reaches from one row into another.

    Parameters
    ----------
    rows
        Token ids. The first token of a row begins it, and is never predicted.
    longest
        1 counts single tokens, 5 takes the four before them into account.
    size
        Tokens in the vocabulary.

    Examples
    --------
    >>> model = fit([[0, 1, 2, 1, 2], [0, 1, 2]], 2, 3)
    >>> [round(float(np.exp(-loss)), 3) for loss in model.losses([0, 1, 2])]
    [0.938, 0.922]
    """
    tokens = np.concatenate([np.asarray(row, np.int64) for row in rows] or [np.zeros(0, np.int64)])
    place = np.concatenate([np.arange(len(row)) for row in rows] or [np.zeros(0, np.int64)])
    orders: list[Order] = []
    for n in range(longest, 0, -1):
        at = np.flatnonzero(place >= max(1, n - 1))  # where n tokens of one row end; its first is never predicted
        grams = _hashed(tokens, n)[1][at]
        if n < longest:  # by how many tokens each is preceded, but at a row's begin, where nothing is
            wider = _hashed(tokens, n + 1)[1]
            inner = at[place[at] >= n]
            _, first = np.unique(wider[inner], return_index=True)
            opening = at[place[at] == n - 1] if n > 1 else at[:0]
            at = np.concatenate([inner[first], opening])
            grams = _hashed(tokens, n)[1][at]
        orders.append(_order(tokens, at, grams, n))
    return KneserNey(tuple(reversed(orders)), size)


def _order(tokens: Ints, at: Ints, grams: Hashes, n: int) -> Order:
    known, first, counts = np.unique(grams, return_index=True, return_counts=True)
    contexts = _hashed(tokens, n)[0][at[first]]
    distinct, group = np.unique(contexts, return_inverse=True)
    totals = np.bincount(group, counts, len(distinct)).astype(np.float64)
    kinds = np.bincount(group, minlength=len(distinct)).astype(np.float64)
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    discount = once / (once + 2 * twice) if once else 0.5
    return Order(known, counts.astype(np.float64), distinct, totals, kinds, min(discount, 0.95))


def _hashed(tokens: Ints, n: int) -> tuple[Hashes, Hashes]:
    """For the n-gram that ends at each place a hash of all but its last token, and of all of it.

    What reaches over the begin of the sequence is a hash of what is there, never looked at.
    """
    codes = tokens.astype(np.uint64) + np.uint64(1)
    context = np.zeros(len(tokens), np.uint64)
    with np.errstate(over="ignore"):
        for back in range(n - 1, 0, -1):
            shifted = np.zeros(len(tokens), np.uint64)
            shifted[back:] = codes[:-back] if back < len(codes) else codes[:0]
            context = _mixed(context * PRIME + shifted)
        return context, _mixed(context * PRIME + codes)


def _mixed(value: Hashes) -> Hashes:
    """A bijection of 64 bits that leaves no pattern (the finaliser of splitmix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(value ^ (value >> np.uint64(31)))


def _lookup(keys: Hashes, values: Floats, wanted: Hashes) -> Floats:
    if not len(keys):
        return np.zeros(len(wanted))
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0.0)
