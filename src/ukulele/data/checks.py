"""What is wrong with a data set as a whole: one small function a check, each yields Findings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ukulele.data.answers import Answers, labels_in
from ukulele.data.arrays import flags
from ukulele.data.frame import Frame, Indices
from ukulele.data.near import Prints
from ukulele.data.rows import Shape
from ukulele.tools.strays import strays
from ukulele.types import SPLITS, Finding, Split, Target

SHOWN = 5
LABELLED = ("classify", "multilabel", "detect")  # kinds whose values are labels
RATIO = 10  # rows of the largest class to those of the smallest from which imbalance is reported
MOJIBAKE = "Ã[\u0080-\u00bf]|â€[™œ\u009d¦“”˜]|\ufffd"


@dataclass(frozen=True)
class Checked:
    """What the checks look at: usable rows by split, the hash of each row's input, each target's values."""

    frame: Frame
    shape: Shape
    splits: Mapping[Split, Indices]
    prints: Prints
    answers: Mapping[str, Answers]
    shown: int = SHOWN  # examples of a finding
    made: frozenset[Split] = frozenset()  # splits that were made here

    @property
    def rows(self) -> Indices:
        """All usable rows."""
        return np.concatenate(list(self.splits.values()))


def check(data: Checked) -> tuple[Finding, ...]:
    """All checks of a whole data set."""
    return tuple(finding for one in CHECKS for finding in one(data))


def leaks(data: Checked) -> Iterator[Finding]:
    """The same input in two splits."""
    for first, second in combinations([split for split in SPLITS if split in data.splits], 2):
        here, there = data.splits[first], data.splits[second]
        common = np.intersect1d(_distinct(data.prints[here])[0], _distinct(data.prints[there])[0], assume_unique=True)
        if not len(common):
            continue
        count = int(np.isin(data.prints[there], common).sum())
        examples = [
            {first: _place(data, here, value), second: _place(data, there, value), "input": _shown(data, there, value)}
            for value in common[: data.shown]
        ]
        yield Finding(
            "warning",
            "duplicate-across-splits",
            f"{count} of {len(there)} {second} rows are also in {first}: figures on {second} are too good by that.",
            {"splits": [first, second], "count": count, "rows": len(there), "examples": examples},
            f"Remove them from {first}.",
        )


def duplicates(data: Checked) -> Iterator[Finding]:
    """The same input several times within a split."""
    for split, rows in data.splits.items():
        values, counts = _distinct(data.prints[rows])
        extra = int((counts - 1).sum())
        if extra:
            repeated = values[counts > 1][: data.shown]
            examples = [{"rows": _places(data, rows, value), "input": _shown(data, rows, value)} for value in repeated]
            yield Finding(
                "info" if extra < 0.01 * len(rows) else "warning",
                "duplicate-rows",
                f"{extra} of {len(rows)} {split} rows repeat the input of another {split} row.",
                {"split": split, "count": extra, "rows": len(rows), "examples": examples},
                "Keep one of each, unless the repetition is meant.",
            )


def conflicts(data: Checked) -> Iterator[Finding]:
    """The same input with two labels."""
    rows = data.rows
    repeated, counts = _distinct(data.prints[rows])
    rows = rows[np.isin(data.prints[rows], repeated[counts > 1])]
    if not len(rows):
        return
    prints = np.unique(data.prints[rows])
    for target in data.shape.targets:
        if target.kind not in LABELLED:
            continue
        found = data.answers[target.name]
        known = found.known(rows)
        inverse = np.searchsorted(prints, data.prints[known])
        codes = found.codes[known]
        low = np.full(len(prints), np.iinfo(np.int64).max)
        high = np.full(len(prints), -1, np.int64)
        np.minimum.at(low, inverse, codes)
        np.maximum.at(high, inverse, codes)
        torn = prints[low < high]
        if not len(torn):
            continue
        examples = []
        for value in torn[: data.shown]:
            same = known[data.prints[known] == value][:SHOWN]
            labels = [_said(found.values[code]) for code in found.codes[same]]
            examples.append(
                {"rows": [str(data.frame.where(row)) for row in same], "labels": labels, "input": _input(data, same[0])}
            )
        yield Finding(
            "warning",
            "conflicting-labels",
            f"Inputs that carry more than one value of {target.name!r}: {len(torn)}.",
            {"target": target.name, "count": len(torn), "examples": examples},
            "Decide on one label for each; a model cannot learn both.",
        )


def small_classes(data: Checked) -> Iterator[Finding]:
    """Classes with fewer than two rows."""
    for target in _labelled(data):
        counts = data.answers[target.name].counts(data.rows, target)
        small = {label: count for label, count in counts.items() if count < 2}
        if small:
            yield Finding(
                "warning",
                "small-classes",
                f"{len(small)} classes of {target.name!r} have fewer than 2 {_counted(target)}: {_some(small)}.",
                {"target": target.name, "counts": small},
                "Collect more rows of them, merge them, or leave them out.",
            )


def absent_classes(data: Checked) -> Iterator[Finding]:
    """Classes that a split lacks."""
    for target in _labelled(data):
        whole = data.answers[target.name].counts(data.rows, target)
        for split, rows in data.splits.items():
            counts = data.answers[target.name].counts(rows, target)
            absent = [label for label, count in counts.items() if not count]
            if not absent:
                continue
            what = "cannot be learned" if split == "train" else "are not measured"
            one = "box" if target.kind == "detect" else "row"
            share = len(rows) / len(data.rows)  # a split that is drawn at its share lacks small classes alone
            few = split in data.made and split != "train" and max(whole[label] for label in absent) * share < 1
            yield Finding(
                "info" if few or split == "validation" else "warning",
                "class-absent-from-split",
                f"{len(absent)} of {len(counts)} classes of {target.name!r} have no {one} in {split} and {what}"
                f"{', too small for every split' if few else ''}: {_some(absent)}.",
                {"target": target.name, "split": split, "labels": absent},
                "Collect more of them." if few else "Check the splits, or let ukulele make them.",
            )


def imbalance(data: Checked) -> Iterator[Finding]:
    """Classes of very unequal size."""
    for target in _labelled(data):
        counts = data.answers[target.name].counts(data.splits.get("train", data.rows), target)
        counts = {label: count for label, count in counts.items() if count}
        if len(counts) < 2:
            continue
        most, least = max(counts, key=lambda k: counts[k]), min(counts, key=lambda k: counts[k])
        ratio = counts[most] / counts[least]
        if ratio >= RATIO:
            yield Finding(
                "warning",
                "imbalance",
                f"{most!r} has {ratio:.0f} times as many {_counted(target)} as {least!r} "
                f"({counts[most]} and {counts[least]}).",
                {"target": target.name, "ratio": ratio, "largest": most, "smallest": least, "counts": counts},
                "Look at the figures of each class."
                if target.kind == "detect"
                else "Look at balanced accuracy and macro-F1; --metric macro_f1 decides by it and weighs rare classes "
                "more.",
            )


def _counted(target: Target) -> str:
    return "boxes" if target.kind == "detect" else "rows"


def stray_numbers(data: Checked) -> Iterator[Finding]:
    """Numbers to be foretold that lie far from all others."""
    for target in data.shape.targets:
        if target.kind != "regress":
            continue
        found = data.answers[target.name]
        known = found.known(data.rows)
        values = np.array(found.values, np.float64)[found.codes[known]]
        far = strays(values)
        if len(far):
            examples = [{"row": str(data.frame.where(known[at])), "value": float(values[at])} for at in far]
            yield Finding(
                "warning",
                "stray-numbers",
                f"Values of {target.name!r} far from all others: {len(far)}, such as {values[far[0]]:.6g}; "
                f"the median is {np.median(values):.6g}.",
                {"target": target.name, "count": len(far), "examples": examples[: data.shown]},
                "Look at the unit and the point: a single one can spoil what is learned, and R².",
            )


def constant_columns(data: Checked) -> Iterator[Finding]:
    """Columns with one value only."""
    if len(data.frame) < 2:
        return
    constant = [name for name in data.frame.fields if _constant(data.frame, name)]
    if constant:
        inputs = [name for name in constant if name in data.shape.inputs]
        yield Finding(
            "warning" if inputs else "info",
            "constant-column",
            f"Columns with the same value in every row: {', '.join(constant)}.",
            {"columns": constant},
            "They carry no information." if not inputs else f"Name another input than {inputs[0]!r}.",
        )


def mojibake(data: Checked) -> Iterator[Finding]:
    """Texts that were once decoded with the wrong encoding."""
    if data.shape.image:
        return
    hit: list[int] = []
    broken = re.compile(MOJIBAKE)
    for batch, start in zip(data.frame.batches, data.frame.starts.tolist(), strict=False):
        for name in data.shape.inputs:
            found = pc.match_substring_regex(batch.column(name), MOJIBAKE)
            hit += (np.flatnonzero(flags(found)) + start).tolist()
    if hit:
        rows = sorted(set(hit))
        examples = []
        for row in rows[: data.shown]:
            text = next(c[0] for c in data.frame.take(data.shape.inputs, np.array([row])) if broken.search(c[0] or ""))
            match = broken.search(text)
            at = match.start() if match else 0
            examples.append({"row": str(data.frame.where(row)), "input": text[max(0, at - 40) : at + 40]})
        yield Finding(
            "warning",
            "wrong-encoding",
            f"Rows with characters left by a wrong encoding (such as “â€™” or “\ufffd”): {len(rows)}.",
            {"count": len(rows), "examples": examples},
            "Export the data again as UTF-8.",
        )


def same_inputs(parts: Mapping[str, Checked]) -> Iterator[Finding]:
    """The same input among the training rows of one source and the test rows of another."""
    hashes = {
        (name, split): _distinct(data.prints[data.splits[split]])[0]
        for name, data in parts.items()
        for split in ("train", "test")
        if split in data.splits
    }
    for first, second in permutations(parts, 2):
        here, there = hashes.get((first, "train")), hashes.get((second, "test"))
        if here is None or there is None:
            continue
        common = np.intersect1d(here, there, assume_unique=True)
        if not len(common):
            continue
        ours, theirs = parts[first], parts[second]
        train, test = ours.splits["train"], theirs.splits["test"]
        count = int(np.isin(theirs.prints[test], common).sum())
        examples = [
            {
                "train": _place(ours, train, value),
                "test": _place(theirs, test, value),
                "input": _shown(theirs, test, value),
            }
            for value in common[: ours.shown]
        ]
        yield Finding(
            "warning",
            "same-input-across-tasks",
            f"{count} of {len(test)} test rows of {second!r} are also training rows of {first!r}: "
            f"the model has seen them, and figures on {second!r} may be too good by that.",
            {"train": first, "test": second, "count": count, "rows": len(test), "examples": examples},
            f"Remove them from the training rows of {first!r}.",
        )


CHECKS = (
    leaks, duplicates, conflicts, small_classes, absent_classes, imbalance, stray_numbers, constant_columns, mojibake,
)  # fmt: skip


def _distinct(prints: Prints) -> tuple[Prints, Indices]:
    """Different values, sorted, and how often each occurs."""
    ordered = np.sort(prints)
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return ordered[first], np.diff(np.append(first, len(ordered)))


def _constant(frame: Frame, name: str) -> bool:
    first = frame.batches[0].column(name)[0]
    if not first.is_valid or first.as_py() in ("", []):
        return all(batch.column(name).null_count == batch.num_rows for batch in frame.batches)
    if not isinstance(first.as_py(), str):
        return False
    return all(pc.all(pc.equal(batch.column(name), first), skip_nulls=False).as_py() for batch in frame.batches)


def _labelled(data: Checked) -> Sequence[Target]:
    return [target for target in data.shape.targets if target.kind in LABELLED]


def _places(data: Checked, rows: Indices, value: np.uint64) -> list[str]:
    return [str(data.frame.where(row)) for row in rows[data.prints[rows] == value][:SHOWN]]


def _place(data: Checked, rows: Indices, value: np.uint64) -> str:
    return _places(data, rows, value)[0]


def _shown(data: Checked, rows: Indices, value: np.uint64) -> str:
    return _input(data, rows[data.prints[rows] == value][0])


def _input(data: Checked, row: int) -> str:
    cells = [column[0] for column in data.frame.take(data.shape.inputs, np.array([row]))]
    return " | ".join("<picture>" if isinstance(cell, bytes) else str(cell) for cell in cells)[:120]


def _said(value: Any) -> str:
    return "; ".join(labels_in(value))[:200] if isinstance(value, tuple) else str(value)


def _some(labels: Sequence[str] | Mapping[str, int]) -> str:
    names = list(labels)
    return ", ".join(map(repr, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
