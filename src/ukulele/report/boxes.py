"""What detections were like: figures of each class and size, curves, and pictures with the truth beside the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from ukulele.report import charts, phrases
from ukulele.report.phrases import table, tables
from ukulele.report.rows import PICTURE
from ukulele.report.svg import Axis, plot, tag

DRAWN = 8  # classes that have a line; the figures of all are in the table
FIGURES = ("map50_95", "map50", "precision", "recall", "f1")
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def detection(block: Mapping[str, Any]) -> dict[str, Any] | None:
    """All that is shown of a detector's answers; None where the task is another."""
    if block.get("kind") != "detect":
        return None
    confidence = phrases.real(block.get("confidence"))
    sizes = [
        {"size": phrases.plain(s.get("size")), "n": phrases.count(s.get("n")), "map": phrases.number(s.get("map50_95"))}
        for s in tables(block.get("sizes"))
    ]
    return {
        "classes": _classes(block),
        "sizes": sizes,
        "curves": _curves(tables(block.get("curves"))),
        "pictures": [_pair(mistake) for mistake in tables(block.get("mistakes"))],
        "confidence": phrases.number(confidence),
        "doubted": [_doubt(doubt) for doubt in tables(block.get("doubted"))],
        "layout": _layout(table(block.get("boxes"))),
    }


def _doubt(doubt: Mapping[str, Any]) -> dict[str, str]:
    """A box that may be wrong, cut out of its picture."""
    address = str(doubt.get("picture") or "")
    given, seen = (phrases.plain(doubt.get(key) or none) for key, none in (("given", "no box"), ("seen", "nothing")))
    return {
        "picture": address if PICTURE.fullmatch(address) else "",
        "said": f"{given}, seen as {seen}",
        "score": phrases.number(doubt.get("score")),
        "where": f"{phrases.plain(doubt.get('where'))} at {phrases.plain(doubt.get('place'))}",
        "split": phrases.plain(doubt.get("split")),
    }


