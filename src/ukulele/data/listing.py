"""Findings with the places they were found at, for people and for spreadsheets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ukulele.tools.files import write_csv
from ukulele.types import Finding

PLACES = 5  # of one example that are said


def places(example: Any) -> str:
    """Where an example stands, and what is said of each place.

    >>> places({"train": "a.csv:2", "test": "b.csv:9", "input": "tea"})
    'a.csv:2 (train), b.csv:9 (test)'
    >>> places({"rows": ["a.csv:2", "a.csv:3"], "labels": ["good", "bad"], "input": "tea"})
    'a.csv:2 (good), a.csv:3 (bad)'
    """
    match example:
        case str():
            return example
        case {"rows": rows, "labels": labels}:
            return ", ".join(f"{row} ({label})" for row, label in zip(rows, labels, strict=True))
        case {"rows": rows}:
            return ", ".join(rows)
        case {"row": row}:
            return str(row)
        case _:
            return ", ".join(f"{row} ({split})" for split, row in example.items() if split != "input")


def input_of(example: Any) -> str:
    """The input of an example, or "" where none was kept."""
    return str(example.get("input", "")) if isinstance(example, Mapping) else ""


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Findings as CSV, a row for each example, with the columns severity, code, message, where, input.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    rows = (
        (finding.severity, finding.code, finding.message, places(example), input_of(example))
        for finding in findings
        for example in finding.evidence.get("examples") or [""]
    )
    write_csv(path, ("severity", "code", "message", "where", "input"), rows, "--findings")
