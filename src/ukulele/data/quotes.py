"""Records of several lines: one quoted cell with line breaks in it, or rows that a stray quote runs together."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
ROWS = 20  # of one line each, from which a column is known by its values
FEW = 30  # values that a column has which is known by them
USUAL = 4  # rows that such a value has in the mean


@dataclass(frozen=True)
class Rows:
    """How the rows of a file look: their number of cells, and what columns of few values hold."""

    delimiter: str
    width: int
    values: dict[int, frozenset[str]]

    def run_together(self, lines: Sequence[str]) -> bool:
        """Whether the lines of one record, as the csv module reads it, are rows of their own.

        A quote that ends a cell and has more of the cell behind it was not meant to end it. Where it stands at
        the start of a cell it may open one, so an earlier one was never closed: one line that looks like a row
        is enough. Elsewhere, and where every quote is in order, most have to: a cell may hold any text.
        """
        odd = self._odd_quote("".join(lines))
        if odd == "starts":
            return any(self._is_row(line, wider=True) for line in lines[:-1])
        if not (odd or self.values):
            return False
        between = [line for line in lines[1:-1] if line.strip()] or [lines[0], lines[-1]]
        alike = sum(map(self._is_row, between))
        return 2 * alike > len(between)

    def _odd_quote(self, raw: str) -> str:
        """Where the first quote stands that ends a cell too early: where one "starts", "inside", or "" for none."""
        at = 0
        while at < len(raw):
            if found := QUOTED.match(raw, at):
                end = found.end()
                if raw[end : end + 1] not in ("", self.delimiter, "\r", "\n"):
                    before = raw[end - 2]
                    return "starts" if before in (self.delimiter, "\r", "\n") else "inside"
                at = end
            elif raw[at] == '"':
                return ""  # never closed: said elsewhere
            ends = [place for mark in (self.delimiter, "\n") if (place := raw.find(mark, at)) >= 0]
            at = min(ends, default=len(raw)) + 1
        return ""

    def _is_row(self, line: str, *, wider: bool = False) -> bool:
        """Whether a line is a row; `wider`: with delimiters in its text, perhaps, that no quotes guard."""
        cells = line.rstrip("\r\n").split(self.delimiter)
        fits = len(cells) >= self.width if wider else len(cells) == self.width
        return fits and all(
            cells[-1 if at == self.width - 1 else at].strip() in known for at, known in self.values.items()
        )


def rows_of(sample: Iterable[str], width: int, dialect: dict[str, Any]) -> Rows:
    """What the rows of a sample look like, its header left out; records of several lines do not count."""
    reader = csv.reader(sample, **dialect)
    counts: list[Counter[str]] = [Counter() for _ in range(width)]
    before = total = 0
    for record in reader:
        if reader.line_num == before + 1 and len(record) == width:
            total += 1
            for cell, count in zip(record, counts, strict=True):
                count[cell.strip()] += 1
        before = reader.line_num
    values = {
        at: frozenset(value for value, n in count.items() if n > 1 and value)
        for at, count in enumerate(counts)
        if total >= ROWS and len(count) <= min(FEW, total / USUAL)
    }
    return Rows(dialect["delimiter"], width, {at: known for at, known in values.items() if known})
