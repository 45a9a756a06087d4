"""One source: its bad rows set aside, its labels learned, its splits kept or made, and all of it checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ukulele.data import quarantine
from ukulele.data.answers import Answers, answers
from ukulele.data.apart import set_apart
from ukulele.data.assign import Assigned, assign, named_groups
from ukulele.data.broken import broken
from ukulele.data.checks import Checked, check
from ukulele.data.decoded import Decoded, decode_all
from ukulele.data.frame import Frame, Indices, require
from ukulele.data.infer import infer, infer_boxes, refuse_other_cells
from ukulele.data.leaks import telling_columns, telling_words
from ukulele.data.near import fingerprints
from ukulele.data.options import ReadOptions
from ukulele.data.rows import Shape, TableRows
from ukulele.data.sources import LEFT_OUT, Loaded
from ukulele.errors import BadRowsError, DataError
from ukulele.types import SPLITS, BadRow, Dataset, Finding, Modality, Split, Target


@dataclass(frozen=True)
class Usable:
    """A source without its bad rows."""

    loaded: Loaded
    shape: Shape
    good: Indices
    bad: tuple[BadRow, ...]
    total: int  # rows, the bad ones included
    answers: Mapping[str, Answers]
    decoded: Decoded | None

    @cached_property
    def prints(self) -> NDArray[np.uint64]:
        """A hash of each row's input."""
        return self.decoded.content if self.decoded else fingerprints(self.loaded.frame, self.shape.inputs)

    @property
    def set_aside(self) -> tuple[BadRow, ...]:
        """Rows that are out, and boxes of rows that are not."""
        return (*self.bad, *(self.loaded.boxed.aside if self.loaded.boxed else ()))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was noticed while reading it."""
        cells = quarantine.cell_findings(self.loaded.frame, self.shape, self.good, self.answers)
        return (*self.loaded.findings, *quarantine.bad_rows_finding(self.bad, self.total), *cells)


class Grouping(NamedTuple):
    """For each row of a frame its group: that splits and folds keep whole, and that `--group` names."""

    bound: Indices | None = None
    named: Indices | None = None


@dataclass(frozen=True)
class Single:
    """One source as a data set, and what is looked at when it is compared with others."""

    dataset: Dataset
    checked: Checked


def read_loaded(loaded: Loaded, options: ReadOptions, cache: Path) -> Single:
    """A data set from a source's frame: understood, checked, split.

    Raises
    ------
    DataError
        If it asks nothing that can be learned, or has too many bad rows.
    """
    if len(loaded.frame) == 0:
        if loaded.bad:
            quarantine.refuse_too_many(loaded.bad, len(loaded.bad), 0)
        raise DataError(
            f"{loaded.frame.place}: there are no rows below the header.", hint="Expected at least 2 labelled rows."
        )
    boxed = loaded.boxed
    guess = infer_boxes(boxed.names, options) if boxed else infer(loaded.frame, options, loaded.pictures)
    loaded = _without_blind_splits(loaded, guess.targets)
    shape = Shape(guess.inputs, guess.modality == "image", guess.targets)
    found = _with_labels(usable(loaded, shape, cache, options.max_bad))
    found, sides = placed(found, options)
    splits, more = sides.splits, list(sides.notes)
    apart = None
    if options.calibrate is not None:
        train, index, note = set_apart(loaded.frame, found.shape, splits["train"], found.decoded, options, sides.drawn)
        splits, apart, more = {**splits, "train": train}, TableRows(loaded.frame, found.shape, index), [*more, note]
    _refuse_unlearnable(found, splits)
    checked = Checked(loaded.frame, found.shape, splits, found.prints, found.answers, options.examples, sides.made)
    notes = (*loaded.notes, *guess.notes, *more)
    findings = (
        *check(checked),
        *telling_columns(checked),
        *telling_words(checked),
        *broken(loaded.frame, splits, options),
    )
    grouping = Grouping(sides.groups, clusters_of(loaded.frame, options.group))
    if apart is not None:
        apart = replace(apart, named=grouping.named)
    return Single(replace(dataset_of(found, splits, guess.modality, notes, findings, grouping), apart=apart), checked)


def clusters_of(frame: Frame, group: str | None) -> Indices | None:
    """For each row of the frame its group, the value of that column; None where none has two rows."""
    if group is None:
        return None
    named = named_groups(frame, group, np.arange(len(frame)))
    return None if int(named.max()) + 1 == len(named) else named


def placed(found: Usable, options: ReadOptions) -> tuple[Usable, Assigned]:
    """Rows in splits; those whose split or time cannot be read are set aside, too.

    Raises
    ------
    DataError
        If there is nothing to train on, too few rows or groups to split, or too many bad rows.
    """
    try:
        made = assign(found.loaded, found.shape, found.good, found.answers, found.decoded, options)
    except BadRowsError as error:  # it knows those alone whose split or time cannot be read
        error.bad = (*found.bad, *error.bad)
        raise
    found = replace(found, bad=(*found.bad, *made.bad))
    quarantine.refuse_too_many(found.bad, found.total, options.max_bad)
    return found, made


def usable(loaded: Loaded, shape: Shape, cache: Path | None, max_bad: float) -> Usable:
    """A source with its bad rows set aside.

    Raises
    ------
    DataError
        If they are too many, or all, or the columns can be no input or target of that shape.
    """
    frame = loaded.frame
    refuse_other_cells(frame, shape)
    decoded = decode_all(frame, shape.inputs[0], cache) if shape.image and len(frame) else None
    values = {target.name: answers(frame, target) for target in shape.targets}
    faulty = quarantine.faulty_rows(frame, shape, values, decoded) if len(frame) else {}
    skipped = loaded.given is not None and (loaded.given == LEFT_OUT)
    out = np.zeros(len(frame), bool) | skipped
    faulty = {row: bad for row, bad in faulty.items() if not out[row]}
    out[list(faulty)] = True
    bad = (*loaded.bad, *faulty.values())
    total = len(frame) + len(loaded.bad) - int(np.sum(skipped))
    quarantine.refuse_too_many(bad, total, max_bad)
    if loaded.boxed:
        quarantine.refuse_too_many(loaded.boxed.aside[: loaded.boxed.lost], loaded.boxed.total, max_bad, "boxes")
    good = np.flatnonzero(~out)
    if not len(good):
        raise BadRowsError(
            f"{loaded.frame.place}: there are no rows that can be used.",
            hint=f"{bad[0].where}: {bad[0].reason}" if bad else "",
            bad=bad,
        )
    return Usable(loaded, shape, good, bad, total, values, decoded)


def present(loaded: Loaded, columns: tuple[str, ...]) -> tuple[str, ...]:
    """The input columns of a source of known shape; a table of one column needs no name.

    Raises
    ------
    DataError
        If one is missing.
    """
    names = tuple(loaded.frame.fields)
    if len(columns) == 1 and len(names) == 1:
        return names
    for name in columns:
        require(loaded.frame, name)
    return columns


def dataset_of(
    found: Usable,
    splits: Mapping[Split, Indices],
    modality: Modality,
    notes: tuple[str, ...] = (),
    findings: tuple[Finding, ...] = (),
    grouping: Grouping = Grouping(),  # noqa: B008
) -> Dataset:
    """What was read as a data set; `grouping` is of all rows of the frame."""
    frame, shape = found.loaded.frame, found.shape
    rows = {split: TableRows(frame, shape, index, *grouping) for split, index in splits.items()}
    findings = (*found.findings, *findings)
    return Dataset(found.loaded.name, modality, shape.inputs, shape.targets, rows, notes, findings, found.set_aside)


def _with_labels(found: Usable) -> Usable:
    """Fill in the labels that the usable rows carry.

    Raises
    ------
    DataError
        If a target has no value, or one only.
    """
    targets = []
    for target in found.shape.targets:
        answer, labels = found.answers[target.name], target.labels
        known = answer.known(found.good)
        if target.kind == "detect":  # one class is enough: the rest of the picture is the other
            targets.append(target)
            continue
        if not len(known):
            raise DataError(f"target {target.name!r} has no value in any row.", hint="Name another with --target.")
        if target.kind in {"classify", "multilabel"}:
            labels = labels or tuple(sorted(answer.counts(known, target), key=_natural))
            if len(labels) < 2:
                raise DataError(
                    f"target {target.name!r} has one class only: {labels[0] if labels else 'none'!r}.",
                    hint="Expected at least two; name another target with --target.",
                )
        elif len(np.unique(answer.codes[known])) < 2:
            raise DataError(
                f"target {target.name!r} has the same value in every row.", hint="Name another with --target."
            )
        targets.append(replace(target, labels=labels))
    return replace(found, shape=replace(found.shape, targets=tuple(targets)))


def _natural(label: str) -> tuple[int, float, str]:
    """Numbers by size, then words by letter."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


