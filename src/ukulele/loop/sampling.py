"""Which rows make a step: every task at its share, rows of like length together, the same draws from the same seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ukulele.tools.typed import power

MEGABATCH = 50  # batches among which rows are sorted by length
MANY = 32  # batches, from which on one less of them is no loss
MOST = 4  # times that a row is seen in an epoch at most
# padded values that another pass through the trunk must spare: four sets of tweets in steps of 128 rows are padded to
# 1.05 times their length in 2.4 passes a step (1.02 in 3.8 with 32, 1.32 in one); what a pass costs was not timed
PASS = 128


def drawn(counts: Sequence[int], sampling: str) -> list[int]:
    """How many rows of each stratum an epoch sees; it is as long as all rows together.

    None is seen more than `MOST` times over, so a small one is not repeated to death; what it leaves goes to the
    others.

    >>> drawn([900, 100], "proportional"), drawn([900, 100], "equal"), drawn([900, 100], "sqrt")
    ([900, 100], [600, 400], [750, 250])
    """
    sizes, total = np.array(counts, np.float64), float(sum(counts))
    wanted = sizes ** (power(sampling) or 0.0)
    found, free = np.zeros(len(sizes)), np.ones(len(sizes), bool)
    for _ in sizes:
        room = total - found[~free].sum()
        found[free] = room * wanted[free] / wanted[free].sum()
        over = free & (found > MOST * sizes)
        if not over.any():
            break
        found[over], free = MOST * sizes[over], free & ~over
        if not free.any():
            break
    return [max(1, round(count)) for count in found.tolist()]


def batches(
    strata: Sequence[NDArray[np.int64]],
    lengths: NDArray[np.int64],
    size: int,
    sampling: str,
    draw: np.random.Generator,
) -> list[list[int]]:
    """Row numbers in batches of about `size` rows.

    Where batches are many some have a row more, so that nearly all have the same number: what the CPU compiles for
    the shape of a batch serves more of them.

    Parameters
    ----------
    strata
        Row numbers, each in one stratum; every batch has its share of each.
    lengths
        Of all rows (n,): rows of like length go together.
    size, sampling
        Rows of a step, and how often each stratum is seen.
    draw
        Where all chance comes from.
    """
    takes = drawn([len(stratum) for stratum in strata], sampling)
    full = sum(takes) // size
    count = full if full >= max(size, MANY) else max(1, -(-sum(takes) // size))
    found: list[list[int]] = [[] for _ in range(count)]
    for place, (stratum, take) in enumerate(zip(strata, takes, strict=True)):
        order = np.concatenate([draw.permutation(stratum) for _ in range(-(-take // len(stratum)))])[:take]
        edges = np.floor(np.arange(count + 1) * take / count + place / len(strata)).astype(np.int64)
        edges[-1] = take
        for at in range(0, count, MEGABATCH):
            last = min(at + MEGABATCH, count)
            some = order[edges[at] : edges[last]]
            some = some[np.argsort(-lengths[some], kind="stable")]
            for number in range(at, last):
                found[number] += some[edges[number] - edges[at] : edges[number + 1] - edges[at]].tolist()
    return [found[i] for i in draw.permutation(count) if found[i]]


def paired(classes: Sequence[NDArray[np.int64]], size: int, draw: np.random.Generator) -> list[list[int]]:
    """Row numbers in steps of about `size` rows: each beside another of its class where there is one, and other classes
    among them; every row once.

    Parameters
    ----------
    classes
        Row numbers, by class.
    size, draw
        As for `batches`.
    """
    twos: list[tuple[float, list[int]]] = []
    for rows in classes:
        order = draw.permutation(rows)
        count = max(1, len(order) // 2)  # of an odd number the last are three
        places = (np.arange(count) + draw.random(count)) / count  # spread evenly, so that classes alternate
        parts = np.split(order, 2 * np.arange(1, count))
        twos += [(float(place), part.tolist()) for place, part in zip(places, parts, strict=True) if len(part)]
    twos.sort(key=lambda two: two[0])
    steps = -(-sum(len(two) for _, two in twos) // size)
    shares = np.array_split(np.arange(len(twos)), min(steps, len(twos)))
    return [[row for at in share for row in twos[at][1]] for share in shares]


def pieces(lengths: NDArray[np.int64], cost: int = PASS) -> list[NDArray[np.int64]]:
    """Places of a batch's rows in groups of like length, the longest first: as many as pay for themselves.

    Rows are padded to the longest of their group only. A group is parted where that spares more padded values than
    `cost`, what another pass takes.

    >>> [group.tolist() for group in pieces(np.array([9, 100, 10, 98]), cost=20)]
    [[1, 3], [2, 0]]
    """
    order = np.argsort(-lengths, kind="stable")
    found, waiting = [], [order]
    while waiting:
        group = waiting.pop()
        sizes = lengths[group]
        split = np.arange(1, len(group))
        spared = (sizes[0] - sizes[1:]) * (len(group) - split)
        if len(spared) and spared.max() > cost:
            at = int(split[spared.argmax()])
            waiting += [group[at:], group[:at]]
        else:
            found.append(group)
    return found
