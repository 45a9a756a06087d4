"""What a report shows of detections: figures of each class and size, curves, and the pictures with most mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ukulele.tasks.matching import RECALLS, THRESHOLDS, Ranked, overlap
from ukulele.types import Box

Floats = NDArray[np.float64]
SIZES = ("small", "medium", "large")  # sides below 32 pixels, up to 96, above
NEAR = 0.1  # overlap below which a detection lies on no box
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


def suspects(
    answers: Sequence[Floats], values: Sequence[Any], labels: Sequence[str], confidence: float
) -> list[tuple[int, str]]:
    """Likely faults of the labels, the surest first: (row, what was seen there), from detections as sure as that
    which lie on no box, or on one of another class.
    """
    seen: list[tuple[float, int, str]] = []
    for row, (found, boxes) in enumerate(zip(answers, values, strict=True)):
        sure = found[found[:, 4] >= confidence]
        if boxes is None or not len(sure):
            continue
        right, _ = paired(sure, boxes, labels)
        corners = np.array([box[1:5] for box in boxes], np.float64).reshape(-1, 4)
        shares = overlap(sure, corners, np.array([box.crowd for box in boxes], bool))
        for line, hit, share in zip(sure, right, shares, strict=True):
            if hit:
                continue
            label, place = labels[int(line[5])], ",".join(f"{edge:.0f}" for edge in line[:4])
            near = int(share.argmax()) if len(boxes) else 0
            if not len(boxes) or share[near] < NEAR:
                seen.append((line[4], row, f"no box where {label} is seen ({line[4]:.2f}) at {place}"))
            elif boxes[near].label != label and share[near] >= THRESHOLDS[0]:
                seen.append((line[4], row, f"{boxes[near].label}, seen as {label} ({line[4]:.2f}), at {place}"))
    return [(row, said) for _, row, said in sorted(seen, key=lambda one: -one[0])]


def worst(answers: Sequence[Floats], values: Sequence[Any], labels: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """The pictures with most mistakes: `row`, and every box of the truth and of the answer, in pixels."""
    told: list[tuple[int, dict[str, Any]]] = []
    for row, (found, boxes) in enumerate(zip(answers, values, strict=True)):
        if boxes is None:
            continue
        right, taken = paired(found, boxes, labels)
        missed = sum(not hit and not box.crowd for hit, box in zip(taken, boxes, strict=True))
        wrong = right.count(False)
        if missed + wrong:
            truth = [
                {"label": box.label, "box": list(box[1:5]), "right": hit} for box, hit in zip(boxes, taken, strict=True)
            ]
            answer = [
                {"label": labels[int(f[5])], "score": float(f[4]), "box": f[:4].tolist(), "right": hit}
                for f, hit in zip(found, right, strict=True)
            ]
            told.append(
                (missed + wrong, {"row": row, "missed": missed, "wrong": wrong, "truth": truth, "answer": answer})
            )
    return [one for _, one in sorted(told, key=lambda pair: -pair[0])[:limit]]