def _refuse_unlearnable(found: Usable, splits: Mapping[Split, Indices]) -> None:
    """Refuse a target that a split has no value of, or training rows only one."""
    for target in found.shape.targets:
        answer = found.answers[target.name]
        count = len(answer.known(found.good))
        for split, rows in splits.items():
            if not len(answer.known(rows)):
                raise DataError(
                    f"target {target.name!r} has no value in any {split} row; it has {count:,} in all.",
                    hint="Label more rows, name other splits with --split, or leave this target out.",
                )
        if target.kind == "detect":
            if not sum(answer.counts(splits["train"], target).values()):
                raise DataError("no training picture has a box.", hint="Check the splits.")
            continue
        seen = np.unique(answer.codes[answer.known(splits["train"])])
        if len(seen) < 2:
            value = answer.values[seen[0]]
            raise DataError(
                f"target {target.name!r} has the same value in every training row: "
                f"{'; '.join(value) if isinstance(value, tuple) else value!r}.",
                hint="Nothing can be learned from it: check the splits, or name another target with --target.",
            )


def _without_blind_splits(loaded: Loaded, targets: Sequence[Target]) -> Loaded:
    """Leave out a given split none of whose rows has a target, as in competitions."""
    if loaded.given is None or not targets:
        return loaded
    blind = np.logical_and.reduce([quarantine.without_cell(loaded.frame, target) for target in targets])
    if blind.all():
        return loaded
    given, findings = loaded.given.copy(), list(loaded.findings)
    for at, split in enumerate(SPLITS):
        rows = given == at
        if rows.any() and blind[rows].all():
            given[rows] = LEFT_OUT
            message = f"None of the {int(rows.sum())} {split} rows has a target; they were left out."
            findings.append(
                Finding("warning", "split-without-target", message, {"split": split, "rows": int(rows.sum())})
            )
    return replace(loaded, given=given, findings=tuple(findings))
