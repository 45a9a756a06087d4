"""The time of a row: a number or an ISO 8601 date, in one form a column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ukulele.data.rows import number

YEAR = re.compile(r"(19|20)\d\d")
COMPACT = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
DATE, NUMBER, YEARS, TOGETHER = "a date such as 2024-05-31", "a number", "a year", "a date without hyphens"


def moment(cell: str | None) -> float:
    """A number, or seconds since 1970 of an ISO 8601 date; NaN for neither.

    >>> moment("7"), moment("1970-01-02"), moment("soon")
    (7.0, 86400.0, nan)
    """
    value = number(cell)
    if value is not None:
        return value
    try:
        moment = datetime.fromisoformat((cell or "").strip())
    except ValueError:
        return float("nan")
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def forms(cells: Sequence[str | None], times: NDArray[np.float64]) -> list[str]:
    """The form in which each cell is a time, "" where it is none: those of two forms cannot be put in order.

    Numbers are of one form, whatever they count, unless all of them are either years or dates without hyphens.

    >>> cells = ["2023", "20240101", "2023-05-01", "soon"]
    >>> forms(cells, np.array([moment(cell) for cell in cells]))
    ['a year', 'a date without hyphens', 'a date such as 2024-05-31', '']
    """
    plain = [(cell or "").strip() for cell in cells]
    numeric = [number(cell) is not None for cell in plain]
    dated = {cell for cell, is_number in zip(plain, numeric, strict=True) if is_number}
    calendar = all(YEAR.fullmatch(cell) or COMPACT.fullmatch(cell) for cell in dated)

    def form(cell: str, is_number: bool) -> str:
        if not is_number:
            return DATE
        if not calendar:
            return NUMBER
        return YEARS if YEAR.fullmatch(cell) else TOGETHER

    known = (~np.isnan(times)).tolist()
    return [form(cell, is_number) if some else "" for cell, is_number, some in zip(plain, numeric, known, strict=True)]
