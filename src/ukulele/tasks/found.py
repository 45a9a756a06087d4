"""What a report shows of detections: figures of each class and size, curves, and the pictures with most mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ukulele.tasks.matching import RECALLS, THRESHOLDS, Ranked, overlap
from ukulele.types import Box

Floats = NDArray[np.float64]
SIZES = ("small", "medium", "large")  # sides below 32 pixels, up to 96, above
NEAR = 0.1  # overlap below which a detection lies on no box
BLIND = 0.05  # score below which nothing is seen at a place
RARE = 0.2  # share of a class's boxes up to which those where nothing is seen are odd
STEP = 2  # of 101 points of a curve every so many are kept


def particulars(ranked: Ranked, labels: Sequence[str], confidence: float) -> dict[str, Any]:
    """Plain JSON: "per_class", "sizes" and "curves" (precision at each recall, at an overlap of one half)."""
    ones = np.ones(len(ranked.wanted))
    precision = ranked.precision(ones)
    means = precision.mean(2)
    wanted = ranked.wanted[:, 0].sum(0)
    sides = [side[:, 0] & (ranked.score >= confidence) for side in ranked.sides(0)]
    right, wrong = (np.bincount(ranked.label[side], minlength=len(labels)) for side in sides)
    per_class = [
        {
            "label": label,
            "n": int(wanted[at]),
            "map50_95": _plain(means[at].mean()),
            "map50": _plain(means[at, 0]),
            "precision": _share(right[at], right[at] + wrong[at]),
            "recall": _share(right[at], wanted[at]),
            "f1": _share(2 * right[at], right[at] + wrong[at] + wanted[at]),
        }
        for at, label in enumerate(labels)
    ]
    curves = [
        {"label": label, "recall": RECALLS[::STEP].tolist(), "precision": precision[at, 0, ::STEP].tolist()}
        for at, label in enumerate(labels)
        if wanted[at]
    ]
    sizes = [
        {"size": name, "n": int(ranked.wanted[:, area].sum()), "map50_95": _mean(ranked, ones, area)}
        for area, name in enumerate(SIZES, 1)
    ]
    return {"per_class": per_class, "sizes": sizes, "curves": curves, "confidence": confidence}


def _mean(ranked: Ranked, ones: Floats, area: int) -> float | None:
    values = ranked.precision(ones, area).mean((1, 2))
    return _plain(np.nanmean(values)) if not np.isnan(values).all() else None


def _plain(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def paired(found: Floats, boxes: Sequence[Box], labels: Sequence[str]) -> tuple[list[bool], list[bool]]:
    """Which detections find a box of their class, the surest first, and which boxes are found: overlap of one half."""
    right, taken = [False] * len(found), [False] * len(boxes)
    corners = np.array([box[1:5] for box in boxes], np.float64).reshape(-1, 4)
    shares = overlap(found, corners, np.array([box.crowd for box in boxes], bool))
    for at in np.argsort(-found[:, 4], kind="stable").tolist():
        same = [
            (shares[at, i], i)
            for i, box in enumerate(boxes)
            if box.label == labels[int(found[at, 5])] and (not taken[i] or box.crowd) and shares[at, i] >= THRESHOLDS[0]
        ]
        if same:
            right[at] = True
            taken[max(same)[1]] = True
    return right, taken


@dataclass(frozen=True)
class Doubt:
    """A box whose label may be wrong, with what stands there and what was seen; "" for no box, and for nothing."""

    row: int
    score: float  # how sure the answer is, from 0 to 1
    given: str
    seen: str
    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels


def suspects(answers: Iterable[Floats], values: Sequence[Any], labels: Sequence[str], confidence: float) -> list[Doubt]:
    """Likely faults of the labels, the surest first.

    These are detections as sure as `confidence` which lie on no box, or on one of another class; and boxes where
    nothing at all is seen, of classes whose boxes nearly always are.
    """
    doubts: list[Doubt] = []
    unseen: dict[str, list[Doubt]] = {label: [] for label in labels}
    counts: Counter[str] = Counter()
    for row, (found, boxes) in enumerate(zip(answers, values, strict=True)):
        if boxes is None:
            continue
        corners = np.array([box[1:5] for box in boxes], np.float64).reshape(-1, 4)
        shares = overlap(found, corners, np.array([box.crowd for box in boxes], bool))
        doubts += _unlabelled(row, found, boxes, (labels, confidence), shares)
        best = (found[:, 4, None] * (shares >= THRESHOLDS[0])).max(0, initial=0.0)
        for box, score in zip(boxes, best.tolist(), strict=True):
            if not box.counted or box.label not in unseen:
                continue
            counts[box.label] += 1
            if score < BLIND:
                unseen[box.label].append(Doubt(row, 1 - score, box.label, "", tuple(map(float, box[1:5]))))  # type: ignore[arg-type]
    for label, some in unseen.items():
        doubts += some if len(some) <= RARE * counts[label] else []
    return sorted(doubts, key=lambda one: -one.score)


def _unlabelled(
    row: int, found: Floats, boxes: Sequence[Box], sure: tuple[Sequence[str], float], shares: Floats
) -> Iterator[Doubt]:
    """Sure detections on no box, or on one of another class."""
    labels, confidence = sure
    at = np.flatnonzero(found[:, 4] >= confidence)
    right, _ = paired(found[at], boxes, labels)
    for line, hit, share in zip(found[at], right, shares[at], strict=True):
        if hit:
            continue
        label, near = labels[int(line[5])], int(share.argmax()) if len(boxes) else 0
        left, top, right_edge, bottom = line[:4].tolist()
        if not len(boxes) or share[near] < NEAR:
            yield Doubt(row, float(line[4]), "", label, (left, top, right_edge, bottom))
        elif boxes[near].label != label and share[near] >= THRESHOLDS[0]:
            yield Doubt(row, float(line[4]), boxes[near].label, label, (left, top, right_edge, bottom))


def worst(answers: Sequence[Floats], values: Sequence[Any], labels: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """The pictures with most mistakes: `row`, and every box of the truth and of the answer, in pixels."""
    told: list[tuple[int, dict[str, Any]]] = []
    for row, (found, boxes) in enumerate(zip(answers, values, strict=True)):
        if boxes is None:
            continue
        right, taken = paired(found, boxes, labels)
        missed = sum(not hit and box.counted for hit, box in zip(taken, boxes, strict=True))
        wrong = right.count(False)
        if missed + wrong:
            truth = [
                {"label": box.label, "box": list(box[1:5]), "right": hit or not box.counted}
                for box, hit in zip(boxes, taken, strict=True)
            ]
            answer = [
                {"label": labels[int(f[5])], "score": float(f[4]), "box": f[:4].tolist(), "right": hit}
                for f, hit in zip(found, right, strict=True)
            ]
            told.append(
                (missed + wrong, {"row": row, "missed": missed, "wrong": wrong, "truth": truth, "answer": answer})
            )
    return [one for _, one in sorted(told, key=lambda pair: -pair[0])[:limit]]
