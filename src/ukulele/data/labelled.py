"""Labelled rows of known tasks: what a model is scored on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ukulele.data.assign import given_splits
from ukulele.data.conversations import MESSAGES, conversations
from ukulele.data.document_table import documents_of
from ukulele.data.documents import is_text, read_text, refuse_options
from ukulele.data.entries import is_several, listed, named_errors, sources
from ukulele.data.frame import require
from ukulele.data.infer import document_column
from ukulele.data.join import JoinedRows
from ukulele.data.options import ReadOptions
from ukulele.data.rows import Shape, column_of
from ukulele.data.several import unite
from ukulele.data.single import Grouping, clusters_of, dataset_of, present, usable
from ukulele.data.sources import Loaded, load
from ukulele.errors import DataError
from ukulele.types import SPLITS, BadRow, Dataset, Joined, Modality, Target

SPLIT = "split"  # the column that names them


@dataclass(frozen=True)
class Known:
    """What is known of the rows beforehand."""

    columns: tuple[str, ...]
    targets: tuple[Target, ...]
    modality: Modality
    max_bad: float
    group: str | None = None


def read_labelled(  # noqa: PLR0913 - what is known, and where to read
    source: Any,
    columns: tuple[str, ...],
    targets: tuple[Target, ...],
    modality: Modality,
    cache: Path | None = None,
    max_bad: float = 0.05,
    joined: Sequence[Joined] = (),
    group: str | None = None,
) -> Dataset:
    """Labelled rows of a known shape, as one split "test"; labels that are not known are set aside.

    Of a source with splits only its test split is read, or its validation split where that is all. With
    several targets a row needs one of them, and a source one; those that are not there are None.

    Parameters
    ----------
    source
        As for `read`; the names of several sources are those of targets. Of plain text, a table of documents, too.
    columns, targets, modality
        Those of the data set that the model was trained on.
    cache
        Where tables are kept memory-mapped; None holds them in memory.
    max_bad
        The largest share of rows that may be set aside.
    joined
        The sources that the model was trained on: the input columns of each task.
    group
        A column: rows that share a value of it are one group, in `clusters`.

    Raises
    ------
    DataError
        If the source cannot be read, lacks a column, or has too many bad rows.
    """
    if len(targets) == 1 and targets[0].free:
        if not is_text(source):
            if group is not None:
                raise DataError("--group: documents are scored in windows, each by itself.", hint="Leave it out.")
            return _documents(source, columns[0], max_bad, cache)
        refuse_options(ReadOptions(max_bad=max_bad, group=group))
        return read_text(source)
    if not is_several(source):
        loaded = load(source, cache)
        inputs = _inputs(loaded, columns, joined)
        known = Known(inputs, targets, _kind(modality, inputs), max_bad, group)
        return conversations(_plain(loaded, known, cache))
    by_name = {target.name: target for target in targets}
    trained = {task: one.columns for one in joined for task in one.targets}
    parts: dict[str, Dataset] = {}
    for one in sources(listed(source), ()):
        asked = []
        for task in one.tasks:
            if task.name not in by_name:
                raise DataError(f"{task.name!r} is no task of the model.", hint=f"Its tasks are: {', '.join(by_name)}.")
            target = by_name[task.name]
            asked.append(replace(target, column=task.columns[0]) if len(task.columns) == 1 else target)
        inputs = one.text or trained.get(asked[0].name, columns)
        known = Known(inputs, tuple(asked), _kind(modality, inputs), max_bad, group)
        with named_errors(one.name):
            parts[one.name] = _plain(load(one.data, cache), known, cache)
    found = unite(parts, tuple(by_name))
    return replace(found, modality=modality, columns=columns, targets=targets)


def _kind(modality: Modality, inputs: Sequence[str]) -> Modality:
    return "image" if modality == "image" else "pair" if len(inputs) == 2 else "text"


def _inputs(loaded: Loaded, columns: tuple[str, ...], joined: Sequence[Joined]) -> tuple[str, ...]:
    """The input columns of any of the sources in training that are there."""
    every = (columns, *(one.columns for one in joined))
    return next((names for names in every if set(names) <= loaded.frame.fields.keys()), columns)


def _plain(loaded: Loaded, known: Known, cache: Path | None) -> Dataset:
    """One source's rows; of one with splits, given or named in a column, those of its test split."""
    names = ("path",) if loaded.pictures else present(loaded, known.columns)
    targets = _found(loaded, known.targets, names)
    read = {*names, *(column for target in targets for column in (column_of(target), *target.labels))}
    loaded, notes = _held_out(loaded, read)
    shape = Shape(names, known.modality == "image", targets)
    found = usable(loaded, shape, cache, known.max_bad)
    if known.group is not None:
        require(loaded.frame, known.group)
    grouping = Grouping(named=clusters_of(loaded.frame, known.group))
    dataset = dataset_of(found, {"test": found.good}, known.modality, notes, grouping=grouping)
    absent = [target.name for target in known.targets if target.name not in {one.name for one in targets}]
    if not absent:
        return dataset
    rows_ = JoinedRows((dataset.splits["test"],), tuple(target.name for target in known.targets))
    notes = (*notes, f"{loaded.name} has no answers for {', '.join(absent)}.")
    return replace(dataset, targets=known.targets, splits={"test": rows_}, notes=notes)


