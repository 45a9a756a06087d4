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
from ukulele.types import Finding, Target

ROWS, HELD = 10_000, 5_000  # looked at, of train and of the other splits
LEAST = 20  # rows of a class whose words are looked at
WORDS = 300  # of a text
TOLD = 0.95  # share of the held-out rows that a column tells right from which it is told of
GROUPED = 0.3  # share of what the most frequent answer gets wrong that a group must tell right
SURE = 0.97  # F1 of a word from which it gives a class away
BINS = 32
TOLD_OF = frozenset({"classify", "multilabel", "regress"})


def telling_columns(data: Checked) -> Iterator[Finding]:
    """A column beside the input that alone tells a target of held-out rows, by its values or by ranges of numbers."""
    held = _held(data)
    train = data.splits.get("train", held)
    for target in data.shape.targets:
        if target.kind not in TOLD_OF:
            continue
        used = {FILE, LINE, *data.shape.inputs, *columns_of(target, data.frame)}
        used |= {column for other in data.shape.targets for column in columns_of(other, data.frame)}
        found = data.answers[target.name]
        for name in data.frame.fields:
            if name in used or str(data.frame.fields[name]) not in {"string", "large_string"}:
                continue
            told = _told_by if target.kind != "regress" else _explained_by
            share, plain = told(data, name, found, (train, held))
            if share < TOLD or (share - plain) < 0.8 * (1 - plain):
                if (share - plain) >= GROUPED * (1 - plain):
                    yield from _grouped(data, name, target, (share, plain))
                continue
            yield Finding(
                "warning",
                "column-tells-target",
                f"Column {name!r} alone tells "
                f"{_said(target, (f'{share:.1%}', f'{plain:.1%}'), 'of the held-out rows')}.",
                _plainly(name, target, (share, plain)),
                "It is no input here. If it is known when the model is used, no model is needed; if it was made from "
                "the target, keep it out of the texts, too.",
            )


def _said(target: Target, told: tuple[str, str], of: str) -> str:
    """What a column tells, in words: as shares of rows or, of numbers, of their variance."""
    share, plain = told
    if target.kind == "regress":
        return f"{share} of the variance of {target.name!r} {of}"
    return f"{target.name!r} of {share} {of}; always giving the most frequent answer, {plain}"


def _plainly(name: str, target: Target, told: tuple[float, float]) -> dict[str, Any]:
    usual = {} if target.kind == "regress" else {"most_frequent": told[1]}
    return {"column": name, "target": target.name, "share": told[0], **usual}


def _grouped(data: Checked, name: str, target: Target, told: tuple[float, float]) -> Iterator[Finding]:
    """Rows of one group in several splits: a column of many values that each stand on several rows."""
    held = _some(_held(data), HELD)
    train = set(data.frame.take([name], _some(data.splits.get("train", held), ROWS))[0])
    cells = data.frame.take([name], held)[0]
    astride = sum(cell in train for cell in cells)
    if len(cells) < LEAST or len(train) < LEAST or 2 * astride < len(cells) or _measures(list(train)):
        return
    yield Finding(
        "warning",
        "group-leak",
        f"Rows with the same {name!r} stand in train and in other splits ({astride:,} of {len(cells):,} held-out "
        f"rows), and {name!r} alone tells {_said(target, (f'{told[0]:.0%}', f'{told[1]:.0%}'), 'of them')}.",
        {**_plainly(name, target, told), "rows": astride},
        f"What is measured may be how well {name!r} is remembered: keep its rows on one side with --group {name}.",
    )


def _measures(cells: Sequence[Any]) -> bool:
    """Whether cells are numbers with a fraction: measurements rather than names of groups."""
    numbers = _numbers(cells)
    return numbers is not None and bool((numbers != np.rint(numbers)).any())


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


# ---------------------------------------------------------------- columns


def _told_by(data: Checked, name: str, found: Answers, splits: tuple[Indices, Indices]) -> tuple[float, float]:
    """The share of held-out rows that a column's values tell right, and that of the most frequent answer."""
    train, held = (_some(found.known(rows), most) for rows, most in zip(splits, (ROWS, HELD), strict=True))
    if not len(train) or not len(held):
        return 0.0, 0.0
    cells = [data.frame.take([name], rows)[0] for rows in (train, held)]
    keys, asked = _keys(*cells)
    counts: defaultdict[Any, Counter[int]] = defaultdict(Counter)
    for key, code in zip(keys, found.codes[train].tolist(), strict=True):
        counts[key][code] += 1
    usual = Counter(found.codes[train].tolist()).most_common(1)[0][0]
    answers = [counts[key].most_common(1)[0][0] if key in counts else usual for key in asked]
    truth = found.codes[held]
    return float((np.array(answers) == truth).mean()), float((truth == usual).mean())


def _explained_by(data: Checked, name: str, found: Answers, splits: tuple[Indices, Indices]) -> tuple[float, float]:
    """The share of the variance of held-out numbers that a column tells by its values, or between its own numbers; and
    that of the mean, which is 0.
    """
    train, held = (_some(found.known(rows), most) for rows, most in zip(splits, (ROWS, HELD), strict=True))
    if not len(train) or not len(held):
        return 0.0, 0.0
    values = np.array(found.values, np.float64)
    y, truth = values[found.codes[train]], values[found.codes[held]]
    shown, asked = ([cell or "" for cell in data.frame.take([name], rows)[0]] for rows in (train, held))
    numbers, others = _numbers(shown), _numbers(asked)
    if numbers is not None and others is not None:
        keys, places = np.unique(numbers, return_inverse=True)
        means = np.bincount(places, y) / np.bincount(places)
        answers = np.interp(others, keys, means)
    else:
        words, places = np.unique(shown, return_inverse=True)
        known = dict(zip(words.tolist(), np.bincount(places, y) / np.bincount(places), strict=True))
        answers = np.array([known.get(cell, y.mean()) for cell in asked])
    around = ((truth - y.mean()) ** 2).sum()
    return (max(0.0, float(1 - ((truth - answers) ** 2).sum() / around)) if around else 0.0), 0.0


def _keys(train: Sequence[Any], held: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Cells as what is counted: as they are, or, of numbers with many values, the range that they lie in."""
    numbers = _numbers(train)
    if numbers is None or len(np.unique(numbers)) <= BINS:
        return list(train), list(held)
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1]))
    asked = _numbers(held)
    if asked is None:
        return list(train), list(held)
    return np.searchsorted(edges, numbers).tolist(), np.searchsorted(edges, asked).tolist()


def _numbers(cells: Sequence[Any]) -> NDArray[np.float64] | None:
    try:
        found = np.array([float(cell) for cell in cells])
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found).all() else None


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
