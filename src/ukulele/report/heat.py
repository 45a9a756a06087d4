"""The heat map of what a step on one task does to the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from ukulele.report.phrases import ABSENT
from ukulele.report.svg import tag

CELL = 42  # pixels, the height of a row
LETTER = 7.3  # pixels, a letter at most
HEAD, TAIL = 8, 7  # letters that are left of a long name, whose end may be all that tells it from another

Matrix = Sequence[Sequence[float | None]]


def heat(names: Sequence[str], matrix: Matrix) -> Markup:
    """What a step on the task of a row does to the loss of the task of a column, in percent of that loss.

    The colours go by sign, and by size against the largest effect on another task; a task's own cells are framed.
    """
    n = len(names)
    percents = {(i, j): None if v is None else 100 * v for i, row in enumerate(matrix) for j, v in enumerate(row)}
    most = min(1e6, max((abs(v) for (i, j), v in percents.items() if i != j and v), default=1.0))
    decimals = min(4, max(1, 1 - math.floor(math.log10(most))))
    short = [name if len(name) <= HEAD + 1 + TAIL else f"{name[:HEAD]}…{name[-TAIL:]}" for name in names]
    width = max(map(len, short)) * LETTER
    upright = max(map(len, short)) > 7
    top = 26 + (width if upright else 18)
    tall, gutter = f"{top + n * CELL + 2:.0f}", max(width, 80.0) + 14
    cells = [
        _cell((i, j), n, top, _depth(v, most), _signed(v, decimals))
        for (i, j), v in sorted(percents.items(), key=lambda cell: cell[0][0] == cell[0][1])
    ]
    told = "; ".join(
        f"a step on {names[i]} changes the loss of {names[j]} by {_signed(v, decimals)} %"
        for (i, j), v in percents.items()
    )
    return tag(
        "div",
        tag("svg", *_sides(short, top, gutter - 10), width=f"{gutter:.0f}", height=tall),
        tag("svg", *_heads(short, top, upright), *cells, width="100%", height=tall, class_="area"),
        class_="frame heat",
        role="img",
        aria_label=f"Affinity, positive helps: {told}",
        style=f"min-width: {gutter + 54 * n:.0f}px; max-width: {gutter + 120 * n:.0f}px",
    )


def _sides(names: Sequence[str], top: float, end: float) -> list[Markup]:
    """The names of the rows, right-aligned at `end`."""
    middles = [f"{top + (i + 0.5) * CELL:.1f}" for i in range(len(names))]
    return [
        tag("text", "a step on …", x=f"{end:.1f}", y=f"{top - 8:.1f}", text_anchor="end", class_="axis"),
        *(
            tag("text", name, x=f"{end:.1f}", y=y, dy="0.35em", text_anchor="end")
            for name, y in zip(names, middles, strict=True)
        ),
    ]


def _heads(names: Sequence[str], top: float, upright: bool) -> list[Markup]:
    """The names of the columns, turned where they are long."""
    middles = [f"{100 * (j + 0.5) / len(names):.2f}%" for j in range(len(names))]
    title = tag("text", "… changes the loss of", x="0", y="12", class_="axis")
    if not upright:
        places = zip(names, middles, strict=True)
        return [title, *(tag("text", name, x=x, y=f"{top - 8:.1f}", text_anchor="middle") for name, x in places)]
    turned = [tag("text", name, transform="rotate(-90)", dy="0.35em") for name in names]
    return [title, *(tag("svg", text, x=x, y=f"{top - 8:.1f}") for text, x in zip(turned, middles, strict=True))]


def _cell(at: tuple[int, int], n: int, top: float, depth: float, text: str) -> Markup:
    """A cell with its number; a depth below 0 harms."""
    i, j = at
    y = top + i * CELL
    kind = "helps" if depth > 0 else "harms" if depth < 0 else "none"
    box = {"x": f"{100 * j / n:.3f}%", "y": f"{y:.1f}", "width": f"{100 / n:.3f}%", "height": CELL}
    middle = {"x": f"{100 * (j + 0.5) / n:.3f}%", "y": f"{y + CELL / 2:.1f}"}
    return tag(
        "g",
        tag("rect", **box, fill_opacity=f"{abs(depth):.2f}"),
        tag("text", text, **middle, dy="0.35em", text_anchor="middle"),
        class_=f"{kind} own" if i == j else kind,
    )


def _depth(value: float | None, most: float) -> float:
    """How strong the colour is, with the sign of the value; never so strong that a number on it cannot be read."""
    return math.copysign(0.06 + 0.54 * min(1.0, abs(value) / most), value) if value else 0.0


def _signed(value: float | None, decimals: int) -> str:
    if value is None:
        return ABSENT
    rounded = round(value, decimals) + 0.0  # a zero has no minus
    sign = "+" if rounded > 0 else ""
    return f"{sign}{rounded:.{decimals}f}".replace("-", "−")
