"""What the test and the data looked like, row by row and class by class.

A task's particulars are read from one block: `name`, `kind`, `labels`, `metric`, `test`, `confusion`, `per_class`, …
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ukulele.report import charts, phrases
from ukulele.report.phrases import ABSENT, table, tables

READABLE = 20  # labels up to which a confusion matrix is shown whole
PICTURE = re.compile(r"data:image/(?:png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+={0,2}")


def particulars(block: Mapping[str, Any]) -> dict[str, Any]:
    """All that is shown of one task's answers on the test rows; what the block lacks is None or empty."""
    dots = [p for p in phrases.listed(block.get("scatter")) if isinstance(p, list | tuple)]
    return {
        "confusion": confusion(block),
        "scatter": charts.scatter(dots),
        "calibration": calibration(block),
        "classes": per_class(block),
        "mistakes": mistakes(block),
        "slices": slices(block),
    }


def metric_names(block: Mapping[str, Any]) -> list[str]:
    """The metrics of a task's test, the deciding one first."""
    first = block.get("metric")
    return sorted(table(block.get("test")), key=lambda name: name != first)


def confusion(block: Mapping[str, Any]) -> dict[str, Any] | None:
    """The confusion matrix whole, or its map and most confused pairs where there are many labels."""
    found = table(block.get("confusion"))
    labels = [phrases.plain(label) for label in phrases.listed(found.get("labels"))]
    counts = [[phrases.real(c) or 0.0 for c in phrases.listed(row)] for row in phrases.listed(found.get("counts"))]
    if not labels or len(counts) != len(labels) or any(len(row) != len(labels) for row in counts):
        return None
    whole = len(labels) <= READABLE
    return {
        "labels": labels,
        "rows": _cells(labels, counts) if whole else [],
        "map": None if whole else charts.confusion_map(labels, counts),
        "pairs": _pairs(labels, counts, 5 if whole else 15) if len(labels) > 2 else [],
    }