def _documents(source: Any, column: str, max_bad: float, cache: Path | None) -> Dataset:
    """A table of documents to be continued; its column may have another name than in training where it is clear."""
    if is_several(source):
        raise DataError("several sources were given; the model has one task.", hint="Give each by itself.")
    loaded = load(source, cache)
    if column not in loaded.frame.fields:
        column = document_column(loaded.frame, ReadOptions(task="generate")) or column
    (column,) = present(loaded, (column,))
    loaded, notes = _held_out(loaded, {column})
    found = usable(loaded, Shape((column,)), cache, max_bad)
    return documents_of(found, {"test": found.good}, notes)


def _held_out(loaded: Loaded, read: Collection[str]) -> tuple[Loaded, tuple[str, ...]]:
    """Of a source with splits, given or named in a column that is not `read` otherwise, the test rows; what to say."""
    said, unnamed = list[str](), list[BadRow]()
    every = np.arange(len(loaded.frame))
    given = loaded.given if SPLIT in read else given_splits(loaded, every, ReadOptions(), said, unnamed)
    if given is None:
        return loaded, ()
    held = next((at for at in (2, 1) if (given == at).any()), 0)
    notes = (*said, f"Of {loaded.name} the {SPLITS[held]} split is evaluated.")
    if unnamed:
        notes += (f"{len(unnamed)} rows are of no split, such as {unnamed[0].where}.",)
    kept = np.flatnonzero(given == held)
    frame = loaded.frame if len(kept) == len(every) else loaded.frame.select(kept)
    return replace(loaded, frame=frame, given=None), notes


def _found(loaded: Loaded, targets: Sequence[Target], inputs: Sequence[str]) -> tuple[Target, ...]:
    """The targets that a source has, with the columns they stand in.

    Raises
    ------
    DataError
        If it has none of them, or a column may be that of several.
    """
    if tuple(inputs) == (MESSAGES,) and [column_of(target) for target in targets] == [MESSAGES]:
        return tuple(targets)  # an answer and what it answers stand in one conversation
    shared = Counter(column_of(target) for target in targets)
    fields = loaded.frame.fields.keys() - set(inputs)
    found: list[Target] = []
    for target in targets:
        if column_of(target) in fields and shared[column_of(target)] == 1:
            found.append(target)
        elif target.name in fields:
            found.append(replace(target, column=""))
        elif target.kind == "multilabel" and target.labels and set(target.labels) <= fields:
            found.append(target)
    names = [t.name for t in targets if column_of(t) in fields and t.name not in {one.name for one in found}]
    if names:
        common = column_of(next(target for target in targets if target.name == names[0]))
        raise DataError(
            f"{loaded.name}: column {common!r} may answer {', '.join(names)}.",
            hint=f"Name the source: {names[0]}=PATH.",
        )
    if found:
        return tuple(found)
    first = targets[0]
    if loaded.pictures:
        raise DataError(f"{loaded.name}: folders of pictures hold classes; the model answers {first.name!r}.")
    for name in (column_of(first),) if first.kind != "multilabel" or not first.labels else first.labels:
        require(loaded.frame, name)
    raise DataError(f"{loaded.name}: column {column_of(first)!r} is an input.", hint="Name a source with answers.")
