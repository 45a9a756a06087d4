"""Answers as lines: a sentence on the screen, or a line of a table or of JSON in a file."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ukulele.errors import DataError
from ukulele.tools.files import disk_error
from ukulele.types import Row

EDGES = ("left", "top", "right", "bottom")
BOXES = ("row", "label", "score", *EDGES)  # columns of a table of boxes
WRITTEN = (".csv", ".tsv", ".jsonl", ".json")  # endings of what is written


def lines(answers: Iterable[tuple[Row, dict[str, Any]]], kind: str) -> Iterator[dict[str, Any]]:
    """A line a row; in a table a line for each box."""
    for row, answer in answers:
        line = _line(row, answer)
        boxes = line.get("boxes") if kind in {".csv", ".tsv"} else None
        if boxes is None:
            yield line
            continue
        for box in boxes:
            edges = dict(zip(EDGES, box["box"], strict=True))
            outside = {"outside": line["outside"]} if "outside" in line else {}
            yield {"row": line["row"], "label": box["label"], "score": box["score"], **edges, **outside}


def _line(row: Row, answer: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    line: dict[str, Any] = {"row": str(row.where)}
    texts = [value for value in row.inputs if isinstance(value, str)]
    line |= {f"text{i or ''}": text for i, text in enumerate(texts)}
    for task, found in answer.items():
        prefix = "" if len(answer) == 1 else f"{task}."
        line |= {f"{prefix}{name}": value for name, value in found.items()}
    return line


def sentence(row: Row, answer: Mapping[str, Mapping[str, Any]]) -> str:
    """A row's answers on one line, for people: each with how sure it is, and a part of the row."""
    texts = [value for value in row.inputs if isinstance(value, str)]
    shown = " | ".join(texts) or str(row.where)
    named = [f"{task}: {_said(found)}" if len(answer) > 1 else _said(found) for task, found in answer.items()]
    return f"{'   '.join(named)}\t{shown if len(shown) < 100 else shown[:99] + '…'}"


def _said(found: Mapping[str, Any]) -> str:
    """One task's answer for people: what it is, and how sure."""
    answers = []
    for name, value in found.items():
        match name:
            case "label" | "labels":
                answers.append(value if isinstance(value, str) else "; ".join(value) or "(none)")
            case "output":
                answers.append(value)
            case "value":
                answers.append(f"{value:.4g}")
            case "boxes":
                counts = Counter(box["label"] for box in value)
                answers.append(", ".join(f"{label} {n}" for label, n in counts.most_common()) or "(nothing)")
            case "probability":
                answers.append(f"{value:.3f}")
            case "set" if found["abstained"]:
                answers.append(f"abstains: {' or '.join(value) or 'nothing fits'}")
            case "possible" if value:
                answers.append(f"in doubt: {'; '.join(value)}")
            case "low":
                answers.append(f"({value:.4g} to {found['high']:.4g})")
            case "outside" if value:
                answers.append("(unlike the training rows)")
    return "  ".join(answers)


def save(target: Path, lines: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write lines by the ending of the name: .csv, .tsv, .jsonl or .json, one after another.

    `columns` are those of a table, which then has its header though there is no line; by default the first line's.

    Raises
    ------
    DataError
        If the name ends otherwise.
    StorageError
        If the disk says no.
    """
    kind = target.suffix.lower()
    if kind not in WRITTEN:
        raise DataError(f"--out {target}: .csv, .tsv, .jsonl or .json was expected.")
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="") as file:
            if kind in {".csv", ".tsv"}:
                _table(lines, file, "\t" if kind == ".tsv" else ",", columns)
            else:
                _json(lines, file, ("[\n", ",\n", "\n]\n") if kind == ".json" else ("", "\n", "\n"))
        part.replace(target)
    except OSError as error:
        raise disk_error(target, error) from error
    finally:
        part.unlink(missing_ok=True)


def _table(lines: Iterable[Mapping[str, Any]], file: IO[str], between: str, columns: Sequence[str]) -> None:
    writer: Any = None
    if columns:
        writer = csv.DictWriter(file, columns, delimiter=between)
        writer.writeheader()
    for line in lines:
        flat = _flat(line)
        if writer is None:
            writer = csv.DictWriter(file, list(flat), delimiter=between)
            writer.writeheader()
        writer.writerow(flat)


def _json(lines: Iterable[Mapping[str, Any]], file: IO[str], marks: tuple[str, str, str]) -> None:
    """Lines as JSON; `marks` stand before the first, between two, and behind the last."""
    first, between, last = marks
    written = False
    for line in lines:
        file.write((between if written else first) + json.dumps(line, ensure_ascii=False))
        written = True
    file.write(last if written else first.strip() + last.strip())


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in line.items():
        if isinstance(value, Mapping):
            singular = {"probabilities": "probability"}.get(name, name)
            flat |= {f"{singular} {key}": v for key, v in value.items()}
        elif isinstance(value, list | tuple):
            flat[name] = ";".join(map(str, value))
        else:
            flat[name] = value
    return flat
