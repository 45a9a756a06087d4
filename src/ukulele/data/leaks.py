"""Answers that stand beside the question: a column, or a word of the text, that alone tells the target."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ukulele.data.answers import Answers
from ukulele.data.checks import Checked
from ukulele.data.frame import FILE, LINE, Indices
from ukulele.data.rows import columns_of
from ukulele.data.telling import Column, Truth, told, told_by_neighbours, told_by_value
from ukulele.types import Finding, Target

ROWS, HELD = 10_000, 5_000  # looked at, of train and of the other splits
LEAST = 20  # rows of a class whose words are looked at
WORDS = 300  # of a text
TOLD = 0.95  # share of the held-out rows that a column tells right from which it is told of
GROUPED = 0.3  # share of what the most frequent answer gets wrong that a group must tell right
SURE = 0.97  # F1 of a word from which it gives a class away
FILLED = "the held-out rows where it is filled"
TOLD_OF = frozenset({"classify", "multilabel", "regress"})


def telling_columns(data: Checked) -> Iterator[Finding]:
    """A column beside the input that alone tells a target of held-out rows, by its values or by ranges of numbers."""
    held = _held(data)
    train = data.splits.get("train", held)
    others = {column for target in data.shape.targets for column in columns_of(target, data.frame)}
    used = {FILE, LINE, *data.shape.inputs, *others}
    kinds = {name: str(kind) for name, kind in data.frame.fields.items() if name not in used}
    beside = [name for name, kind in kinds.items() if kind in {"string", "large_string"}]
    for target in data.shape.targets:
        found = data.answers[target.name]
        rows = _some(found.known(train), ROWS), _some(found.known(held), HELD)
        if target.kind not in TOLD_OF or not all(map(len, rows)):
            continue
        values = np.array(found.values, np.float64) if target.kind == "regress" else np.arange(len(found.values))
        truth = Truth(*(values[found.codes[some]] for some in rows))
        for name in beside:
            whole = Column(*(data.frame.take([name], some)[0] for some in rows))
            column, known = whole.filled(truth)
            share, where = told(column, known), "the held-out rows" if column is whole else FILLED
            if share < TOLD or (share - known.plain) < 0.8 * (1 - known.plain):
                yield from _grouped(name, target, column, known)
                continue
            yield Finding(
                "warning",
                "column-tells-target",
                f"Column {name!r} alone tells {_said(target, share, known, where, 1)}.",
                _plainly(name, target, share, known),
                "It is no input here. If it is known when the model is used, no model is needed; if it was made from "
                "the target, keep it out of the texts, too.",
            )


def _said(target: Target, share: float, truth: Truth, rows: str, places: int = 0) -> str:
    """What a column tells, in words: as shares of rows or, of numbers, of their variance."""
    if target.kind == "regress":
        return f"{share:.{places}%} of the variance of {target.name!r} in {rows}"
    usual = f"always giving the most frequent answer, {truth.plain:.{places}%}"
    return f"{target.name!r} of {share:.{places}%} of {rows}; {usual}"


def _plainly(name: str, target: Target, share: float, truth: Truth) -> dict[str, Any]:
    usual = {} if target.kind == "regress" else {"most_frequent": truth.plain}
    return {"column": name, "target": target.name, "share": share, **usual}


def _grouped(name: str, target: Target, column: Column, truth: Truth) -> Iterator[Finding]:
    """Rows of one group in several splits: a column of many values that each stand on several rows, and that tells more
    by them than by what is near them.
    """
    there = set(column.train)
    astride = sum(cell in there for cell in column.held)
    if len(column.held) < LEAST or len(there) < LEAST or 2 * astride < len(column.held) or column.measured:
        return
    share, wanted = told_by_value(column, truth), GROUPED * (1 - truth.plain)
    if share - truth.plain < wanted or share - told_by_neighbours(column, truth) < wanted:
        return
    yield Finding(
        "warning",
        "group-leak",
        f"Rows with the same {name!r} stand in train and in other splits ({astride:,} of {len(column.held):,} held-out "
        f"rows), and {name!r} alone tells {_said(target, share, truth, 'them')}.",
        {**_plainly(name, target, share, truth), "rows": astride},
        f"What is measured may be how well {name!r} is remembered: keep its rows on one side with --group {name}.",
    )


def telling_words(data: Checked) -> Iterator[Finding]:
    """A word that stands in the texts of one class and in hardly any other: the target may be written into them."""
    if data.shape.image:
        return
    held = _held(data)
    train = data.splits.get("train", held)
    for target in _classified(data):
        found = data.answers[target.name]
        words, codes = _words(data, _some(found.known(train), ROWS), found)
        given = _given_away(words, codes)
        others, truth = _words(data, _some(found.known(held), HELD), found)
        sure = {code: word for code, (word, _) in given.items() if _f1(others, truth, word, code) >= SURE - 0.02}
        if not sure:
            continue
        share = float(np.isin(truth, list(sure)).mean()) if len(truth) else 0.0
        told = ", ".join(f"{word!r} for {found.values[code]!r}" for code, word in list(sure.items())[:5])
        yield Finding(
            "warning" if share >= 0.5 else "info",
            "word-tells-target",
            f"Single words give {target.name!r} away: {told}"
            + (f" and {len(sure) - 5} more" if len(sure) > 5 else "")
            + f" (F1 of {SURE} or more). Is the answer written into the texts? {share:.0%} of the held-out rows are of "
            "these classes.",
            {"target": target.name, "words": {str(found.values[c]): w for c, w in sure.items()}, "share": share},
            "Look at some rows. What new texts will not have must not stand in these; if they will, a rule is enough.",
        )


def _classified(data: Checked) -> Sequence[Target]:
    return [target for target in data.shape.targets if target.kind == "classify"]


def _held(data: Checked) -> Indices:
    parts = [rows for split, rows in data.splits.items() if split != "train"]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _some(rows: Indices, most: int) -> Indices:
    return rows[:: -(-len(rows) // most)] if len(rows) else rows


# ---------------------------------------------------------------- words


def _words(data: Checked, rows: Indices, found: Answers) -> tuple[list[set[str]], NDArray[np.int64]]:
    cells = data.frame.take(data.shape.inputs, rows)
    texts = (" ".join(str(cell or "") for cell in row) for row in zip(*cells, strict=True))
    return [set(_split(text)) for text in texts], found.codes[rows]


def _split(text: str) -> list[str]:
    words = re.findall(r"\w+", text.lower())
    return words if len(words) <= WORDS else words[: WORDS - 50] + words[-50:]


def _given_away(words: Sequence[set[str]], codes: NDArray[np.int64]) -> dict[int, tuple[str, float]]:
    """By class with enough rows, the word that tells it best, where that is sure enough."""
    sizes = Counter(codes.tolist())
    everywhere: Counter[str] = Counter()
    inside: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for some, code in zip(words, codes.tolist(), strict=True):
        everywhere.update(some)
        inside[code].update(some)
    found = {}
    for code, counts in inside.items():
        if sizes[code] < LEAST:
            continue
        word, f1 = max(
            ((word, 2 * n / (everywhere[word] + sizes[code])) for word, n in counts.items()),
            key=lambda one: one[1],
            default=("", 0.0),
        )
        if f1 >= SURE:
            found[code] = (word, f1)
    return found


def _f1(words: Sequence[set[str]], codes: NDArray[np.int64], word: str, code: int) -> float:
    there = np.array([word in some for some in words], bool)
    right = codes == code
    return float(2 * (there & right).sum() / max(1, there.sum() + right.sum()))