def _cells(labels: Sequence[str], counts: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    lines = []
    for i, row in enumerate(counts):
        total = sum(row) or 1.0
        cells = [
            {
                "count": f"{c:,.0f}" if c else "·",
                "shade": f"{round(100 * c / total)}%",
                "style": ("right" if i == j else "wrong") + (" deep" if c / total > 0.5 else "") if c else "none",
            }
            for j, c in enumerate(row)
        ]
        lines.append({"label": labels[i], "cells": cells, "total": f"{sum(row):,.0f}"})
    return lines


def _pairs(labels: Sequence[str], counts: Sequence[Sequence[float]], at_most: int) -> list[dict[str, Any]]:
    wrong = [(c, i, j) for i, row in enumerate(counts) for j, c in enumerate(row) if c and i != j]
    most = sorted(wrong, key=lambda w: (-w[0], w[1], w[2]))[:at_most]
    top = most[0][0] if most else 1.0
    return [
        {
            "truth": labels[i],
            "answer": labels[j],
            "count": f"{c:,.0f}",
            "share": phrases.share(c, sum(counts[i])),
            "bar": charts.bar(c, top),
        }
        for c, i, j in most
    ]


def per_class(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Precision, recall and F1 for each label, the weakest first."""
    found = sorted(tables(block.get("per_class")), key=lambda c: _or(c.get("f1"), 2.0))
    return [
        {"label": phrases.plain(c.get("label")), "n": phrases.count(c.get("n"))}
        | {name: phrases.number(c.get(name)) for name in ("precision", "recall", "f1")}
        | {"bar": charts.bar(_or(c.get("f1"), 0.0), 1.0)}
        for c in found
    ]


def _or(value: object, otherwise: float) -> float:
    found = phrases.real(value)
    return otherwise if found is None else found


def mistakes(block: Mapping[str, Any]) -> dict[str, Any] | None:
    """The worst mistakes, with the texts or thumbnails they were made on."""
    found = tables(block.get("mistakes"))
    if not found:
        return None
    number = block.get("kind") == "regress"
    lines = [
        {
            "where": phrases.plain(m.get("where")),
            **input_of(m.get("input")),
            "truth": phrases.plain(m.get("truth")),
            "answer": phrases.plain(m.get("answer")),
            "confidence": phrases.share(m.get("confidence"), 1)
            if phrases.real(m.get("confidence")) is not None
            else "",
        }
        for m in found
    ]
    return {"rows": lines, "number": number, "pictures": any(line["picture"] for line in lines)}


def input_of(value: object) -> dict[str, Any]:
    """A row's input to show: texts, or a picture whose address is a plain inline one and nothing else."""
    if isinstance(value, Mapping):
        address = str(value.get("thumbnail") or "")
        good = bool(PICTURE.fullmatch(address))
        return {"picture": address if good else "", "texts": [] if good else ["(no thumbnail)"]}
    parts = value if isinstance(value, list | tuple) else [value]
    return {"picture": "", "texts": [phrases.short(phrases.plain(part)) for part in parts]}


def calibration(block: Mapping[str, Any]) -> dict[str, Any] | None:
    """The calibration curve and the temperature."""
    found = table(block.get("calibration"))
    chart = charts.calibration(tables(found.get("bins")))
    if not chart:
        return None
    temperature = phrases.real(found.get("temperature"))
    return {"chart": chart, "temperature": None if temperature is None else phrases.plain(temperature)}


def slices(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The deciding metric by subgroup, one table for each column."""
    names = metric_names(block)
    found = tables(block.get("slices"))
    if not names or not found:
        return []
    pairs = [(s, table(table(s.get("test")).get(names[0]))) for s in found]
    on = charts.span([e for _, e in pairs])
    columns: dict[str, list[dict[str, str | Markup]]] = {}
    for s, e in pairs:
        columns.setdefault(phrases.plain(s.get("column")), []).append(
            {
                "value": phrases.plain(s.get("value")),
                "n": phrases.count(s.get("n")),
                "chart": charts.whisker(e, on, "rung"),
                "score": phrases.number(e.get("value")),
                "interval": phrases.interval(e),
            }
        )
    metric = phrases.metric(names[0])
    return [{"column": c, "metric": metric, "rows": r, "scale": charts.scale(on)} for c, r in columns.items()]


def asked(task: Mapping[str, Any]) -> str:
    """What kind of answer a task wants, in words.

    >>> asked({"kind": "classify"})
    'one label a row'
    """
    return _KINDS.get(str(task.get("kind")), ABSENT)


def data(record: Mapping[str, Any], asks: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What was read: rows, classes, notes, and what was set aside; `asks` are the facts about what is asked."""
    block = table(record["data"])
    split_rows = table(block.get("rows"))
    splits = [(called, split_rows[name]) for name, called in _SPLITS if name in split_rows]
    aside = tables(record.get("quarantine"))
    return {
        "facts": [
            ("Name", phrases.plain(block.get("name"))),
            ("Kind of input", phrases.plain(block.get("modality"))),
            ("Input columns", phrases.plain(block.get("inputs"))),
            *asks,
            *((f"{called} rows", phrases.count(value)) for called, value in splits),
            ("Set aside", phrases.count(block.get("quarantined"))),
        ],
        "classes": classes(block.get("classes")),
        "notes": [phrases.plain(note) for note in phrases.listed(block.get("notes"))],
        "quarantine": [
            {"file": phrases.plain(q.get("file")), "line": phrases.plain(q.get("line"))}
            | {"reason": phrases.plain(q.get("reason"))}
            for q in aside
        ],
        "quarantined": phrases.count(block.get("quarantined", len(aside))),
    }


_SPLITS = (("train", "Training"), ("val", "Validation"), ("validation", "Validation"), ("test", "Test"))
_KINDS = {
    "classify": "one label a row",
    "translate": "a translation",
    "summarise": "a summary",
    "generate": "a text",
    "multilabel": "several labels a row",
    "regress": "a number",
    "detect": "boxes and their classes",
}


def classes(by_split: object) -> dict[str, Any] | None:
    """How often each label occurs in each split, the most frequent first."""
    known = table(by_split)
    splits = [(table(known[name]), called) for name, called in _SPLITS if table(known.get(name))]
    labels = list(dict.fromkeys(label for counts, _ in splits for label in counts))
    if not labels:
        return None
    first = splits[0][0]
    most = max((_or(count, 0.0) for count in first.values()), default=0.0)
    ordered = sorted(labels, key=lambda label: -_or(first.get(label), 0.0))
    return {
        "splits": [called for _, called in splits],
        "rows": [
            {
                "label": label,
                "bar": charts.bar(_or(first.get(label), 0.0), most),
                "counts": [phrases.count(counts.get(label, 0)) for counts, _ in splits],
            }
            for label in ordered
        ],
    }
