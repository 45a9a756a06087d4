"""What more labels would bring: the learning curve of each task, as measured and as expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from ukulele.report import phrases
from ukulele.report.phrases import real, table, tables
from ukulele.report.svg import Axis, axis, plot, tag

HEIGHT = 240  # pixels


def learning(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One picture a task, the numbers behind it, and the advice."""
    found = table(record.get("learning_curve"))
    return [_task(str(name), table(found[name]), len(found) > 1) for name in found]


def _task(name: str, curve: Mapping[str, Any], several: bool) -> dict[str, Any]:
    metric = phrases.metric(str(curve.get("metric") or "score"))
    points, expected = _known(curve.get("points")), _known(curve.get("expected"))
    ends, lower = phrases.share(curve.get("level"), 1), curve.get("higher_is_better") is False
    rows = [_row(point, "measured") for point in points] + [_row(point, "expected") for point in expected]
    return {
        "name": name if several else "",
        "metric": metric,
        "chart": picture(points, _known(curve.get("line")), real(curve.get("no_further_gain")), metric),
        "rows": rows,
        "level": ends,
        "advice": str(curve.get("advice") or ""),
        "more": [_more(one, metric, lower=lower) for one in tables(curve.get("more"))],
    }


def _known(points: object) -> list[dict[str, Any]]:
    return [p for p in tables(points) if real(p.get("rows")) and real(p.get("value")) is not None]


def _row(point: Mapping[str, Any], how: str) -> dict[str, str]:
    return {
        "rows": phrases.count(point.get("rows")),
        "value": phrases.number(point.get("value")),
        "interval": phrases.interval(point),
        "how": how,
    }


def _more(one: Mapping[str, Any], metric: str, *, lower: bool) -> str:
    """How many more labels a gain takes.

    >>> found = {"gain": 0.02, "value": 400.0, "low": 90.0, "high": None, "reached": 0.9}
    >>> _more(found, "accuracy", lower=False)
    '0.020 more accuracy: about 400 more labels (90 or more).'
    >>> _more({"share": 0.01, **found}, "RMSE", lower=True)
    '0.020 less RMSE (1.0 %): about 400 more labels (90 or more).'
    """
    of = f" ({phrases.share(one.get('share'), 1)})" if real(one.get("share")) is not None else ""
    start = f"{phrases.number(one.get('gain'))} {'less' if lower else 'more'} {metric}{of}: "
    if real(one.get("value")) is None:
        return f"{start}hardly to be had by labels; {phrases.share(one.get('reached'), 1)} of the curves get there."
    high = "or more" if real(one.get("high")) is None else f"to {phrases.count(one.get('high'))}"
    return f"{start}about {phrases.count(one.get('value'))} more labels ({phrases.count(one.get('low'))} {high})."


def picture(
    points: Sequence[Mapping[str, Any]], line: Sequence[Mapping[str, Any]], flat: float | None, metric: str
) -> Markup:
    """Scores by rows, measured (whole line) and expected (dashed); the flat line is that of no further gain."""
    if len(points) < 2:
        return Markup("")
    x = _rows_axis([p["rows"] for p in (*points, *line)])
    found = [real(p.get(end)) for p in (*points, *line) for end in ("low", "value", "high")]
    y = axis(metric, [value for value in found if value is not None])
    marks = [_series(points, x, y, "s0"), _series(line, x, y, "s1")]
    if flat is not None and line:
        at = y.y(flat, HEIGHT)
        ends = {"x1": x.x(points[-1]["rows"]), "x2": x.x(line[-1]["rows"])}
        marks.append(tag("g", tag("line", y1=at, y2=at, **ends), class_="border"))
    told = "; ".join(f"{p['rows']:,} rows: {phrases.number(p['value'])}" for p in points)
    ahead = "; ".join(f"{p['rows']:,} rows: {phrases.number(p['value'])}" for p in line)
    return plot(f"{metric} by labelled rows. Measured: {told}. Expected: {ahead}", x, y, marks, HEIGHT)


def _rows_axis(rows: Sequence[float]) -> Axis:
    low, high = min(rows), max(rows)
    ticks = [float(low)]
    while ticks[-1] * 2 <= high * 1.01:
        ticks.append(ticks[-1] * 2)
    ticks = ticks[:: -(-len(ticks) // 6)]
    return Axis(
        "labelled rows, logarithmic", low / 1.1, high * 1.1, tuple(ticks), log=True, write=lambda n: f"{n:,.0f}"
    )


def _series(points: Sequence[Mapping[str, Any]], x: Axis, y: Axis, style: str) -> Markup:
    places = [(x.x(p["rows"]), y.y(p["value"], HEIGHT)) for p in points]
    marks = [tag("line", x1=a[0], y1=a[1], x2=b[0], y2=b[1]) for a, b in pairwise(places)]
    for point, (at, up) in zip(points, places, strict=True):
        low, high = real(point.get("low")), real(point.get("high"))
        if low is not None and high is not None:
            marks.append(tag("line", x1=at, x2=at, y1=y.y(low, HEIGHT), y2=y.y(high, HEIGHT), class_="whisker"))
        marks.append(tag("circle", cx=at, cy=up, r="3"))
    return tag("g", *marks, class_=f"line {style}")
