"""The splits of a data set: those given are kept, those missing are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ukulele.data.answers import Answers, labels_in
from ukulele.data.decoded import Decoded
from ukulele.data.frame import Frame, Indices
from ukulele.data.moments import forms, moment
from ukulele.data.near import merged, near_pictures, near_texts
from ukulele.data.options import ReadOptions
from ukulele.data.quarantine import NO_TIME, refuse_unreadable
from ukulele.data.rows import Shape
from ukulele.data.sources import Loaded
from ukulele.data.split import by_groups, by_strata, by_time
from ukulele.data.split_names import split_name
from ukulele.errors import DataError
from ukulele.types import SPLITS, BadRow, Split, Target

HEAD = 4096  # letters of a document that are compared


class Drawn(NamedTuple):
    """How rows of the frame were drawn into splits at random: their strata, groups, and places in `SPLITS`."""

    rows: Indices
    strata: Indices
    groups: Indices
    part: NDArray[np.int8]


class Assigned(NamedTuple):
    """Rows by split; for each row of the frame the group that no split and no fold takes apart, None where each is
    by itself; what was decided; rows whose split or time cannot be read; the splits made here; and how they were
    drawn, where no test rows were given and time did not decide.
    """

    splits: dict[Split, Indices]
    groups: Indices | None
    notes: list[str]
    bad: list[BadRow]
    made: frozenset[Split] = frozenset()
    drawn: Drawn | None = None


def assign(
    loaded: Loaded,
    shape: Shape,
    good: Indices,
    answers: Mapping[str, Answers],
    decoded: Decoded | None,
    options: ReadOptions,
) -> Assigned:
    """Rows to splits and groups.

    Raises
    ------
    DataError
        If there is nothing to train on, or too few rows or groups to split.
    """
    notes: list[str] = []
    bad: list[BadRow] = []
    given = given_splits(loaded, good, options, notes, bad)
    times = _times(loaded.frame, good, options, bad)
    kept = good[_kept(good, given, times)]
    refuse_unreadable(bad, len(good), len(kept), options.max_bad)
    good = kept
    parts = {split: good[given[good] == at] for at, split in enumerate(SPLITS)} if given is not None else {}
    present = {split: rows for split, rows in parts.items() if len(rows)}
    if len(present) > 1 and "train" not in present:
        raise DataError(f"{loaded.name} has no split to train on.", hint="Expected rows or a file named train.")
    if len(present) == 3:
        notes.append(f"Splits: as given ({_sizes(present)}).")
        groups = None if options.group is None else named_groups(loaded.frame, options.group, good)
        return Assigned(present, _bound(loaded.frame, good, groups), notes, bad)
    if len(present) == 2 and "test" not in present:
        present["test"] = present.pop("validation")
        notes.append(
            "Splits: train and validation are given. The given validation rows are the test split; "
            "validation rows are taken from train."
        )
    elif len(present) == 2:
        notes.append("Splits: train and test are given; validation rows are taken from train.")
    else:
        notes.append("Splits: none are given, so they are made.")
    held: dict[Split, Indices] = {"test": present["test"]} if len(present) == 2 else {}
    pool = present["train"] if held else good
    made, drawn = _made(loaded.frame, shape, pool, (answers, decoded, times), options, bool(held), notes)
    splits: dict[Split, Indices] = {**made, **held}
    notes.append(f"Rows: {_sizes(splits)}.")
    groups = None if drawn is None else drawn.groups
    return Assigned(splits, _bound(loaded.frame, pool, groups), notes, bad, frozenset(made), None if held else drawn)


def _made(
    frame: Frame,
    shape: Shape,
    pool: Indices,
    facts: tuple[Mapping[str, Answers], Decoded | None, NDArray[np.float64] | None],
    options: ReadOptions,
    has_test: bool,
    notes: list[str],
) -> tuple[dict[Split, Indices], Drawn | None]:
    """Rows by split, and how they were drawn; None where time decides."""
    answers, decoded, times = facts
    test = 0.0 if has_test else options.test
    shares = (1 - options.validation - test, options.validation, test)
    if not (0 <= options.validation < 1 and 0 <= options.test < 1 and shares[0] > 0):
        raise DataError(
            f"shares of {options.validation} for validation and {options.test} for test leave nothing to train on.",
            hint="Expected two numbers from 0 with a sum below 1.",
        )
    if len(pool) < sum(share > 0 for share in shares):
        raise DataError(f"{len(pool)} rows are too few to split.", hint="Expected at least one row a split.")
    if times is not None and options.group is not None:
        raise DataError(
            f"rows are to be split by the time in column {options.time!r} and by the groups in column "
            f"{options.group!r}; a group may reach from the past into the future.",
            hint="Leave out --time or --group, or name given splits with --split: they are held against both.",
        )
    groups: Indices | None = None
    drawn: Drawn | None = None
    if times is not None:
        part = by_time(times[pool], shares)
        notes.append(f"Split by time: the oldest rows of column {options.time!r} train, the newest test.")
    else:
        groups = alike(frame, shape, pool, decoded)
        stratified = ", stratified" if shape.targets else ""
        said = f"Split at random (seed {options.seed}){stratified}, nearly identical rows on one side"
        strata, families = _strata(shape, answers, pool, sum(share > 0 for share in shares))
        if options.group is not None:
            groups = merged(groups, named_groups(frame, options.group, pool))
            part = by_groups(strata, groups, shares, options.seed, families)
            said += f", rows of one {options.group!r} too"
        else:
            part = by_strata(strata, groups, shares, options.seed, families)
        drawn = Drawn(pool, strata, groups, part)
        bound = len(pool) - int(groups.max()) - 1
        notes.append(f"{said} ({bound:,} rows follow another)." if bound else f"{said}.")
    empty = [split for at, split in enumerate(SPLITS) if shares[at] > 0 and not (part == at).any()]
    if empty:
        raise _nothing_for(empty, len(pool), options, groups)
    return {split: pool[part == at] for at, split in enumerate(SPLITS) if (part == at).any()}, drawn


def _bound(frame: Frame, pool: Indices, groups: Indices | None) -> Indices | None:
    """For each row of the frame the first row of its group; None where no group has two."""
    if groups is None or int(groups.max(initial=-1)) + 1 == len(pool):
        return None
    found, firsts = np.arange(len(frame)), np.unique(groups, return_index=True)[1]
    found[pool] = pool[firsts[groups]]
    return found


def _nothing_for(empty: Sequence[Split], rows: int, options: ReadOptions, groups: Indices | None) -> DataError:
    """Why a split came out empty, and the way out."""
    what = f"no rows are left for {' and '.join(empty)}"
    given = "name given splits with --split"
    if groups is None:
        return DataError(
            f"{what}: column {options.time!r} has too few different times in {rows} rows; equal times stay together.",
            hint=f"Choose another --time column, leave it out, or {given}.",
        )
    most = int(np.bincount(groups).max())
    if most == 1:
        return DataError(f"{what}: {rows} rows are too few to split.", hint=f"Add rows of each class, or {given}.")
    if options.group is not None:
        return DataError(
            f"{what}: {most} of {rows} rows belong to one group of column {options.group!r} or are nearly identical.",
            hint=f"Choose another --group column, leave it out, or {given}.",
        )
    return DataError(
        f"{what}: {most} of {rows} rows are nearly identical, and such rows stay on one side.",
        hint=f"Remove the copies, or {given}.",
    )


def alike(frame: Frame, shape: Shape, pool: Indices, decoded: Decoded | None) -> Indices:
    """A group number for each row; those that are nearly identical share one."""
    if decoded is not None:
        return near_pictures(decoded.content[pool], decoded.difference[pool])
    return near_texts(frame, shape.inputs, pool, None if shape.targets else HEAD)


def _strata(shape: Shape, answers: Mapping[str, Answers], pool: Indices, parts: int) -> tuple[Indices, Indices]:
    """What the splits are balanced by: each row's value of the rarest target it has; and by value the target.

    Where no value of a target has a row for each of the `parts`, its values count as one.
    """
    strata, families = np.full((2, len(pool)), -1, np.int64)
    for at, target in enumerate(sorted(shape.targets, key=lambda target: len(answers[target.name].known(pool)))):
        found = answers[target.name]
        rows = np.flatnonzero((found.codes[pool] >= 0) & (strata < 0))
        if not len(rows):
            continue
        own = _values(target, found, pool[rows])
        if len(shape.targets) > 1 and np.bincount(own).max() < parts:
            own = np.zeros_like(own)
        strata[rows] = own + strata.max() + 1
        families[rows] = at
    _, first, numbers = np.unique(strata, return_index=True, return_inverse=True)
    return np.asarray(numbers, np.int64), families[first] + 1


def _values(target: Target, found: Answers, rows: Indices) -> Indices:
    """A number for each row's value of a target that it has: the class, the rarest label, or the decile."""
    codes = found.codes[rows]
    match target.kind:
        case "classify":
            return codes
        case "multilabel" | "detect":
            counts = found.counts(rows, target)
            rarest = [
                min(labels_in(value), key=lambda label: counts.get(label, 0), default="") for value in found.values
            ]
            return np.unique(np.array(rarest), return_inverse=True)[1].astype(np.int64)[codes]
        case "regress":
            numbers = np.array(found.values, np.float64)[codes]
            edges = np.unique(np.quantile(numbers, np.linspace(0, 1, max(2, min(11, len(rows) // 20 + 1)))))
            return np.asarray(np.searchsorted(edges[1:-1], numbers, side="right"), np.int64)
        case _:  # texts: each is its own
            return np.zeros(len(codes), np.int64)


def named_groups(frame: Frame, name: str, pool: Indices) -> Indices:
    """A number for each group; a row without one is a group of its own."""
    cells = frame.take([name], pool)[0]
    numbers: dict[str, int] = {}
    return np.array(
        [numbers.setdefault(str(cell) if cell else f"\x00{at}", len(numbers)) for at, cell in enumerate(cells)],
        np.int64,
    )


def given_splits(
    loaded: Loaded, good: Indices, options: ReadOptions, notes: list[str], bad: list[BadRow]
) -> NDArray[np.int8] | None:
    """The split of each row by its number in `SPLITS`, -2 where its name is none; None where none are given."""
    name = options.split or ("split" if "split" in loaded.frame.fields else None)
    if name is None or (loaded.given is not None and options.split is None):
        return loaded.given
    frame = loaded.frame
    cells = frame.take([name], np.arange(len(frame)))[0]
    named = {cell: split_name(cell or "") for cell in set(cells)}
    codes = {cell: SPLITS.index(split) if split else -2 for cell, split in named.items()}
    if options.split is None and (not any(named.values()) or sum(map(bool, named.values())) < len(named) / 2):
        notes.append(f"Column {name!r} holds no names of splits and was not used as such.")
        return loaded.given
    given = np.array([codes[cell] for cell in cells], np.int8)
    for row in good[given[good] == -2].tolist():
        bad.append(BadRow(frame.where(row), f"{cells[row] or ''!r} in column {name!r} is no split", cells[row] or ""))
    notes.append(f"Splits are read from column {name!r}.")
    return given


def _times(frame: Frame, good: Indices, options: ReadOptions, bad: list[BadRow]) -> NDArray[np.float64] | None:
    """The time of each row; NaN where there is none, or one in another form than most rows have."""
    if options.time is None:
        return None
    cells = frame.take([options.time], np.arange(len(frame)))[0]
    times = np.array([moment(cell) for cell in cells], np.float64)
    found = dict(zip(good.tolist(), forms([cells[row] for row in good], times[good]), strict=True))
    counts = Counter(filter(None, found.values()))
    usual = counts.most_common(1)[0][0] if counts else ""
    example = next((frame.where(row) for row, form in found.items() if form == usual), None)
    for row, form in found.items():
        if not form:
            bad.append(BadRow(frame.where(row), f"{NO_TIME} in column {options.time!r}"))
        elif form != usual:
            reason = f"the time in column {options.time!r} is {form}, in most rows it is {usual}, as in {example}"
            bad.append(BadRow(frame.where(row), reason, str(cells[row])))
            times[row] = np.nan
    return times


def _kept(good: Indices, given: NDArray[np.int8] | None, times: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    kept = np.ones(len(good), bool)
    if given is not None:
        kept &= given[good] != -2
    if times is not None:
        kept &= ~np.isnan(times[good])
    return kept


def _sizes(splits: Mapping[Split, Indices]) -> str:
    return ", ".join(f"{len(splits[split])} {split}" for split in SPLITS if split in splits)
