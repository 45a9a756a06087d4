"""Figures of detections in many resamples at once: counts (draws, images) to values (draws,).

Precision is only ever highest where a detection is right, so only those places are looked at; how many boxes have to be
found for a recall is looked up. The same figures as `Ranked.precision` gives one by one, but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ukulele.tasks.matching import RECALLS, THRESHOLDS, Ranked, needed_for

Floats = NDArray[np.float64]
ROOM = 1 << 20  # numbers of a matrix of draws: small enough to stay near the processor
HELD = 2  # tables whose order is kept: two models are compared draw by draw

_orders: dict[tuple[int, int], tuple[Floats, Ranked]] = {}  # by identity; the table is held, so that it stays its own
_areas: dict[tuple[int, int], tuple[Floats, Floats]] = {}  # of the last draws of each: several metrics read them


def ranked(table: Floats, classes: int) -> Ranked:
    """The table's detections in order; those of the last few tables are kept."""
    key = (id(table), classes)
    if key not in _orders:
        while len(_orders) >= HELD:
            oldest = next(iter(_orders))
            del _orders[oldest]
            _areas.pop(oldest, None)
        _orders[key] = (table, Ranked(table, classes))
    return _orders[key][1]


def average(classes: int, thresholds: slice, table: Floats, counts: Floats) -> Floats:
    """Mean average precision over the classes that have a box to find, at some thresholds of overlap."""
    order, held = ranked(table, classes), _areas.get((id(table), classes))
    if held is None or held[0] is not counts:
        held = _areas[id(table), classes] = (counts, areas(order, counts))
    found = held[1][:, :, thresholds].mean(2)
    there = ~np.isnan(found)
    times = there.sum(1)
    total = np.where(there, found, 0.0).sum(1)
    return np.asarray(np.divide(total, times, out=np.full(len(counts), np.nan), where=times > 0))


def at_confidence(classes: int, confidence: float, which: int, table: Floats, counts: Floats) -> Floats:
    """Precision, recall or F1 over all classes, at an overlap of one half, of what reaches the confidence."""
    order = ranked(table, classes)
    shown = order.score >= confidence
    right, wrong = (
        counts @ np.bincount(order.image, side[:, 0] & shown, minlength=len(table)) for side in order.sides(0)
    )
    wanted = counts @ order.wanted[:, 0].sum(1)
    below = (right + wrong, wanted, (right + wrong + wanted) / 2)[which]
    nothing = np.full(len(counts), np.nan if which else 0.0)
    return np.asarray(np.divide(right, below, out=nothing, where=below > 0))


def areas(order: Ranked, counts: Floats) -> Floats:
    """Average precision (draws, classes, thresholds); NaN for a class without a box to find."""
    found = np.zeros((len(counts), order.classes, len(THRESHOLDS)))
    wanted = counts @ order.wanted[:, 0]
    for label in range(order.classes):
        span = slice(order.starts[label], order.starts[label + 1])
        right, wrong = (side[span] for side in order.sides(0))
        for some in _portions(len(counts), max(span.stop - span.start, 1)):
            drawn = counts[some][:, order.image[span]]
            found[some, label] = _of_class(drawn, right, right | wrong, wanted[some, label])
    found[wanted <= 0] = np.nan
    return found


def _portions(draws: int, width: int) -> Iterator[slice]:
    size = max(1, ROOM // width)
    return (slice(at, at + size) for at in range(0, draws, size))


def _of_class(drawn: Floats, right: NDArray[np.bool_], counted: NDArray[np.bool_], wanted: Floats) -> Floats:
    """Average precision (draws, thresholds) from how often each detection is drawn (draws, n), the surest first."""
    found = np.zeros((len(drawn), len(THRESHOLDS)))
    most = int(min(wanted.max(initial=0), drawn[:, right.any(1)].sum(1).max(initial=0)))  # that a draw can find
    reached, which = _reached(wanted, most)
    totals: tuple[bytes, Floats] = b"", drawn
    for threshold in range(len(THRESHOLDS)):
        at = np.flatnonzero(right[:, threshold])
        if not len(at):
            continue
        column = counted[:, threshold]
        if totals[0] != column.tobytes():  # the same for all thresholds, unless there are crowds
            totals = column.tobytes(), np.cumsum(drawn * column, 1)
        hits = np.cumsum(drawn[:, at], 1)
        precision = hits / np.maximum(totals[1][:, at], 1e-12)
        best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        recalls = reached[which[:, None], hits.astype(np.intp)]
        found[:, threshold] = (best * np.diff(recalls, prepend=0.0)).sum(1) / len(RECALLS)
    return found


def _reached(wanted: Floats, most: int) -> tuple[Floats, NDArray[np.intp]]:
    """How many of the recalls so many boxes found are enough for (sizes, most + 1), and which row is a draw's."""
    sizes, which = np.unique(wanted, return_inverse=True)
    needed = np.minimum(needed_for(sizes), most + 1).astype(np.intp)
    places = needed + (most + 2) * np.arange(len(sizes))[:, None]
    counts = np.bincount(places.ravel(), minlength=len(sizes) * (most + 2)).reshape(len(sizes), most + 2)
    return np.cumsum(counts[:, : most + 1], 1, dtype=np.float64), which
