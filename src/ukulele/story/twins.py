"""Rows of validation and test that are training rows but for small changes, found through the features of the pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from ukulele import diagnose
from ukulele.diagnose.copies import ALIKE, LEAST
from ukulele.errors import DataError
from ukulele.tools import views
from ukulele.tools.pictures import open_picture
from ukulele.trial.context import Context
from ukulele.trial.outcome import Outcome
from ukulele.types import Row, Rows, Split

LOOKED_AT, PAIRS = 20_000, 500_000_000  # rows of a split, spread evenly, and pairs with training rows, at most


@dataclass(frozen=True)
class Twin:
    """A row of a split, the earlier row that it is a copy of, and how alike they are, up to 1."""

    split: Split
    row: int
    of: Row
    alike: float


def twins(probe: Outcome, context: Context, split: Split) -> tuple[list[Twin], int]:
    """Rows of a split that are nearly training rows, though not the same to the letter; and how many were looked at.

    Test rows are held against those of validation, too, which chose the model.
    """
    earlier: tuple[Split, ...] = ("train",) if split == "validation" else ("train", "validation")
    known, held = [context.data.splits[one] for one in earlier], context.data.splits[split]
    most = max(1, min(LOOKED_AT, PAIRS // max(1, sum(map(len, known)))))
    looked = np.arange(0, len(held), -(-len(held) // most)) if len(held) else np.arange(0)
    if not len(looked):
        return [], 0
    here = np.concatenate([_dense(probe.feed.design(one)) for one in earlier])
    rows, cosines = diagnose.nearest_rows(here, _dense(probe.feed.design(split))[looked])
    find = _pictures if context.data.modality == "image" else _texts
    return find(split, (known, held), looked.tolist(), rows, cosines), len(looked)


def _dense(x: Any) -> Any:
    return torch.as_tensor(x).float().numpy()


def _texts(split: Split, of: tuple[Sequence[Rows], Rows], looked: Sequence[int], rows: Any, cosines: Any) -> list[Twin]:
    raw = [row.inputs for rows_ in of[0] for row in rows_]
    known = [" | ".join(diagnose.bare(text) for text in inputs) for inputs in raw]
    places: dict[str, int] = {}
    for at, text in enumerate(known):
        places.setdefault(text, at)
    exact, found = set(raw), []
    for at, near, cosine, row in zip(looked, rows, cosines, of[1].take(looked), strict=True):
        if row.inputs in exact:
            continue  # the checks of the data tell of those
        text = " | ".join(diagnose.bare(part) for part in row.inputs)
        if text.strip(" |") and text in places:
            found.append(Twin(split, at, _at(of[0], places[text]), 1.0))
            continue
        likely = [(diagnose.likeness(text, known[k]), int(k)) for k, c in zip(near, cosine, strict=True) if c >= LEAST]
        alike, best = max(likely, default=(0.0, 0))
        if alike >= ALIKE:
            found.append(Twin(split, at, _at(of[0], best), alike))
    return found


def _pictures(
    split: Split, of: tuple[Sequence[Rows], Rows], looked: Sequence[int], rows: Any, _cosines: Any
) -> list[Twin]:
    found = []

    @cache
    def known(at: int) -> Any:
        return _small(_at(of[0], at).inputs[0])

    for at, near, row in zip(looked, rows, of[1].take(looked), strict=True):
        one = _small(row.inputs[0])
        others = [(int(k), known(int(k))) for k in near]
        likely = [(views.same_picture(one, other), k) for k, other in others if one is not None and other is not None]
        alike, best = max(likely, default=(0.0, 0))
        if alike >= views.ALIKE:
            found.append(Twin(split, at, _at(of[0], best), alike))
    return found


def _at(parts: Sequence[Rows], number: int) -> Row:
    """A row of some parts laid end to end."""
    for rows in parts[:-1]:
        if number < len(rows):
            return rows[number]
        number -= len(rows)
    return parts[-1][number]


def _small(source: Any) -> Any:
    try:
        return views.small(open_picture(source, at_least=views.SIDE))
    except DataError:
        return None
