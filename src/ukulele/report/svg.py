"""Axes and SVG elements. Horizontal places are percentages, so a chart keeps its letters readable at any width."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from markupsafe import Markup

from ukulele.report.phrases import duration

SHORTEST = 1e-3  # seconds; a logarithm needs something above 0
TIMES = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36_000.0, 360_000.0)
GUTTER = 46  # pixels left of a plot, for the figures of its vertical axis


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element with its children and attributes escaped (unless they are markup already).

    >>> tag("text", "<b>", class_="label", x="5%")
    Markup('<text class="label" x="5%">&lt;b&gt;</text>')
    """
    given = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), given, Markup("").join(children))


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high` with its name and the places that are written out."""

    name: str
    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False
    write: Callable[[float], str] | None = None  # None: as few decimals as tell the ticks apart

    def place(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high end."""
        low, high, at = (
            (math.log10(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        return min(1.0, max(0.0, (at - low) / (high - low)))

    def text(self, tick: float) -> str:
        """A tick written out.

        >>> axis("", [0.4, 0.9]).text(0.6), axis("", [0.81, 0.93]).text(0.9)
        ('0.6', '0.900')
        """
        if self.write is not None:
            return self.write(tick)
        decimals = max((len(f"{t:.6f}".rstrip("0").partition(".")[2]) for t in self.ticks), default=0)
        return f"{tick:,.{decimals}f}".replace("-", "−")

    def x(self, value: float) -> str:
        """A value as a percentage of the width."""
        return f"{100 * self.place(value):.2f}%"

    def y(self, value: float, height: float) -> str:
        """A value as pixels from the top of a plot of this height."""
        return f"{(1 - self.place(value)) * height:.1f}"


def axis(name: str, values: Iterable[float], at_most: int = 6) -> Axis:
    """A linear axis around the values, its ticks at round numbers.

    >>> axis("accuracy", [0.81, 0.93]).ticks
    (0.825, 0.85, 0.875, 0.9, 0.925)
    """
    found = list(values) or [0.0, 1.0]
    low, high = min(found), max(found)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5 * max(abs(low), 1e-3), high + 0.5 * max(abs(high), 1e-3)
    margin = 0.06 * (high - low)
    low, high = low - margin, high + margin
    step = _round_step((high - low) / at_most)
    ticks = tuple(round(step * i, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1))
    return Axis(name, low, high, ticks)


def time_axis(seconds: Iterable[float]) -> Axis:
    """A logarithmic axis around stretches of time, its ticks at times one would say."""
    found = [max(value, SHORTEST) for value in seconds] or [1.0]
    low, high = min(found) / 1.7, max(found) * 1.7
    ticks = tuple(tick for tick in TIMES if low <= tick <= high)
    return Axis("time, logarithmic", low, high, ticks, log=True, write=duration)


def _round_step(least: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 2.5, 5, 10, 20) if m * power >= least)


def plot(label: str, x: Axis, y: Axis, marks: Iterable[Markup], height: int = 240) -> Markup:
    """A frame with both axes around the marks, read out as `label`."""
    side = Markup("").join(
        tag("text", y.text(t), x=GUTTER - 10, y=y.y(t, height), dy="0.35em", text_anchor="end") for t in y.ticks
    )
    grid = Markup("").join(tag("line", x1="0", x2="100%", y1=y.y(t, height), y2=y.y(t, height)) for t in y.ticks)
    foot = Markup("").join(
        tag("text", x.text(t), x=x.x(t), y=height + 20, text_anchor="end" if x.place(t) > 0.97 else "middle")
        for t in x.ticks
    )
    body = (
        tag("g", grid, class_="grid")
        + tag("line", x1="0", x2="100%", y1=height, y2=height, class_="base")
        + tag("g", foot, class_="tick")
        + tag("text", x.name, x="100%", y=height + 40, text_anchor="end", class_="axis")
        + Markup("").join(marks)
    )
    tall = height + 48
    return tag(
        "div",
        tag("p", y.name, class_="axis-y"),
        tag(
            "div",
            tag("svg", tag("g", side, class_="tick"), width=GUTTER, height=tall),
            tag("svg", body, width="100%", height=tall, class_="area"),
            class_="frame",
        ),
        class_="plot",
        role="img",
        aria_label=label,
    )
