"""The chosen plan with several seeds: what chance in training did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ukulele.report import charts, phrases
from ukulele.report.phrases import table, tables


def section(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Each seed's score on the test rows, and the mean; None where there was one seed."""
    block = table(record.get("seeds"))
    each = tables(block.get("each"))
    if len(each) < 2:
        return None
    name = str(block.get("metric") or "score")
    scores = [table(one.get("test")) for one in each]
    on, mean = charts.span(scores), table(table(block.get("test")).get(name))
    between = phrases.interval(mean)
    said = f"The mean is {phrases.number(mean.get('value'))}" + (f" ({between})" if between else "")
    return {
        "metric": phrases.metric(name),
        "said": f"{said}: rows and seeds were both drawn again for its interval, and for the verdict's.",
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
