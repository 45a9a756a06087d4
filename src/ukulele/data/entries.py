"""Several sources: a task by name each, from a mapping, from a file of tasks, or from arguments NAME=PATH."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ukulele.data.boxes import is_data_yaml
from ukulele.data.entry import NAME, NAMES, Entry, Listed, check_name
from ukulele.data.options import Asked
from ukulele.data.split_names import split_name
from ukulele.data.task_file import read_tasks
from ukulele.errors import BadRowsError, DataError

ENDINGS = {".yaml", ".yml"}


@dataclass(frozen=True)
class Source:
    """What is read at once: a source, and all tasks that are asked of it."""

    name: str
    data: Any
    tasks: tuple[Asked, ...]
    text: tuple[str, ...] = ()
    split: str | None = None


def is_several(source: Any) -> bool:
    """Whether a source is several by name: a mapping, or a file of tasks.

    >>> is_several({"irony": "irony.csv"}), is_several("tasks.yaml"), is_several("tasks.csv")
    (True, True, False)
    """
    if isinstance(source, str | Path):
        return Path(source).suffix.lower() in ENDINGS and not is_data_yaml(Path(source).expanduser())
    return isinstance(source, Mapping) and type(source).__module__.partition(".")[0] != "datasets"


def listed(source: Any) -> Listed:
    """The tasks of a mapping, or of a file.

    Raises
    ------
    DataError
        If there are none, or a name is none or stands twice.
    """
    if isinstance(source, str | Path):
        return read_tasks(Path(source).expanduser())
    for name in source:
        check_name(name, "the mapping")
    entries = tuple(Entry(name, data) for name, data in source.items())
    if not entries:
        raise DataError("the mapping of sources is empty.", hint='Expected {"name": source, …}, a task each.')
    if all(split_name(entry.name) for entry in entries):
        raise DataError(
            f"the names {', '.join(source)} are those of splits; several sources are a task each.",
            hint="Put the splits into one folder as train.csv, test.csv, and name that.",
        )
    return Listed(entries)


def named(arguments: Sequence[str]) -> Any:
    """What the arguments DATA of a command mean: one source, or several by name.

    Raises
    ------
    DataError
        If one of several has no name, or a name stands twice.

    >>> named(["reviews.csv"]), named(["irony=data/irony", "hate=data/hate"])
    ('reviews.csv', {'irony': 'data/irony', 'hate': 'data/hate'})
    """
    pairs = [_pair(argument) for argument in arguments]
    nameless = [path for name, path in pairs if name is None]
    if nameless and len(pairs) == 1:
        return nameless[0]
    if nameless:
        raise DataError(
            f"{len(pairs)} sources were given, and {', '.join(nameless)} without a name.",
            hint=f"Write NAME=PATH for each, such as reviews={nameless[0].rpartition('=')[2]}. {NAMES}",
        )
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        paths = " and ".join(path for name, path in pairs if name == twice)
        raise DataError(f"the name {twice!r} stands twice: {paths}.", hint="Give each source a name of its own.")
    return {str(name): path for name, path in pairs}


def _pair(argument: str) -> tuple[str | None, str]:
    """NAME=PATH in two; a path that is there is a path, whatever it is called."""
    name, equals, path = argument.partition("=")
    if os.path.exists(argument) or not (equals and path and NAME.fullmatch(name)):  # noqa: PTH110 - it may be any text
        return None, argument
    return name, path


def sources(several: Listed, text: tuple[str, ...], target: tuple[str, ...] = ()) -> tuple[Source, ...]:
    """Each source once, with all its tasks; `text` and `target` are the columns of those that name none.

    Raises
    ------
    DataError
        If tasks of one source disagree about its splits, or only some of them name its text.
    """
    found: dict[tuple[Any, tuple[str, ...]], Source] = {}
    texts: dict[Any, Entry] = {}
    for given in several.entries:
        entry = replace(given, text=given.text or text, target=given.target or target)
        place = _place(entry.data)
        other = texts.setdefault(place, entry)
        if bool(other.text) != bool(entry.text):
            raise DataError(
                f"{other.name!r} and {entry.name!r} read the same data, and only one of them names its text.",
                hint="Write text for both.",
            )
        task = Asked(entry.name, entry.target, entry.weight)
        known = found.get((place, entry.text))
        if known is None:
            found[place, entry.text] = Source(entry.name, entry.data, (task,), entry.text, entry.split)
            continue
        if known.split and entry.split and known.split != entry.split:
            raise DataError(
                f"{known.name!r} and {entry.name!r} read the same data with other splits: "
                f"{known.split!r} and {entry.split!r}.",
                hint="Name one column of splits for both.",
            )
        found[place, entry.text] = replace(
            known,
            name=f"{known.name}+{entry.name}",
            tasks=(*known.tasks, task),
            split=known.split or entry.split,
        )
    return tuple(found.values())


def _place(data: Any) -> Any:
    """What tells one source from another."""
    if not isinstance(data, str | Path):
        return id(data)
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else str(data)


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """What goes wrong inside is said with the name of the source."""
    try:
        yield
    except BadRowsError as error:
        raise BadRowsError(f"{name}: {error.message}", hint=error.hint, bad=error.bad) from error
    except DataError as error:
        raise DataError(f"{name}: {error.message}", hint=error.hint) from error
