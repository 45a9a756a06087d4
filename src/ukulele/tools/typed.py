"""Options as they are typed, as values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ukulele.errors import PlanError
from ukulele.tools.encodings import lines_of


def number_or_word(text: str | None) -> float | str | None:
    """An option that takes both, as it was typed.

    >>> number_or_word("0.5"), number_or_word("auto"), number_or_word(None)
    (0.5, 'auto', None)
    """
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def words_or_lines(given: Sequence[str]) -> tuple[str, ...]:
    """An option that takes words, or text files with one a line, as words.

    >>> words_or_lines(["qubit", "qutrit", "qubit"])
    ('qubit', 'qutrit')

    Raises
    ------
    PlanError
        If a file cannot be read or decoded.
    """
    files = [(one, _file(one)) for one in given]
    lists = [[word] if file is None else lines_of(file, "--new-tokens") for word, file in files]
    return tuple(dict.fromkeys(line.strip() for lines in lists for line in lines if line.strip()))


def _file(name: str) -> Path | None:
    """The file of a name, where there is one."""
    try:
        path = Path(name).expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError):  # a word that no path can be: too long, or ~ and no user's name
        return None


def power(sampling: str) -> float | None:
    """The power of a task's rows that its share of each step goes by, 1 / temperature; None for a word that is none.

    >>> power("proportional"), power("sqrt"), power("equal"), power("temperature:5"), power("often")
    (1.0, 0.5, 0.0, 0.2, None)
    """
    match = re.fullmatch(r"proportional|sqrt|equal|temperature:(\d+(?:\.\d+)?)", sampling)
    if match is None or (match[1] and not float(match[1]) > 0):
        return None
    return 1 / float(match[1]) if match[1] else {"proportional": 1.0, "sqrt": 0.5, "equal": 0.0}[sampling]


def seconds(text: str) -> float:
    """A stretch of time as it is typed, in seconds.

    >>> seconds("90s"), seconds("5m"), seconds("1.5h"), seconds("30")
    (90.0, 300.0, 5400.0, 30.0)

    Raises
    ------
    PlanError
        If it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?", text.strip())
    if match is None or not float(match[1]) > 0:
        raise PlanError(f"--budget {text}: a time such as 90s, 5m or 1h was expected.")
    return float(match[1]) * {"h": 3600, "m": 60, "min": 60}.get(match[2] or "s", 1)
