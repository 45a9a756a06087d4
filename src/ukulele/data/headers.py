"""The names of columns: each has one, and no two the same."""

from __future__ import annotations

from collections.abc import Sequence

from ukulele.types import Finding


def own_names(place: str, header: Sequence[str]) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """A name of its own for each column of `place`, and a finding where it is not the given one.

    >>> own_names("a.csv", ["text", "", "text"])[0]
    ('text', 'column 2', 'text (2)')
    """
    names: list[str] = []
    for at, cell in enumerate(header, 1):
        plain = cell if cell.strip() else f"column {at}"
        name, copy = plain, 1
        while name in names:
            copy += 1
            name = f"{plain} ({copy})"
        names.append(name)
    renamed = [name for name, cell in zip(names, header, strict=True) if name != cell]
    if not renamed:
        return tuple(names), ()
    message = f"{place}: columns without a name of their own are called {', '.join(renamed)}."
    return tuple(names), (Finding("info", "renamed-columns", message, {"columns": renamed}),)
