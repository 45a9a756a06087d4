"""A file of tasks: YAML that names each task's data, target, text, splits and weight."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ukulele.data.entry import Entry, Listed, check_name, nearest
from ukulele.data.store import FORMATS
from ukulele.errors import DataError

TOP = ("tasks", "sampling")
KEYS = ("name", "data", "target", "text", "weight", "split")
SAMPLING = re.compile(r"proportional|sqrt|equal|temperature:(?!0+(\.0+)?$)\d+(\.\d+)?")
BROKEN = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError)


def read_tasks(path: Path) -> Listed:
    """The tasks of a file. Paths in it are relative to it.

    Raises
    ------
    DataError
        If the file is not there, no YAML, or says what is not known; with the line.
    """
    plain, lines = _parsed(path, _content(path))
    if not isinstance(plain, Mapping):
        raise DataError(f"{path}: {_shown(plain)} was found.", hint="Expected `tasks:` and a list of tasks below it.")
    _refuse_others(plain, TOP, str(path))
    tasks = plain.get("tasks")
    if not isinstance(tasks, list) or not tasks:
        raise DataError(f"{path}: `tasks` is {_shown(tasks)}; a list of tasks was expected.", hint=_EXAMPLE)
    entries: dict[str, Entry] = {}
    for at, task in enumerate(tasks):
        place = f"{path}:{lines[at]}" if at < len(lines) else str(path)
        entry = _entry(task, place, path.parent)
        if entry.name in entries:
            raise DataError(f"{place}: the name {entry.name!r} stands twice.", hint="Give each task its own name.")
        entries[entry.name] = entry
    return Listed(tuple(entries.values()), _sampling(plain.get("sampling"), path))


_EXAMPLE = "Such as: tasks: [{name: irony, data: irony.csv}, {name: hate, data: hate.csv}]"


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        folder = path.parent
        near = difflib.get_close_matches(path.name, [p.name for p in folder.iterdir()], 3) if folder.is_dir() else []
        hint = f"Did you mean {' or '.join(str(folder / name) for name in near)}?" if near else "Check the path."
        raise DataError(f"{path}: no such file.", hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).", hint="Expected a text file in UTF-8.") from error


def _parsed(path: Path, content: str) -> tuple[Any, list[int]]:
    """What the file holds, and the line of each task."""
    try:
        root = yaml.compose(content, Loader=yaml.SafeLoader)
        twice = next(_twice(root, set()), None)
        plain = yaml.safe_load(content)
    except BROKEN as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        said = getattr(error, "problem", None) or str(error) or type(error).__name__
        raise DataError(f"{place}: not YAML that can be read ({said}).", hint=_EXAMPLE) from error
    if twice is not None:
        line, key = twice
        raise DataError(f"{path}:{line}: the key {key!r} stands twice.", hint="Leave one of them.")
    lines: list[int] = []
    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            if key.value == "tasks" and isinstance(value, yaml.SequenceNode):
                lines = [item.start_mark.line + 1 for item in value.value]
    return plain, lines


def _twice(node: Any, seen: set[int]) -> Iterator[tuple[int, str]]:
    """Keys that a mapping has twice: the reader of YAML would keep the last in silence."""
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _twice(item, seen)
        return
    keys: set[str] = set()
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in keys:
                yield key.start_mark.line + 1, key.value
            keys.add(key.value)
        yield from _twice(value, seen)


def _entry(plain: Any, place: str, folder: Path) -> Entry:
    if not isinstance(plain, Mapping):
        raise DataError(f"{place}: {_shown(plain)} is no task.", hint=f"Expected the keys {', '.join(KEYS)}.")
    _refuse_others(plain, KEYS, place)
    for key in ("name", "data"):
        if plain.get(key) is None:
            raise DataError(f"{place}: the task has no `{key}`.", hint="Each task needs name and data.")
    name, data, split, weight = (plain.get(key) for key in ("name", "data", "split", "weight"))
    if not isinstance(data, str) or not data.strip():
        raise DataError(f"{place}: `data` is {_shown(data)}.", hint="A path or a hub id was expected.")
    if split is not None and not isinstance(split, str):
        raise DataError(f"{place}: `split` is {_shown(split)}.", hint="The name of a column was expected.")
    weight = 1.0 if weight is None else weight
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1e9:
        raise DataError(f"{place}: `weight` is {_shown(weight)}.", hint="A number above 0 was expected.")
    return Entry(
        check_name(name, place),
        _placed(data, folder),
        _columns(plain.get("target"), "target", place),
        _columns(plain.get("text"), "text", place),
        float(weight),
        split,
    )


def _columns(value: Any, key: str, place: str) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(found, list) or not all(isinstance(name, str) and name for name in found):
        hint = "The name of a column, or a list of names, was expected."
        raise DataError(f"{place}: `{key}` is {_shown(value)}.", hint=hint)
    return tuple(found)


def _placed(data: str, folder: Path) -> str:
    """A path as seen from the file's folder; what may be a hub id stays as it is."""
    path = Path(data).expanduser()
    here = folder / path
    if here.exists() or path.suffix.lower() in FORMATS or data.startswith((".", "~")):
        return str(here)
    return str(here) if len(path.parts) > 1 and here.parent.is_dir() else data


def _refuse_others(plain: Mapping[Any, Any], keys: Sequence[str], place: str) -> None:
    other = next((str(key) for key in plain if key not in keys), None)
    if other is not None:
        hint = f"{nearest(other, keys)}The keys are: {', '.join(keys)}."
        raise DataError(f"{place}: unknown key {other!r}.", hint=hint)


def _sampling(value: Any, path: Path) -> str | None:
    if value is None or (isinstance(value, str) and SAMPLING.fullmatch(value)):
        return value
    hint = "Expected proportional, sqrt, equal or temperature:T, such as temperature:5."
    raise DataError(f"{path}: `sampling` is {_shown(value)}.", hint=hint)


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:60]