def _layout(boxes: Mapping[str, Any]) -> dict[str, Any] | None:
    """How large the boxes are, and where their centres lie."""
    sizes = table(boxes.get("sizes"))
    edges, counts = phrases.listed(sizes.get("edges")), phrases.listed(sizes.get("counts"))
    places = [
        [phrases.real(value) or 0.0 for value in phrases.listed(line)] for line in phrases.listed(boxes.get("places"))
    ]
    if not counts or len(edges) != len(counts) + 1 or not places:
        return None
    most = max(counts)
    bars = [
        {"size": f"{_part(low)} to {_part(high)}", "n": phrases.count(count), "bar": charts.bar(count, most)}
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
    return {"bars": bars, "places": _grid(places), "pictures": phrases.count(boxes.get("pictures"))}


def _part(share: float) -> str:
    """A share of a power of two.

    >>> _part(0.25), _part(1.0)
    ('1/4', '1')
    """
    return f"1/{round(1 / share)}" if share < 1 else "1"


def _grid(places: Sequence[Sequence[float]]) -> Markup:
    """Cells of a picture, the darker the more boxes have their centre there."""
    high, wide = len(places), max(map(len, places))
    most = max((value for line in places for value in line), default=0.0) or 1.0
    cells = [
        tag("rect", x=f"{x}", y=f"{y}", width="1", height="1", fill_opacity=f"{value / most:.3f}")
        for y, line in enumerate(places)
        for x, value in enumerate(line)
        if value
    ]
    said = f"Centres of the boxes on a grid of {wide} by {high}; the fullest cell has {most:,.0f}"
    return tag("svg", *cells, viewBox=f"0 0 {wide} {high}", class_="places", role="img", aria_label=said)


def _classes(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures of each class, the weakest first; classes without a box last."""
    found = sorted(tables(block.get("per_class")), key=lambda c: _or(c.get("map50_95"), 2.0))
    return [
        {"label": phrases.plain(c.get("label")), "n": phrases.count(c.get("n"))}
        | {name: phrases.number(c.get(name)) for name in FIGURES}
        | {"bar": charts.bar(_or(c.get("map50_95"), 0.0), 1.0)}
        for c in found
    ]


def _or(value: object, otherwise: float) -> float:
    found = phrases.real(value)
    return otherwise if found is None else found


def _curves(found: Sequence[Mapping[str, Any]]) -> Markup:
    """Precision at each recall, a line a class."""
    height = 260
    x, y = Axis("recall", 0, 1, TICKS), Axis("precision", 0, 1, TICKS)
    marks, legend = [], []
    for at, curve in enumerate(found[:DRAWN]):
        recalls, precisions = phrases.listed(curve.get("recall")), phrases.listed(curve.get("precision"))
        pairs = [(phrases.real(r), phrases.real(p)) for r, p in zip(recalls, precisions, strict=False)]
        known = [(x.x(r), y.y(p, height)) for r, p in pairs if r is not None and p is not None]
        lines = [tag("line", x1=a[0], y1=a[1], x2=b[0], y2=b[1]) for a, b in pairwise(known)]
        marks.append(tag("g", *lines, class_=f"pr c{at}"))
        key = tag("svg", tag("line", x1="0", x2="24", y1="5", y2="5"), width="24", height="10")
        legend.append(tag("span", key, phrases.plain(curve.get("label")), class_=f"pr c{at}"))
    if not marks:
        return Markup("")
    told = ", ".join(phrases.plain(curve.get("label")) for curve in found[:DRAWN])
    drawn = plot(f"Precision at each recall, at an overlap of one half: {told}", x, y, marks, height)
    return tag("div", drawn, tag("p", *legend, class_="legend"))


def _pair(mistake: Mapping[str, Any]) -> dict[str, Any]:
    """A picture twice: with the boxes of the truth, and with those of the answer."""
    given = table(mistake.get("input"))
    address = str(given.get("thumbnail") or "")
    size = phrases.real(given.get("width")) or 1.0, phrases.real(given.get("height")) or 1.0
    good = address if PICTURE.fullmatch(address) else ""
    missed, wrong = phrases.count(mistake.get("missed")), phrases.count(mistake.get("wrong"))
    return {
        "where": phrases.plain(mistake.get("where")),
        "said": f"{missed} missed, {wrong} wrong",
        "truth": _drawn(good, size, tables(mistake.get("truth")), "Truth"),
        "answer": _drawn(good, size, tables(mistake.get("answer")), "Answer"),
    }


def _drawn(address: str, size: tuple[float, float], boxes: Sequence[Mapping[str, Any]], title: str) -> Markup:
    width, height = size
    unit = max(size) / 100  # strokes and letters are of a size, whatever the picture's
    marks = [tag("image", href=address, width=f"{width:g}", height=f"{height:g}")] if address else []
    for box in boxes:
        edges = [phrases.real(edge) for edge in phrases.listed(box.get("box"))]
        if len(edges) != 4 or any(edge is None for edge in edges):
            continue
        left, top, right, bottom = (float(edge or 0.0) for edge in edges)
        score = phrases.real(box.get("score"))
        name = phrases.plain(box.get("label")) + ("" if score is None else f" {score:.2f}")
        place = {"x": f"{left:.1f}", "y": f"{top:.1f}"}
        sides = {"width": f"{max(right - left, 0):.1f}", "height": f"{max(bottom - top, 0):.1f}"}
        marks.append(
            tag(
                "g",
                tag("rect", **place, **sides, stroke_width=f"{0.6 * unit:.2f}"),
                tag(
                    "text",
                    name,
                    x=f"{left + unit:.1f}",
                    y=f"{top + 3 * unit:.1f}",
                    style=f"font-size: {2.8 * unit:.1f}px",
                ),
                class_="box " + ("right" if box.get("right") else "wrong"),
            )
        )
    said = f"{title}: {len(boxes)} boxes"
    return tag("svg", *marks, viewBox=f"0 0 {width:g} {height:g}", class_="picture", role="img", aria_label=said)
