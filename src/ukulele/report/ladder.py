"""The ladder: what was tried in which order, what it was predicted to take and took, and what it gained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from ukulele.report import phrases
from ukulele.report.phrases import real, table, tables
from ukulele.report.svg import Axis, axis, plot, tag

HEIGHT = 240
NEAR, LINE = 0.15, 18.0  # share of the width within which a name may meet the next point, and pixels that part them
STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18_000, 36_000)  # seconds between ticks


def section(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The rungs as rows of a table, and the picture of time against quality; None where there was no ladder."""
    steps = tables(record.get("ladder"))
    if not steps:
        return None
    chosen = phrases.plain(record.get("chosen"))
    metric = phrases.metric(table(record.get("task")).get("metric") or "score")
    return {
        "metric": metric,
        "rows": [_row(step, chosen) for step in steps],
        "picture": _picture(steps, metric, chosen, _budget(record)),
    }


def _row(step: Mapping[str, Any], chosen: str) -> dict[str, Any]:
    name, found = phrases.plain(step.get("name")), table(step.get("validation"))
    taken = step.get("taken") is True
    return {
        "name": name,
        "kind": "chosen" if name == chosen else _role(step) if taken else "not tried",
        "predicted": _time(step.get("predicted_seconds")),
        "seconds": _time(step.get("seconds")),
        "value": phrases.number(found.get("value")),
        "interval": phrases.interval(found),
        "why": _why(step, taken),
    }


def _role(step: Mapping[str, Any]) -> str:
    role = phrases.plain(step.get("role") or "rung")
    return "tried" if role == "rung" else role


def _why(step: Mapping[str, Any], taken: bool) -> str:
    said = [str(step.get("outcome") or "")] if taken else []
    said.append(str(step.get("why") or ""))
    if step.get("stopped") is True:
        said.append("stopped when time was up")
    return "; ".join(text for text in said if text)


def _time(seconds: object) -> str:
    found = real(seconds)
    return phrases.ABSENT if found is None else phrases.duration(found)


def _budget(record: Mapping[str, Any]) -> float | None:
    """The seconds that the run had; None where that is not known."""
    return real(table(record.get("run")).get("budget_seconds"))


def _picture(steps: Sequence[Mapping[str, Any]], metric: str, chosen: str, budget: float | None) -> Markup:
    """Time of the run against the score on validation; rungs that were not tried stand where they would have ended."""
    seen = [(step, real(step.get("spent_seconds")), table(step.get("validation"))) for step in steps]
    known = [(step, at, found) for step, at, found in seen if at is not None and real(found.get("value")) is not None]
    if len(known) < 2:
        return Markup("")
    last = max(at for _, at, _ in known)
    left_out = [(step, _would_end(step, last)) for step in steps if step.get("taken") is not True]
    ends = [at for _, at in left_out if at is not None]
    x = _times(max([1e-3, *(at for _, at, _ in known), *ends, *([budget] if budget else [])]))
    reach = [real(found.get(end)) for _, _, found in known for end in ("low", "value", "high")]
    y = axis(f"{metric} on validation", [value for value in reach if value is not None])
    marks = [_climb(known, x, y)]
    if budget:
        line = tag("line", x1=x.x(budget), x2=x.x(budget), y1=0, y2=HEIGHT)
        marks.append(tag("g", line, class_="border"))
        marks.append(tag("g", tag("text", "budget", x=x.x(budget), y=12, dx="-8", text_anchor="end"), class_="tick"))
    lifts = _lifts([(x.place(at), float(y.y(found["value"], HEIGHT))) for _, at, found in known])
    for (step, at, found), lift in zip(known, lifts, strict=True):
        marks.append(_point(step, at, found, (x, y), (lift, phrases.plain(step.get("name")) == chosen)))
    marks += [_left(step, at, x) for step, at in left_out if at is not None]
    told = "; ".join(
        f"{phrases.plain(step.get('name'))}: {phrases.number(found.get('value'))} after {phrases.duration(at)}"
        for step, at, found in known
    )
    return plot(f"{metric} on validation against the time of the run. {told}", x, y, marks, HEIGHT)


def _times(most: float) -> Axis:
    """An axis from 0 on, its ticks at times one would say."""
    step = next((step for step in STEPS if most / step <= 6), STEPS[-1])
    ticks = tuple(float(step * i) for i in range(int(most / step) + 1))
    return Axis("time of the run", -0.02 * most, 1.05 * most, ticks, write=phrases.duration)


def _would_end(step: Mapping[str, Any], last: float) -> float | None:
    predicted = real(step.get("predicted_seconds"))
    return None if predicted is None else last + predicted


def _climb(known: Sequence[tuple[Mapping[str, Any], float, Mapping[str, Any]]], x: Axis, y: Axis) -> Markup:
    """A line through the rungs that were better than all before them."""
    better = [(at, found) for step, at, found in known if step.get("better") is not False]
    marks = [
        tag("line", x1=x.x(a), y1=y.y(one["value"], HEIGHT), x2=x.x(b), y2=y.y(two["value"], HEIGHT))
        for (a, one), (b, two) in pairwise(better)
    ]
    return tag("g", *marks, class_="line s1")


def _lifts(places: Sequence[tuple[float, float]]) -> list[float]:
    """How far the name of each point goes up, so that it does not lie on the next; places as (share, pixels)."""
    meets = [x < NEAR + before and abs(y - above) < LINE for (before, above), (x, y) in pairwise(places)]
    return [LINE if meet else 0.0 for meet in (*meets, False)]


def _point(
    step: Mapping[str, Any], at: float, found: Mapping[str, Any], axes: tuple[Axis, Axis], how: tuple[float, bool]
) -> Markup:
    """A rung that was tried; `how` far up its name goes, and whether it was chosen."""
    x, y = axes
    name, left = phrases.plain(step.get("name")), x.place(at) > 0.7
    marks, up = [], y.y(found["value"], HEIGHT)
    if real(found.get("low")) is not None and real(found.get("high")) is not None:
        low, high = y.y(found["low"], HEIGHT), y.y(found["high"], HEIGHT)
        marks.append(tag("line", x1=x.x(at), x2=x.x(at), y1=low, y2=high, class_="whisker"))
    marks.append(tag("circle", cx=x.x(at), cy=up, r="6", class_="dot"))
    side = {"dx": "-12", "text_anchor": "end"} if left else {"dx": "12", "text_anchor": "start"}
    lift, chosen = how
    marks.append(tag("text", name, x=x.x(at), y=f"{float(up) - lift:.1f}", dy="0.35em", **side))
    return tag("g", *marks, class_=f"point {'chosen' if chosen else 'rung'}")


def _left(step: Mapping[str, Any], at: float, x: Axis) -> Markup:
    """A rung that was not tried: an empty ring at the foot, where it would have ended."""
    left = x.place(at) > 0.7
    side = {"dx": "-12", "text_anchor": "end"} if left else {"dx": "12", "text_anchor": "start"}
    marks = [
        tag("circle", cx=x.x(at), cy=HEIGHT - 10, r="6", class_="dot"),
        tag("text", phrases.plain(step.get("name")), x=x.x(at), y=HEIGHT - 10, dy="0.35em", **side),
    ]
    return tag("g", *marks, class_="point control")
