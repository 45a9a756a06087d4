"""The pictures of the report: plain data in, inline SVG out. All letters come from escaped text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from ukulele.report.phrases import duration, interval, number, real
from ukulele.report.svg import SHORTEST, Axis, axis, plot, tag, time_axis

Estimates = Sequence[Mapping[str, Any]]
STRIP = 26  # pixels


def span(estimates: Estimates, zero: bool = False) -> Axis | None:
    """One axis for several estimates with their intervals; None if there is no number among them."""
    found = [real(e.get(end)) for e in estimates for end in ("low", "value", "high")]
    values = [value for value in found if value is not None]
    return axis("", [*values, 0.0] if zero else values) if values else None


def whisker(estimate: Mapping[str, Any], on: Axis | None, style: str = "", zero: bool = False) -> Markup:
    """A dot at the value and a line over the interval; decoration of a table that has the numbers."""
    value = real(estimate.get("value"))
    if on is None or value is None:
        return Markup("")
    low, high = real(estimate.get("low")), real(estimate.get("high"))
    middle = STRIP // 2
    marks = [tag("line", x1="0", x2="100%", y1=middle, y2=middle, class_="track")]
    if zero:
        marks.append(tag("line", x1=on.x(0), x2=on.x(0), y1=2, y2=STRIP - 2, class_="zero"))
    if low is not None and high is not None:
        marks.append(tag("line", x1=on.x(low), x2=on.x(high), y1=middle, y2=middle, class_="whisker"))
    marks.append(tag("circle", cx=on.x(value), cy=middle, r="5", class_="dot"))
    return tag("svg", *marks, width="100%", height=STRIP, class_=f"strip {style}".strip(), aria_hidden="true")


def scale(on: Axis | None) -> Markup:
    """The figures under a column of whiskers."""
    if on is None:
        return Markup("")
    marks = [
        tag("text", on.text(t), x=on.x(t), y="14", text_anchor="middle") for t in on.ticks[:: -(-len(on.ticks) // 3)]
    ]
    return tag("svg", tag("g", *marks, class_="tick"), width="100%", height="20", class_="strip", aria_hidden="true")


def difference(estimate: Mapping[str, Any], unit: str = "") -> Markup:
    """A paired difference with its interval against zero."""
    on = span([estimate], zero=True)
    value, between = number(estimate.get("value"), True), interval(estimate, True)
    label = f"Difference {value}{unit}, interval {between}{unit}, zero is marked"
    return tag("div", whisker(estimate, on, zero=True), scale(on), role="img", aria_label=label, class_="difference")


def bar(value: float, most: float) -> Markup:
    """A bar for a share of the most; decoration of a table that has the number."""
    width = f"{100 * value / most:.2f}%" if most else "0%"
    return tag(
        "svg",
        tag("rect", x="0", y="3", width=width, height="8"),
        width="100%",
        height="14",
        class_="bar",
        aria_hidden="true",
    )


def cost_quality(points: Sequence[Mapping[str, Any]], metric: str) -> Markup:
    """Seconds against quality: `points` have name, seconds, test (an estimate), control and chosen."""
    usable = [p for p in points if real(p["seconds"]) is not None and real(p["test"].get("value")) is not None]
    if len(usable) < 2:
        return Markup("")
    height = 260
    x = time_axis(p["seconds"] for p in usable)
    reach = [p["test"].get(end) for p in usable for end in ("low", "value", "high")]
    y = axis(metric, [value for value in map(real, reach) if value is not None])
    heights = _apart([float(y.y(p["test"]["value"], height)) for p in usable], least=17)
    marks = [_cost_point(p, x, y, height, at) for p, at in zip(usable, heights, strict=True)]
    told = "; ".join(f"{p['name']}: {number(p['test']['value'])} in {duration(p['seconds'])}" for p in usable)
    return plot(f"{metric} against time. {told}", x, y, marks, height)


def _cost_point(point: Mapping[str, Any], x: Axis, y: Axis, height: int, text_at: float) -> Markup:
    estimate, seconds = point["test"], max(point["seconds"], SHORTEST)
    at, left = x.x(seconds), x.place(seconds) > 0.55
    kind = "chosen" if point["chosen"] else "control" if point["control"] else "rung"
    marks = []
    if real(estimate.get("low")) is not None and real(estimate.get("high")) is not None:
        ends = y.y(estimate["low"], height), y.y(estimate["high"], height)
        marks.append(tag("line", x1=at, x2=at, y1=ends[0], y2=ends[1], class_="whisker"))
    marks.append(tag("circle", cx=at, cy=y.y(estimate["value"], height), r="6", class_="dot"))
    side = {"dx": "-12", "text_anchor": "end"} if left else {"dx": "12", "text_anchor": "start"}
    marks.append(tag("text", point["name"], x=at, y=f"{text_at:.1f}", dy="0.35em", **side))
    return tag("g", *marks, class_=f"point {kind}")


def _apart(places: Sequence[float], least: float) -> list[float]:
    """The places moved so that neighbours are at least so far from each other, in the same order."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for _ in range(40):
        for below, above in pairwise(order):
            lack = least - (moved[above] - moved[below])
            if lack > 0:
                moved[below] -= lack / 2
                moved[above] += lack / 2
    return moved


