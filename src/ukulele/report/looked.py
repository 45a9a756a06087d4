"""Single rows that a look through the model's features singled out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ukulele.report import phrases
from ukulele.report.phrases import tables
from ukulele.report.rows import input_of


def suspects(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Rows whose label may be wrong, with their texts or thumbnails."""
    found = tables(record.get("suspects"))
    if not found:
        return None
    tasks = {one.get("task") for one in found}
    lines = [
        {
            "where": phrases.plain(one.get("where")),
            "split": phrases.plain(one.get("split")),
            "task": phrases.plain(one.get("task")) if len(tasks) > 1 else "",
            **input_of(one.get("input")),
            "given": phrases.plain(one.get("given")),
            "suggested": phrases.plain(one.get("suggested")),
            "score": phrases.share(one.get("score"), 1) if phrases.real(one.get("score")) is not None else "",
        }
        for one in found
    ]
    return {"rows": lines, "pictures": any(line["picture"] for line in lines)}


def copies(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows that are training rows but for small changes, each beside that."""
    return [
        {
            "where": phrases.plain(one.get("where")),
            "split": phrases.plain(one.get("split")),
            "train": phrases.plain(one.get("train")),
            "row": input_of(one.get("input")) | {"where": ""},
            "other": input_of(one.get("training_input")) | {"where": ""},
            "alike": phrases.share(one.get("alike"), 1),
        }
        for one in tables(record.get("copies"))
    ]


def sure(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """How often prediction sets held the truth, and how many test rows are unlike those of training."""
    found, domains = tables(record.get("sets")), tables(record.get("domain"))
    if not found and not domains:
        return None
    return {
        "several": len(found) > 1,
        "calibration": phrases.count(min((one.get("calibration", 0) for one in found), default=0)),
        "sets": [
            {
                "task": phrases.plain(one.get("task")),
                "level": phrases.share(one.get("level"), 1),
                "covered": phrases.share(one.get("covered"), 1),
                "expected": _expected(one),
                "size": phrases.number(one.get("size")),
                "abstained": phrases.share(one.get("abstained"), 1),
                "right": phrases.share(one.get("right"), 1),
            }
            for one in found
        ],
        "domain": [_unlike(one) for one in domains],
    }


def _expected(one: Mapping[str, Any]) -> str:
    """Where the share lies in 99 of 100 cases, and whether it does; of rows in groups that is not known."""
    if phrases.real(one.get("low")) is None:
        return "not known: rows come in groups"
    between = f"{phrases.share(one.get('low'), 1)} to {phrases.share(one.get('high'), 1)}"
    return between if one.get("inside") else f"{between}, missed"


def _unlike(one: Mapping[str, Any]) -> str:
    test = phrases.table(one.get("test"))
    return (
        f"{phrases.share(test.get('outside'), 1)} of {phrases.count(test.get('n'))} test rows lie outside of what "
        f"{phrases.count(one.get('rows'))} training rows look like to the model; 1 % would if they were alike. "
        "uke predict marks such rows."
    )
