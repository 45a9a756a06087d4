"""Splits held against what was asked of them: groups on one side, and enough of them; the past before the future."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from ukulele.data.assign import named_groups
from ukulele.data.frame import Frame, Indices, require
from ukulele.data.moments import moment
from ukulele.data.options import ReadOptions
from ukulele.tools.bootstrap import FEW_GROUPS, FEWEST_GROUPS
from ukulele.types import SPLITS, Finding, Split

Splits: TypeAlias = "Mapping[Split, Indices]"


def broken(frame: Frame, splits: Splits, options: ReadOptions) -> list[Finding]:
    """Groups that stand in several splits, and rows that are older than the newest training row.

    Splits that were made to order have neither. Test rows of few groups are told of in any case.

    Raises
    ------
    DataError
        If there is no such column.
    """
    found = []
    if options.group is not None:
        require(frame, options.group)
        found += _groups(frame, splits, options.group)
        found += _few(frame, splits, options.group)
    if options.time is not None:
        require(frame, options.time)
        found += _order(frame, splits, options.time)
    return found


def _groups(frame: Frame, splits: Splits, column: str) -> list[Finding]:
    rows = np.concatenate(list(splits.values()))
    sides = np.repeat(np.arange(len(splits)), [len(part) for part in splits.values()])
    groups = named_groups(frame, column, rows)
    there = np.zeros((int(groups.max()) + 1, len(splits)), bool)
    there[groups, sides] = True
    astride = there.sum(1) > 1
    if not astride.any():
        return []
    count, held = int(astride.sum()), int(astride[groups[sides != list(splits).index("train")]].sum())
    return [
        Finding(
            "warning",
            "group-across-splits",
            f"{count:,} of {len(there):,} groups of column {column!r} stand in more than one of the given splits, "
            f"with {held:,} rows outside train.",
            {"column": column, "groups": count, "of": len(there), "rows": held},
            "What is measured may be how well groups are remembered: put each group into one split, or leave the "
            "given splits out, and they are made so.",
        )
    ]


def _few(frame: Frame, splits: Splits, column: str) -> list[Finding]:
    rows = splits.get("test", np.empty(0, np.int64))
    count = int(named_groups(frame, column, rows).max(initial=-1)) + 1
    if not 0 < count < min(FEW_GROUPS, len(rows)):
        return []
    groups = f"{count} groups" if count > 1 else "one group"
    told = (
        "intervals and verdicts are over groups, and rest on so few"
        if count > 1
        else "intervals are over its rows and say nothing of other groups"
    )
    none = "; no model is called better than another" if count < FEWEST_GROUPS else ""
    return [
        Finding(
            "warning",
            "few-groups",
            f"The {len(rows):,} test rows are of {groups} of column {column!r}: {told}{none}.",
            {"column": column, "groups": count, "rows": len(rows)},
            f"Have {FEW_GROUPS} groups or more in the test split: bring rows of more, or name splits with --split.",
        )
    ]


def _order(frame: Frame, splits: Splits, column: str) -> list[Finding]:
    times = {s: np.array([moment(cell) for cell in frame.take([column], rows)[0]]) for s, rows in splits.items()}
    newest = np.nanmax(times["train"])
    early = {s: int((times[s] < newest).sum()) for s in SPLITS if s in times and s != "train"}
    if not any(early.values()):
        return []
    told = " and ".join(f"{count:,} of {len(times[s]):,} {s} rows" for s, count in early.items() if count)
    return [
        Finding(
            "warning",
            "time-across-splits",
            f"{told} are older than the newest training row by column {column!r}: the given splits do not go from "
            "past to future.",
            {"column": column, "rows": early},
            "What is measured may be better than it will be on new rows: give splits in the order of time, or leave "
            "them out, and they are made so.",
        )
    ]
