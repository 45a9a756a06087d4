"""Read, check, split: from whatever the user names to a Dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ukulele.data import quarantine
from ukulele.data.answers import Answers, answers
from ukulele.data.arrays import flags
from ukulele.data.assign import assign
from ukulele.data.checks import Checked, check
from ukulele.data.decoded import Decoded, decode_all
from ukulele.data.frame import Indices, require
from ukulele.data.infer import infer, refuse_other_cells
from ukulele.data.near import fingerprints
from ukulele.data.options import ReadOptions
from ukulele.data.rows import Shape, TableRows
from ukulele.data.sources import Loaded, load
from ukulele.errors import DataError
from ukulele.types import SPLITS, BadRow, Dataset, Finding, Split, Target

Modality = Literal["text", "pair", "image"]


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

    @property
    def prints(self) -> NDArray[np.uint64]:
        """A hash of each row's input."""
        return self.decoded.content if self.decoded else fingerprints(self.loaded.frame, self.shape.inputs)


def read(source: Any, options: ReadOptions, cache: Path) -> Dataset:
    """A labelled data set: read, checked, split.

    Parameters
    ----------
    source
        A CSV, TSV, JSONL or Parquet file, a folder of split files, a folder of pictures by class, a
        Hugging Face data set (saved folder or hub id), a DataFrame, or a list of (text, label) or dicts.
    options
        What is known already; the rest is inferred and said in `Dataset.notes`.
    cache
        A folder for the memory-mapped table and the verdicts on pictures, used again on the next run.

    Raises
    ------
    DataError
        If the source cannot be read, asks nothing that can be learned, or has too many bad rows.
    """
    loaded = load(source, cache)
    if len(loaded.frame) == 0:
        if loaded.bad:
            quarantine.refuse_too_many(loaded.bad, len(loaded.bad), 0)
        raise DataError(
            f"{loaded.name}: there are no rows below the header.", hint="Expected at least 2 labelled rows."
        )
    guess = infer(loaded.frame, options, loaded.pictures)
    loaded = _without_blind_splits(loaded, guess.targets)
    shape = Shape(guess.inputs, guess.modality == "image", guess.targets)
    usable = _usable(loaded, shape, cache, options.max_bad)
    usable = _with_labels(usable)
    splits, more, late = assign(usable.loaded, usable.shape, usable.good, usable.answers, usable.decoded, options)
    bad = (*usable.bad, *late)
    quarantine.refuse_too_many(bad, usable.total, options.max_bad)
    findings = (
        *loaded.findings,
        *quarantine.bad_rows_finding(bad, usable.total),
        *check(Checked(loaded.frame, usable.shape, splits, usable.prints, usable.answers)),
    )
    notes = (*loaded.notes, *guess.notes, *more)
    return _dataset(usable, splits, guess.modality, bad=bad, notes=notes, findings=findings)


def read_inputs(
    source: Any,
    columns: tuple[str, ...],
    modality: Modality,
    cache: Path | None = None,
) -> tuple[TableRows, tuple[BadRow, ...]]:
    """Unlabelled inputs of a known shape, in their order; bad ones are set aside.

    Parameters
    ----------
    source
        A table with `columns` (a table of one column needs no name), a DataFrame, a folder or file of
        pictures, or a list of texts, pairs, pictures, dicts or paths.
    columns, modality
        Those of the data set that the model was trained on.
    cache
        Where a table is kept memory-mapped; None holds it in memory.

    Raises
    ------
    DataError
        If the source cannot be read or lacks a column.
    """
    from ukulele.data.inputs import load_inputs

    loaded = load_inputs(source, columns, modality, cache)
    names = _present(loaded, columns)
    usable = _usable(loaded, Shape(names, modality == "image"), cache, 1.0)
    return TableRows(loaded.frame, usable.shape, usable.good), usable.bad


