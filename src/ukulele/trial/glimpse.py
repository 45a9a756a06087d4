"""What a model costs: its size, and the time of an answer, measured on a few rows."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ukulele.features.encode import Frozen, Pass
from ukulele.trial.context import Context
from ukulele.types import SPLITS, Model

ROWS = 16  # whose pass is timed
TIMES = 5  # that one row is answered


@dataclass(frozen=True)
class Glimpse:
    """A model's licence, source and costs on this machine."""

    licence: str
    source_task: str
    parameters: int
    size_bytes: int  # of its weights, as a bundle holds them
    latency_seconds: float  # of one row alone, without starting up
    seconds_a_row: float  # in a pass of many
    pass_seconds: float  # of all rows, predicted from that


@dataclass(frozen=True)
class Limits:
    """What an answer may cost, and the seconds that ranking may take; None: anything."""

    latency_seconds: float | None = None
    size_bytes: int | None = None
    budget: float | None = None

    def over(self, about: Glimpse) -> str:
        """What a model exceeds, in words; empty where it is within."""
        if self.size_bytes is not None and about.size_bytes > self.size_bytes:
            return f"{about.size_bytes / 1e6:.1f} MB of weights; at most {self.size_bytes / 1e6:.1f} were asked for"
        if self.latency_seconds is not None and about.latency_seconds > self.latency_seconds:
            took, most = about.latency_seconds * 1e3, self.latency_seconds * 1e3
            return f"{took:.1f} ms for a row; at most {most:.1f} were asked for"
        return ""


@dataclass(frozen=True)
class Clock:
    """The time that something may take; of several processes all go by that of the main one."""

    budget: float | None
    agree: Callable[[float], float]
    began: float = field(default_factory=time.perf_counter)

    @property
    def passed(self) -> float:
        """The seconds since it began."""
        return time.perf_counter() - self.began

    @property
    def left(self) -> float:
        """The seconds that are left, below 0 where it took longer."""
        return math.inf if self.budget is None else self.agree(self.budget - self.passed)


def glimpse(model: Model, context: Context) -> Glimpse:
    """Time a model on a few of the training rows."""
    rows = context.data.splits["train"]
    frozen = Frozen(model, Pass(len(model.stages), dtype=context.dtype, device=context.engine.device))
    some = [rows[i * len(rows) // ROWS].inputs for i in range(ROWS)] if len(rows) > ROWS else [r.inputs for r in rows]
    alone = []
    for number in range(TIMES + 1):  # the first warms up
        began = time.perf_counter()
        frozen.run(model.encode([some[number % len(some)]], [0]))
        alone.append(time.perf_counter() - began)
    began = time.perf_counter()
    frozen.run(model.encode(some, [0] * len(some)))
    pace = (time.perf_counter() - began) / len(some)
    tensors = {id(p): p for stage in model.stages for p in stage.module.parameters()}
    parameters = sum(p.numel() for p in tensors.values())
    every = sum(len(context.data.splits[split]) for split in SPLITS if split in context.data.splits)
    return Glimpse(
        licence=model.card.licence,
        source_task=model.card.source_task,
        parameters=parameters,
        size_bytes=sum(p.numel() * p.element_size() for p in tensors.values()),
        latency_seconds=statistics.median(alone[1:]),
        seconds_a_row=pace,
        pass_seconds=pace * every,
    )