def curves(
    history: Sequence[Mapping[str, Any]], series: Sequence[tuple[str, str]], name: str, across: str = "epoch"
) -> Markup:
    """Lines over epochs, phases one behind the other; `series` are (key of the history, how it is called).

    The first series is drawn whole, the second dashed; the epoch whose weights were kept has a ring. A series called
    nothing stands without a legend. `across` says what an epoch is.
    """
    height = 180
    drawn = [
        (i, key, called) for i, (key, called) in enumerate(series) if any(real(h.get(key)) is not None for h in history)
    ]
    if not drawn:
        return Markup("")
    x = axis("epoch", range(1, len(history) + 1), at_most=6)
    whole = tuple(tick for tick in x.ticks if tick == round(tick) and tick >= 1)
    x = Axis(across, x.low, x.high, whole or (1.0,), write=lambda value: f"{value:.0f}")
    found = [real(h.get(key)) for h in history for _, key, _ in drawn]
    y = axis(name, [value for value in found if value is not None])
    marks = [_phase_borders(history, x, height)]
    marks += [_line(history, key, i, (x, y), height) for i, key, _ in drawn]
    numbers = [", ".join(number(h.get(key)) for h in history) for _, key, _ in drawn]
    told = "; ".join(
        f"{called}: {line}" if called else line for (_, _, called), line in zip(drawn, numbers, strict=True)
    )
    legend = [
        tag(
            "span",
            tag("svg", tag("line", x1="0", x2="24", y1="5", y2="5"), width="24", height="10"),
            called,
            class_=f"s{i}",
        )
        for i, _, called in drawn
        if called
    ]
    under = [tag("p", *legend, class_="legend")] if legend else []
    return tag("div", plot(f"{name} by epoch. {told}", x, y, marks, height), *under)


def _phase_borders(history: Sequence[Mapping[str, Any]], x: Axis, height: int) -> Markup:
    borders = [i + 1.5 for i, (a, b) in enumerate(pairwise(history)) if a.get("phase") != b.get("phase")]
    return tag("g", *(tag("line", x1=x.x(b), x2=x.x(b), y1=0, y2=height) for b in borders), class_="border")


def _line(history: Sequence[Mapping[str, Any]], key: str, which: int, axes: tuple[Axis, Axis], height: int) -> Markup:
    x, y = axes
    points = [(i + 1, real(h.get(key)), bool(h.get("best"))) for i, h in enumerate(history)]
    known = [(x.x(i), y.y(value, height), best) for i, value, best in points if value is not None]
    marks = [tag("line", x1=a[0], y1=a[1], x2=b[0], y2=b[1]) for a, b in pairwise(known)]
    kept = max((i for i, point in enumerate(known) if point[2]), default=None)
    for i, (at, up, _) in enumerate(known):
        if i == kept and which == 0:
            marks.append(tag("circle", cx=at, cy=up, r="8", class_="kept"))
        marks.append(tag("circle", cx=at, cy=up, r="3"))
    return tag("g", *marks, class_=f"line s{which}")


def calibration(bins: Sequence[Mapping[str, Any]]) -> Markup:
    """How often answers given with a confidence are right; on the diagonal is perfect."""
    known = [(real(b.get("n")), real(b.get("confidence")), real(b.get("accuracy"))) for b in bins]
    points = [(n, c, a) for n, c, a in known if n is not None and n > 0 and c is not None and a is not None]
    if not points:
        return Markup("")
    height = 260
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    x, y = Axis("confidence", 0, 1, ticks, write=_percent), Axis("share that is right", 0, 1, ticks, write=_percent)
    most = max(n for n, _, _ in points)
    marks = [tag("line", x1="0", y1=height, x2="100%", y2=0, class_="diagonal")]
    for n, confidence, accuracy in points:
        at, up = x.x(confidence), y.y(accuracy, height)
        marks.append(tag("line", x1=at, x2=at, y1=y.y(confidence, height), y2=up, class_="gap"))
        marks.append(tag("circle", cx=at, cy=up, r=f"{3 + 6 * (n / most) ** 0.5:.1f}", class_="dot"))
    told = "; ".join(f"{_percent(c)} sure, {_percent(a)} right, {n:.0f} rows" for n, c, a in points)
    return plot(f"Calibration. {told}", x, y, marks, height)


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def scatter(points: Sequence[Sequence[Any]]) -> Markup:
    """True values against answers of a regression, both on one scale."""
    known = [(t, a) for t, a in (map(real, p[:2]) for p in points if len(p) >= 2) if t is not None and a is not None]
    if not known:
        return Markup("")
    height = 300
    both = axis("", [value for point in known for value in point])
    x, y = Axis("true value", both.low, both.high, both.ticks), Axis("answer", both.low, both.high, both.ticks)
    marks = [tag("line", x1="0", y1=height, x2="100%", y2=0, class_="diagonal")]
    marks += [tag("circle", cx=x.x(t), cy=y.y(a, height), r="3") for t, a in known]
    return plot(
        f"Answers against true values of {len(known)} test rows", x, y, [tag("g", *marks, class_="cloud")], height
    )


def confusion_map(labels: Sequence[str], counts: Sequence[Sequence[Any]]) -> Markup:
    """A small map of a large confusion matrix: one square for every pair that occurs."""
    marks = []
    for i, row in enumerate(counts):
        known = [real(value) or 0.0 for value in row]
        total = sum(known)
        for j, value in enumerate(known):
            if value:
                style = "right" if i == j else "wrong"
                title = tag("title", f"{labels[i]} → {labels[j]}: {value:.0f} of {total:.0f}")
                marks.append(
                    tag(
                        "rect",
                        title,
                        x=j,
                        y=i,
                        width="1",
                        height="1",
                        class_=style,
                        fill_opacity=f"{0.4 + 0.6 * value / total:.2f}",
                    )
                )
    n = len(labels)
    label = f"Map of the confusion matrix of {n} labels: true labels downwards, answers to the right"
    return tag("svg", *marks, viewBox=f"0 0 {n} {n}", class_="map", role="img", aria_label=label)
