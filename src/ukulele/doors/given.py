"""What a command is given to answer: texts, files of rows, pictures and folders, as rows."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ukulele.errors import DataError
from ukulele.trial.asking import read, source_endings, typed
from ukulele.trial.predict import Grouped, Predictor
from ukulele.types import BadRow, Row, Rows, Where

TABLES = {".csv", ".tsv", ".jsonl", ".json", ".parquet", ".ndjson"}


def gather(
    given: Sequence[str], predictor: Predictor | Grouped, columns: tuple[str, ...]
) -> tuple[Iterator[Row], list[BadRow], int]:
    """Rows from texts, files of rows, pictures and folders, in the order given; those that cannot be read; and how
    many inputs each has. A row is made when it is asked for.
    """
    parts: list[Rows] = []
    bad: list[BadRow] = []
    texts: list[tuple[int, str]] = []
    found: set[int] = set()
    lined = source_endings(predictor)

    def take(source: Any, columns: tuple[str, ...] = ()) -> None:
        some, aside, width = read(source, predictor, columns)
        found.add(width)
        if len(found) > 1:
            raise DataError("rows of one text and rows of two were given at once.", hint="Ask for each by itself.")
        parts.append(some)
        bad.extend(aside)

    def flush() -> None:
        if not texts:
            return
        width = typed([text for _, text in texts], predictor)
        found.add(width)
        pairs: list[tuple[str, ...]] = []
        for start in range(0, len(texts), width):
            pair = texts[start : start + width]
            empty = [at for at, text in pair if not text.strip()]
            bad.extend(BadRow(Where(f"text {at}"), "it is empty") for at in empty[:1])
            if not empty:
                pairs.append(tuple(text for _, text in pair))
        if pairs:
            take(pairs)
        texts.clear()

    for at, one in enumerate(given, 1):
        if not is_source(one, predictor.modality, lined):
            texts.append((at, one))
            continue
        flush()
        if not os.path.exists(one):  # noqa: PTH110
            raise DataError(f"no such file: {one}", hint=f"Looked in {Path.cwd()}.")
        take(Path(one), columns)
    flush()
    return chain.from_iterable(parts), bad, next(iter(found))


def is_source(given: str, modality: str, lined: Collection[str] = ()) -> bool:
    """Whether an argument names rows rather than being one: by its ending, or a folder written as a path.

    `lined` are endings of files of sentences, which count where there is such a file.

    >>> is_source("new.csv", "text"), is_source("README", "text"), is_source("README", "image")
    (True, False, True)
    """
    if modality == "image":
        return True
    ending = os.path.splitext(given)[1].lower()  # noqa: PTH122 - it may be any text
    if ending in TABLES and " " not in given:
        return True
    if ending in {*TABLES, ".txt", *lined}:
        return os.path.isfile(given)  # noqa: PTH113
    return os.sep in given and os.path.isdir(given)  # noqa: PTH112


def endings() -> str:
    """Those of files of rows."""
    return ", ".join(sorted({*TABLES, ".txt"}))
