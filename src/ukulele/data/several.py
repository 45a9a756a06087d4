"""Several sources as one data set: each read by itself, then joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ukulele.data.checks import same_inputs
from ukulele.data.entries import Source, listed, named_errors, sources
from ukulele.data.entry import Listed, nearest
from ukulele.data.infer import task_of_several
from ukulele.data.join import JoinedRows
from ukulele.data.options import ReadOptions
from ukulele.data.single import Single, read_loaded
from ukulele.data.sources import Loaded, load
from ukulele.errors import DataError
from ukulele.types import SPLITS, Dataset, Finding, Joined, Modality

LONGEST = 60  # letters of a name that is made of names


def read_several(source: Any, options: ReadOptions, cache: Path) -> Dataset:
    """Several sources, a mapping or a file of tasks, as one data set.

    Raises
    ------
    DataError
        If a source cannot be read, naming it, or they do not go together.
    """
    several = listed(source)
    if options.task is not None and len(several.entries) > 1:
        raise task_of_several(options.task, [entry.name for entry in several.entries])
    _refuse_idle(several, options)
    found = sources(several, options.inputs, options.target)
    loads = []
    for one in found:
        with named_errors(one.name):
            loads.append(load(one.data, cache))
    parts: dict[str, Single] = {}
    for one, loaded, own in zip(found, loads, _options(found, loads, options), strict=True):
        with named_errors(one.name):
            parts[one.name] = read_loaded(loaded, own, cache)
    tasks = tuple(entry.name for entry in several.entries)
    dataset = unite({name: part.dataset for name, part in parts.items()}, tasks)
    _refuse_gaps(parts)
    sizes = ", ".join(f"{len(dataset.splits[split]):,} {split}" for split in SPLITS if split in dataset.splits)
    notes = [*dataset.notes, *_idle_notes(found, loads, options)]
    if len(parts) > 1:
        notes.append(f"Rows of {len(parts)} sources together: {sizes}.")
    findings = (*dataset.findings, *same_inputs({name: part.checked for name, part in parts.items()}))
    return replace(dataset, notes=tuple(notes), findings=findings, sampling=several.sampling)


def mixed(dataset: Dataset) -> bool:
    """Whether some rows are pairs of texts and others one text."""
    return dataset.modality == "pair" and any(len(part.columns) == 1 for part in dataset.joined)


def unite(parts: Mapping[str, Dataset], tasks: tuple[str, ...]) -> Dataset:
    """Data sets by name as one, their rows one behind the other, each row with all `tasks`.

    Raises
    ------
    DataError
        If some hold pictures and others texts.
    """
    modality = _modality(parts)
    targets = {target.name: target for part in parts.values() for target in part.targets}
    splits = {
        split: JoinedRows(tuple(part.splits[split] for part in parts.values() if split in part.splits), tasks)
        for split in SPLITS
        if any(split in part.splits for part in parts.values())
    }
    return Dataset(
        _together(list(parts)),
        modality,
        next(part.columns for part in parts.values() if part.modality == modality),
        tuple(targets[name] for name in tasks if name in targets),
        splits,
        tuple(f"{name}: {note}" for name, part in parts.items() for note in part.notes),
        tuple(_of(name, finding) for name, part in parts.items() for finding in part.findings),
        tuple(bad for part in parts.values() for bad in part.quarantine),
        joined=tuple(
            Joined(name, part.columns, tuple(target.name for target in part.targets)) for name, part in parts.items()
        ),
        apart=_apart(parts, tasks),
    )


def _apart(parts: Mapping[str, Dataset], tasks: tuple[str, ...]) -> JoinedRows | None:
    """The rows that each sets apart."""
    rows = [part.apart for part in parts.values() if part.apart is not None]
    return JoinedRows(tuple(rows), tasks) if rows else None


def _modality(parts: Mapping[str, Dataset]) -> Modality:
    first = {part.modality: name for name, part in reversed(list(parts.items()))}
    if "image" in first and len(first) > 1:
        other = next(name for name, part in parts.items() if part.modality != "image")
        raise DataError(
            f"{first['image']!r} holds pictures and {other!r} texts, which is not supported in one run.",
            hint="Make a run for each.",
        )
    return "pair" if "pair" in first else next(iter(first))


def _together(names: Sequence[str]) -> str:
    """One name for several.

    >>> _together(["irony", "hate"]), _together([f"task-number-{i}" for i in range(9)])
    ('irony+hate', 'task-number-0+task-number-1+task-number-2+6 more')
    """
    kept: list[str] = []
    for name in names:
        if kept and len("+".join([*kept, name])) > LONGEST - len("+99 more"):
            return "+".join([*kept, f"{len(names) - len(kept)} more"])
        kept.append(name)
    return "+".join(kept)


def _of(name: str, finding: Finding) -> Finding:
    evidence = {**finding.evidence, "source": name}
    return replace(finding, message=f"{name}: {finding.message}", evidence=evidence)


def _refuse_idle(several: Listed, options: ReadOptions) -> None:
    """Refuse --target and --text where each task names its own: they would be passed over in silence."""
    for option, given, own in (
        ("--target", options.target, [entry.target for entry in several.entries]),
        ("--text", options.inputs, [entry.text for entry in several.entries]),
    ):
        if given and all(own):
            raise DataError(
                f"{option} {' '.join(given)} was given, and every task names its own.",
                hint=f"Leave {option} out, or change it in the file of tasks.",
            )


def _options(found: Sequence[Source], loads: Sequence[Loaded], options: ReadOptions) -> list[ReadOptions]:
    """What each source is read with: --group, --time and --split where it has that column.

    Raises
    ------
    DataError
        If no source has such a column.
    """
    every = list(dict.fromkeys(name for loaded in loads for name in loaded.frame.fields))
    for column in (options.group, options.time, options.split):
        if column is not None and column not in every:
            hint = f"{nearest(column, every)}The columns are: {', '.join(every)}."
            raise DataError(f"no source has a column {column!r}.", hint=hint)
    return [
        replace(
            options,
            target=() if all(task.columns for task in one.tasks) else options.target,
            inputs=one.text,
            group=_there(options.group, loaded),
            time=_there(options.time, loaded),
            split=one.split or _there(options.split, loaded),
            asked=one.tasks,
        )
        for one, loaded in zip(found, loads, strict=True)
    ]


def _there(column: str | None, loaded: Loaded) -> str | None:
    return column if column in loaded.frame.fields else None


def _idle_notes(found: Sequence[Source], loads: Sequence[Loaded], options: ReadOptions) -> list[str]:
    """Where an option does not apply."""
    return [
        f"{one.name}: there is no column {column!r}, so {option} does not apply."
        for one, loaded in zip(found, loads, strict=True)
        for option, column in (("--group", options.group), ("--time", options.time), ("--split", options.split))
        if column is not None and column not in loaded.frame.fields and not (option == "--split" and one.split)
    ]


def _refuse_gaps(parts: Mapping[str, Single]) -> None:
    """Refuse a source without rows in a split that others have, and any without test rows."""
    wanted = {split for part in parts.values() for split in part.dataset.splits} | {"test"}
    for name, part in parts.items():
        for split in SPLITS:
            if split in wanted and not len(part.dataset.splits.get(split, ())):
                raise DataError(
                    f"{name!r} has no {split} rows.",
                    hint="Add some, or name a column of splits with --split.",
                )
