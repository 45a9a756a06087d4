"""The chosen plan with several seeds: what chance in training did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ukulele.report import charts, phrases
from ukulele.report.phrases import table, tables


def section(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Each seed's score on the test rows, and the mean; None where there was one seed."""
    return _section(table(record.get("seeds")))


def sections(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same of several tasks: the mean change against a model for each, where it is known, then task by task."""
    block, joint = table(record.get("seeds")), table(record.get("multitask"))
    each, name = tables(block.get("each")), "delta_m_percent"
    mean = {name: table(joint.get(name))}
    found: list[tuple[str, dict[str, Any]]] = []
    if mean[name]:
        told = [{**one, "test": one.get(name)} for one in each]
        found.append(("", {"metric": name, "each": told, "test": mean}))
    for task in tables(joint.get("tasks")):
        own = str(task.get("name"))
        told = [{**one, "test": table(one.get("test")).get(own)} for one in each]
        mean = table(table(block.get("test")).get(own))
        found.append((phrases.plain(own), {"metric": task.get("metric"), "each": told, "test": mean}))
    shown = [(title, _section(one)) for title, one in found]
    return [{**one, "task": title} for title, one in shown if one is not None]


def _section(block: Mapping[str, Any]) -> dict[str, Any] | None:
    each = tables(block.get("each"))
    if len(each) < 2:
        return None
    name = str(block.get("metric") or "score")
    scores = [table(one.get("test")) for one in each]
    on, mean = charts.span(scores), table(table(block.get("test")).get(name))
    between = phrases.interval(mean)
    drawn = "rows" if phrases.real(mean.get("groups")) is None else "groups of rows"
    said = f"The mean is {phrases.number(mean.get('value'))}" + (f" ({between})" if between else "")
    return {
        "task": "",
        "metric": phrases.metric(name),
        "said": f"{said}: {drawn} and seeds were both drawn again for its interval, and for the verdict's.",
        "rows": [
            {
                "seed": phrases.plain(one.get("seed")),
                "kind": "tried" if number else "chosen",
                "chart": charts.whisker(score, on, "tried" if number else "chosen"),
                "value": phrases.number(score.get("value")),
                "interval": phrases.interval(score),
                "seconds": phrases.duration(one["seconds"]) if phrases.real(one.get("seconds")) is not None else "",
            }
            for number, (one, score) in enumerate(zip(each, scores, strict=True))
        ],
        "scale": charts.scale(on),
    }