def read_labelled(
    source: Any,
    columns: tuple[str, ...],
    targets: tuple[Target, ...],
    modality: Modality,
    cache: Path | None = None,
    max_bad: float = 0.05,
) -> Dataset:
    """Labelled rows of a known shape, as one split "test"; labels that are not known are set aside.

    Of a source with splits only its test split is read, or its validation split where that is all.

    Raises
    ------
    DataError
        If the source cannot be read, lacks a column, or has too many bad rows.
    """
    loaded = load(source, cache)
    names = ("path",) if loaded.pictures else _present(loaded, columns)
    if loaded.pictures and "label" not in {target.name for target in targets}:
        raise DataError(f"{loaded.name}: folders of pictures hold classes; the model answers {targets[0].name!r}.")
    for target in targets:
        for name in (
            (target.name,) if target.name in loaded.frame.fields or target.kind != "multilabel" else target.labels
        ):
            require(loaded.frame, name)
    notes: tuple[str, ...] = ()
    if loaded.given is not None:
        held = next((at for at in (2, 1) if (loaded.given == at).any()), 0)
        rows = np.flatnonzero(loaded.given == held)
        loaded = replace(loaded, frame=loaded.frame.select(rows), given=None)
        notes = (f"Of {loaded.name} the {SPLITS[held]} split is evaluated.",)
    usable = _usable(loaded, Shape(names, modality == "image", targets), cache, max_bad)
    splits: dict[Split, Indices] = {"test": usable.good}
    findings = (*loaded.findings, *quarantine.bad_rows_finding(usable.bad, usable.total))
    return _dataset(usable, splits, modality, bad=usable.bad, notes=notes, findings=findings)


def _usable(loaded: Loaded, shape: Shape, cache: Path | None, max_bad: float) -> Usable:
    frame = loaded.frame
    refuse_other_cells(frame, shape)
    decoded = decode_all(frame, shape.inputs[0], cache) if shape.image and len(frame) else None
    values = {target.name: answers(frame, target) for target in shape.targets}
    faulty = quarantine.faulty_rows(frame, shape, values, decoded) if len(frame) else {}
    skipped = loaded.given is not None and (loaded.given == -2)
    out = np.zeros(len(frame), bool) | skipped
    faulty = {row: bad for row, bad in faulty.items() if not out[row]}
    out[list(faulty)] = True
    bad = (*loaded.bad, *faulty.values())
    total = len(frame) + len(loaded.bad) - int(np.sum(skipped))
    quarantine.refuse_too_many(bad, total, max_bad)
    good = np.flatnonzero(~out)
    if not len(good):
        raise DataError(
            f"{loaded.name}: there are no rows that can be used.",
            hint=f"{bad[0].where}: {bad[0].reason}" if bad else "",
        )
    return Usable(loaded, shape, good, bad, total, values, decoded)


def _with_labels(usable: Usable) -> Usable:
    """Fill in the labels that the usable rows carry.

    Raises
    ------
    DataError
        If a target has one label only.
    """
    targets = []
    for target in usable.shape.targets:
        labels = target.labels
        found = usable.answers[target.name]
        if target.kind != "regress":
            labels = labels or tuple(sorted(found.counts(usable.good, target), key=_natural))
            if len(labels) < 2:
                raise DataError(
                    f"target {target.name!r} has one class only: {labels[0] if labels else 'none'!r}.",
                    hint="Expected at least two; name another target with --target.",
                )
        elif len(np.unique(found.codes[usable.good])) < 2:
            raise DataError(
                f"target {target.name!r} has the same value in every row.", hint="Name another with --target."
            )
        targets.append(replace(target, labels=labels))
    return replace(usable, shape=replace(usable.shape, targets=tuple(targets)))


def _natural(label: str) -> tuple[int, float, str]:
    """Numbers by size, then words by letter."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


def _without_blind_splits(loaded: Loaded, targets: Sequence[Target]) -> Loaded:
    """Leave out a given split none of whose rows has a target, as in competitions."""
    if loaded.given is None or not targets or targets[0].name not in loaded.frame.fields:
        return loaded
    column = np.concatenate([flags(batch.column(targets[0].name).is_null()) for batch in loaded.frame.batches])
    given, findings = loaded.given.copy(), list(loaded.findings)
    for at, split in enumerate(SPLITS):
        rows = given == at
        if rows.any() and column[rows].all():
            given[rows] = -2
            message = f"None of the {int(rows.sum())} {split} rows has a target; they were left out."
            findings.append(
                Finding("warning", "split-without-target", message, {"split": split, "rows": int(rows.sum())})
            )
    return replace(loaded, given=given, findings=tuple(findings))


def _present(loaded: Loaded, columns: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(loaded.frame.fields)
    if len(columns) == 1 and len(names) == 1:
        return names
    for name in columns:
        require(loaded.frame, name)
    return columns


def _dataset(
    usable: Usable,
    splits: Mapping[Split, Indices],
    modality: Modality,
    *,
    bad: tuple[BadRow, ...],
    notes: tuple[str, ...],
    findings: tuple[Finding, ...],
) -> Dataset:
    rows = {split: TableRows(usable.loaded.frame, usable.shape, index) for split, index in splits.items()}
    shape = usable.shape
    return Dataset(usable.loaded.name, modality, shape.inputs, shape.targets, rows, notes, findings, bad)
