"""What a model is asked: rows in every form, and which of its tasks can answer rows of that kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ukulele import data
from ukulele.errors import DataError
from ukulele.trial.predict import Grouped, Predictor
from ukulele.types import BadRow, Rows


def kinds(predictor: Predictor | Grouped) -> dict[tuple[str, ...], list[str]]:
    """The tasks by the input columns that they take."""
    asked, found = predictor.about.get("asked", {}), dict[tuple[str, ...], list[str]]()
    for task in predictor.tasks:
        found.setdefault(tuple(asked.get(task, {}).get("inputs") or predictor.columns), []).append(task)
    return found


def widths(predictor: Predictor | Grouped) -> list[int]:
    """How many inputs a row may have."""
    return sorted({len(columns) for columns in kinds(predictor)})


def tasks_for(predictor: Predictor | Grouped, width: int) -> list[str]:
    """The tasks that take so many inputs a row.

    Raises
    ------
    DataError
        If none does.
    """
    found = [task for columns, tasks in kinds(predictor).items() if len(columns) == width for task in tasks]
    if not found:
        raise DataError(f"rows of {_count(width)} were given; {told(predictor)}.")
    return found


def told(predictor: Predictor | Grouped) -> str:
    """What the tasks take, in words."""
    parts = [
        f"{', '.join(tasks)} {_takes(tasks)} {_count(len(c))} ({', '.join(c)})" for c, tasks in kinds(predictor).items()
    ]
    return "; ".join(parts)


def _takes(tasks: Sequence[str]) -> str:
    return "takes" if len(tasks) == 1 else "take"


def _count(width: int) -> str:
    return "one text a row" if width == 1 else "two texts a row" if width == 2 else f"{width} texts a row"


def read(source: Any, predictor: Predictor | Grouped, columns: tuple[str, ...] = ()) -> tuple[Rows, list[BadRow], int]:
    """Rows from a file, a table or a list; those that cannot be read; and how many inputs each has.

    Where tasks take different columns, those that the source has decide, more before fewer. Of a model that takes one
    text, every line of a .txt file without a header, or of a file in the language that it translates, is a row.

    Raises
    ------
    DataError
        If it has none of them, or a list has rows of several kinds.
    """
    if _is_lined(source, predictor, columns):
        one = next(names for names in kinds(predictor) if len(names) == 1)
        rows, bad = data.read_lines(source, one[0])
        return rows, list(bad), 1
    wanted = [columns] if columns else _candidates(source, predictor)
    faults: list[DataError] = []
    for some in wanted:
        try:
            rows, bad = data.read_inputs(source, some, predictor.modality)
        except DataError as error:
            faults.append(error)
        else:
            return rows, list(bad), len(some)
    raise faults[0]


def source_endings(predictor: Predictor | Grouped) -> set[str]:
    """How the names of files of sentences end that it translates: their column in training, or their language."""
    translated = [task.name for task in predictor.tasks.values() if task.kind == "translate"]
    names = {columns[0] for columns, tasks in kinds(predictor).items() if {*tasks} & {*translated}}
    if translated and isinstance(predictor, Predictor):
        codes = [str(code) for code in (predictor.model.recipe.get("languages") or ())[:1]]
        names |= {part for code in codes for part in (code, code.partition("_")[0])}
    return {f".{name.lower()}" for name in names} - set(data.FORMATS)


def _is_lined(source: Any, predictor: Predictor | Grouped, columns: Sequence[str]) -> bool:
    if not isinstance(source, Path) or not source.is_file() or predictor.modality == "image":
        return False
    ending = source.suffix.lower()
    if ending in source_endings(predictor):
        return True
    if ending != ".txt" or 1 not in widths(predictor):
        return False
    known = columns or [name for names in kinds(predictor) for name in names]
    header = data.has_header(source, known)
    if columns and not header:
        raise DataError(
            f"{source}: its first line has no column {columns[0]!r}.",
            hint="Leave --text out: then every line is a text, the first one, too.",
        )
    return not header


def _candidates(source: Any, predictor: Predictor | Grouped) -> list[tuple[str, ...]]:
    """The columns that a source may have, in the order in which they are looked for."""
    known = sorted(kinds(predictor), key=len, reverse=True)
    if predictor.columns in known:
        known = [predictor.columns, *(columns for columns in known if columns != predictor.columns)]
    if not isinstance(source, list | tuple) or len(widths(predictor)) < 2:
        return known
    found = {1 if isinstance(item, str) else len(item) for item in source if isinstance(item, str | tuple | list)}
    if len(found) > 1:
        stand = " and ".join(_count(width) for width in sorted(found))
        raise DataError(f"{stand} stand in one list; {told(predictor)}.", hint="Ask for each kind by itself.")
    if found:
        tasks_for(predictor, *found)
    return [columns for columns in known if not found or len(columns) in found]


def typed(texts: Sequence[str], predictor: Predictor | Grouped) -> int:
    """How many of the texts that were typed make a row.

    Raises
    ------
    DataError
        If they do not come out even, or it cannot be told.
    """
    known = widths(predictor)
    if len(known) > 1 and len(texts) > 1:
        raise DataError(
            f"{len(texts)} texts were given; {told(predictor)}.",
            hint="Say with --task NAME which you mean, or give a file.",
        )
    width = known[0]
    if len(texts) % width:
        raise DataError(
            f"{len(texts)} texts were given; this model takes {width} a row.",
            hint="Columns of a file are named one by one: --text first --text second.",
        )
    return width


__all__ = ["kinds", "read", "source_endings", "tasks_for", "typed", "widths"]
