"""Which detections find which boxes, as COCO matches them: one image after another, and what follows for any resample.

Boxes that are `ignored` are VOC's difficult ones: a detection that lies best on one counts for nothing; of several
on it only the surest does.

A table row holds one image: the boxes of each class and size to be found, then its detections, each with the rank of
its score and a code for every size. The average precision of a resample follows from these rows alone, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ukulele.types import Box

Floats = NDArray[np.float64]
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of intersection over union
RECALLS = np.linspace(0, 1, 101)  # at which precision is read
AREAS = ((0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))  # all, small, medium, large; pixels
MOST = 100  # detections of a class that count in an image
PER = 3 + len(AREAS)  # numbers a detection: class, score, rank, codes
BITS = 1 << np.arange(len(THRESHOLDS))


def match(found: Floats, boxes: Sequence[Box], labels: Sequence[str]) -> tuple[Floats, Floats]:
    """One image's detections against its boxes.

    Parameters
    ----------
    found
        Detections (n, 6): left, top, right, bottom, score, class.
    boxes
        The true ones; boxes of other classes than `labels` count for nothing.
    labels
        The classes in the order of their numbers.

    Returns
    -------
    tuple
        How many boxes are to be found (areas, classes); and detections (m, 2 + areas): class, score, and for each
        area a code: bit t says that it finds a box at threshold t, bit t + 10 that it counts for nothing there.
    """
    wanted = np.zeros((len(AREAS), len(labels)))
    parts: list[Floats] = []
    for number, label in enumerate(labels):
        mine = found[found[:, 5] == number]
        mine = mine[np.argsort(-mine[:, 4], kind="stable")][:MOST]
        true = [box for box in boxes if box.label == label]
        if not len(mine) and not true:
            continue
        corners = np.array([box[1:5] for box in true], np.float64).reshape(-1, 4)
        crowd, hard = np.array([(box.crowd, box.ignored and not box.crowd) for box in true], bool).reshape(-1, 2).T
        nothing = _outside(np.array([box.size for box in true])) | crowd | hard
        wanted[:, number] = (~nothing).sum(1)
        codes = _codes(mine, corners, crowd, hard, nothing)
        parts.append(np.column_stack([np.full(len(mine), number), mine[:, 4], codes]))
    return wanted, np.concatenate(parts) if parts else np.zeros((0, 2 + len(AREAS)))


def _outside(sizes: Floats) -> NDArray[np.bool_]:
    """Whether boxes (n,) are of another size than each area (areas, n)."""
    return np.array([(sizes < low) | (sizes > high) for low, high in AREAS])


def overlap(found: Floats, corners: Floats, crowd: NDArray[np.bool_]) -> Floats:
    """Intersection over union (n, m); over the detection's own area where the box is a crowd."""
    low = np.maximum(found[:, None, :2], corners[None, :, :2])
    high = np.minimum(found[:, None, 2:4], corners[None, :, 2:4])
    common = np.clip(high - low, 0, None).prod(2)
    own = np.clip(found[:, 2:4] - found[:, :2], 0, None).prod(1)[:, None]
    theirs = (corners[:, 2:] - corners[:, :2]).prod(1)[None]
    whole = np.where(crowd[None], own, own + theirs - common)
    return np.asarray(common / np.maximum(whole, 1e-12))


