"""Plain text in windows: as many tokens in each row as a model takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ukulele.data.stretches import Both, Documents, Spans, TextRows, text_of, whole_letters
from ukulele.errors import InternalError
from ukulele.types import Dataset

Cut = Callable[[str], Sequence[tuple[int, int]]]  # a text to spans of characters, each a window
BLOCK = 1 << 16  # bytes that are cut at a time


def windows(dataset: Dataset, cut: Cut, tokens: int) -> Dataset:
    """The same text in rows of at most `tokens` tokens, as many in each as go in; `cut` knows how many that are."""
    found = {split: _windowed(rows, cut) for split, rows in dataset.splits.items() if isinstance(rows, TextRows)}
    counts = ", ".join(f"{len(rows):,} {split}" for split, rows in found.items())
    note = f"Windows of at most {tokens} tokens: {counts}."
    return replace(dataset, splits=found, notes=(*dataset.notes, note))


def replayed(dataset: Dataset, other: Dataset, share: float, seed: int) -> Dataset:
    """Plain text with windows of another among those that train: `share` for each of its own, drawn by `seed`."""
    ours, theirs = dataset.splits["train"], other.splits["train"]
    if not isinstance(ours, TextRows) or not isinstance(theirs, TextRows):
        raise InternalError("only plain text can be replayed")
    count = min(len(theirs), round(share * len(ours)))
    picked = np.sort(np.random.default_rng(seed).choice(len(theirs), count, replace=False))
    spans = theirs.spans[picked] + np.array([len(ours.documents), 0, 0, 0, 0])
    rows = TextRows(Both(ours.documents, theirs.documents), np.concatenate([ours.spans, spans]))
    note = f"Replay: {count:,} windows of {other.name} train, too, beside {len(ours):,} of {dataset.name}."
    return replace(dataset, splits={**dataset.splits, "train": rows}, notes=(*dataset.notes, note))


def _windowed(rows: TextRows, cut: Cut) -> TextRows:
    found: list[tuple[int, int, int, int, int]] = []
    for file, begin, end, last, first in _stretches(rows.spans):
        at, line = begin, first
        for piece, more in _pieces(rows.documents, file, begin, end, cut):
            size = len(piece.encode("utf-8", "surrogatepass"))
            found.append((file, at, at + size, int(bool(last) and not more), line))
            line += piece.count("\n")
            at += size
    return replace(rows, spans=np.array(found, np.int64).reshape(-1, 5))


def _stretches(spans: Spans) -> Iterator[tuple[int, int, int, int, int]]:
    """Chunks that follow each other in a document, as one."""
    held: list[int] | None = None
    for file, begin, end, last, line in spans.tolist():
        if held is not None and held[0] == file and held[2] == begin and not held[3]:
            held[2], held[3] = end, last
            continue
        if held is not None:
            yield held[0], held[1], held[2], held[3], held[4]
        held = [file, begin, end, last, line]
    if held is not None:
        yield held[0], held[1], held[2], held[3], held[4]


def _pieces(documents: Documents, number: int, begin: int, end: int, cut: Cut) -> Iterator[tuple[str, bool]]:
    """The windows of a stretch, and whether it goes on behind each: a block at a time, what is left over goes on."""
    content, rest, at = documents.content(number), "", begin
    while at < end:
        stop = min(end, whole_letters(content, at + BLOCK))
        rest, at = rest + text_of(documents, number, at, stop), stop
        found = list(cut(rest))
        for first, second in found if at == end else found[:-1]:
            yield rest[first:second], at < end or second < len(rest)
        rest = rest[found[-1][0] :] if found else ""
