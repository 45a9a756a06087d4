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
