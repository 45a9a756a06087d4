"""A task as it was listed, before its data are read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ukulele.errors import DataError

NAME = re.compile(r"\w[\w.-]*")
NAMES = "A name begins with a letter or a digit and has letters, digits, _ . and - only."


@dataclass(frozen=True)
class Entry:
    """A task as it was listed: its name, its source, and what is known of it."""

    name: str
    data: Any
    target: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    weight: float = 1.0
    split: str | None = None


@dataclass(frozen=True)
class Listed:
    """All tasks, and how often each is to be seen."""

    entries: tuple[Entry, ...]
    sampling: str | None = None


def check_name(name: Any, place: str) -> str:
    """A task's name.

    Raises
    ------
    DataError
        If it is no name.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise DataError(f"{place}: {name!r} cannot be the name of a task.", hint=NAMES)
    return name


def nearest(word: str, words: Sequence[str]) -> str:
    """A suggestion, or "".

    >>> nearest("taget", ["target", "text"])
    "Did you mean 'target'? "
    """
    found = difflib.get_close_matches(word, words, 1, 0.5)
    return f"Did you mean {found[0]!r}? " if found else ""