def _codes(
    found: Floats, corners: Floats, crowd: NDArray[np.bool_], hard: NDArray[np.bool_], ignored: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """A code for each detection and area (n, areas); `ignored` boxes (areas, m) count for nothing."""
    hit = np.zeros((len(found), len(AREAS), len(THRESHOLDS)), bool)
    sizes = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    nothing = np.repeat(_outside(sizes).T[:, :, None], len(THRESHOLDS), 2)
    if len(corners):
        shares = overlap(found, corners, crowd)
        taken = np.zeros((len(AREAS), len(THRESHOLDS), len(corners)), bool)
        limits = np.minimum(THRESHOLDS, 1 - 1e-10)[None, :, None]
        for at in np.flatnonzero(shares.max(1) >= THRESHOLDS[0]).tolist():  # the others find nothing
            free = (shares[at] >= limits) & (~taken | crowd)
            for counting in (~ignored | hard, ignored & ~hard):  # a crowd, or one of another size, only as the last
                some = np.where(free & counting[:, None, :], shares[at], -1.0)[:, :, ::-1]
                best = some.shape[2] - 1 - some.argmax(2)  # of equal ones the last, as COCO takes it
                there = (some.max(2) >= 0) & ~hit[at]
                area, threshold = np.nonzero(there)
                taken[area, threshold, best[there]] = True
                hit[at] |= there
                nothing[at][there] = ignored[area, best[there]]
    return np.asarray((hit * BITS).sum(2) + (nothing * BITS).sum(2) * (1 << len(THRESHOLDS)))


def needed(matched: Sequence[tuple[Floats, Floats] | None], classes: int, confidence: float) -> list[Floats]:
    """Of each image's detections those that can change a figure in some resample: whatever scores less than the last
    of its class that finds a box lowers no precision that is read, and below the confidence it is not counted either.
    """
    least = np.full(classes, np.inf)
    hits = (1 << len(THRESHOLDS)) - 1
    for one in matched:
        if one is not None and len(one[1]):
            right = ((one[1][:, 2:].astype(np.int64) & hits) > 0).any(1)
            np.minimum.at(least, one[1][right, 0].astype(np.intp), one[1][right, 1])
    none = np.zeros((0, 2 + len(AREAS)))
    return [
        none if one is None else one[1][one[1][:, 1] >= np.minimum(least, confidence)[one[1][:, 0].astype(np.intp)]]
        for one in matched
    ]


def rows(matched: Sequence[tuple[Floats, Floats] | None], classes: int, confidence: float = 0.0) -> Floats:
    """Images as a table; None is an image without a true answer. Below `confidence` only what counts for average
    precision is kept.
    """
    kept = needed(matched, classes, confidence)
    counts = [len(found) for found in kept]
    head, most = 1 + len(AREAS) * classes, max(counts, default=0)
    table = np.zeros((len(matched), head + PER * most))
    cells = table[:, head:].reshape(len(matched), most, PER)
    cells[:, :, 0] = -1
    for at, one in enumerate(matched):
        if one is None:
            table[at, 0] = np.nan
            continue
        table[at, 0] = counts[at]
        table[at, 1:head] = one[0].ravel()
        cells[at, : counts[at], :2] = kept[at][:, :2]
        cells[at, : counts[at], 3:] = kept[at][:, 2:]
    there = cells[:, :, 0] >= 0
    flat = cells[there]
    order = np.lexsort((-flat[:, 1], flat[:, 0]))
    flat[order, 2] = np.arange(len(flat))
    cells[there] = flat
    table[:, head:] = cells.reshape(len(matched), -1)
    return table


class Ranked:
    """A table's detections by class and falling score, and what to find in each image."""

    def __init__(self, table: Floats, classes: int) -> None:
        self.classes = classes
        head = 1 + len(AREAS) * classes
        self.wanted = np.ascontiguousarray(table[:, 1:head]).reshape(len(table), len(AREAS), classes)
        cells = np.ascontiguousarray(table[:, head:]).reshape(len(table), -1, PER)
        image, place = np.nonzero(cells[:, :, 0] >= 0)
        found = cells[image, place]
        order = np.argsort(found[:, 2], kind="stable")
        self.image, found = image[order], found[order]
        self.label, self.score = found[:, 0].astype(np.intp), found[:, 1]
        self._codes = found[:, 3:].astype(np.int64)
        self.starts = np.searchsorted(self.label, np.arange(classes + 1))
        self._split: dict[int, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = {}

    def sides(self, area: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Detections that are right and those that are wrong (n, thresholds)."""
        if area not in self._split:
            code = self._codes[:, area, None]
            hit, nothing = (code & BITS) > 0, (code >> len(THRESHOLDS) & BITS) > 0
            self._split[area] = hit & ~nothing, ~hit & ~nothing
        return self._split[area]

    def curves(self, counts: Floats, area: int = 0) -> tuple[Floats, Floats, Floats]:
        """Boxes found and precision behind each detection (n, thresholds), and boxes to find of each class."""
        weight, start = counts[self.image][:, None], self.starts[self.label]
        sums = [np.cumsum(np.vstack([np.zeros((1, len(THRESHOLDS))), weight * side]), 0) for side in self.sides(area)]
        right, wrong = (np.asarray(total[1:] - total[start], np.float64) for total in sums)
        return right, right / np.maximum(right + wrong, 1e-12), np.asarray(counts @ self.wanted[:, area])

    def precision(self, counts: Floats, area: int = 0) -> Floats:
        """Precision at each of 101 recalls (classes, thresholds, 101); NaN for a class without a box to find."""
        right, precision, wanted = self.curves(counts, area)
        falls = 2.0 * (self.classes - self.label)[:, None]  # lifts keep classes apart when they are treated at once
        hull = np.maximum.accumulate((precision + falls)[::-1], 0)[::-1] - falls
        rise = wanted.max(initial=0) + 2
        lifted = right + rise * self.label[:, None]
        asked = (needed_for(wanted) + rise * np.arange(self.classes)[:, None]).ravel()
        ends = np.repeat(self.starts[1:], len(RECALLS))
        found = np.zeros((len(THRESHOLDS), len(asked)))
        for at in range(len(THRESHOLDS)):
            place = np.searchsorted(lifted[:, at], asked, side="left")
            there = place < ends
            found[at, there] = hull[place[there], at]
        curves = found.reshape(len(THRESHOLDS), self.classes, len(RECALLS)).transpose(1, 0, 2)
        curves[wanted <= 0] = np.nan
        return curves


def needed_for(wanted: Floats) -> Floats:
    """The least number of boxes found whose share of those wanted (classes,) reaches each recall (classes, 101)."""
    whole = np.maximum(wanted, 1.0)[:, None]
    needed = np.ceil(RECALLS * whole)
    needed -= (needed - 1) / whole >= RECALLS
    return np.asarray(np.maximum(needed + (needed / whole < RECALLS), 0.0))
