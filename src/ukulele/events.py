"""What a run says as it goes on: the loop yields events; screen, log and trackers hear them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True)
class Place:
    """Where a run stands. With the seed it fixes every random draw, so no generator's state is ever saved."""

    phase: int = 0
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Stepped:
    """One optimiser step was taken; `losses` by task, `of` is the number of steps in this epoch."""

    place: Place
    of: int
    epochs: int
    losses: Mapping[str, float]
    rows: int


@dataclass(frozen=True)
class Judged:
    """An epoch is over and validation has spoken; higher is better. `scores` are those of each task."""

    place: Place
    loss: float
    score: float
    best: bool
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Lookahead:
    """What a step on one task alone would do to every task: 1 - loss after / loss before, (acting, acted upon).

    `conflicts` is the share of pairs of tasks whose gradients point apart.
    """

    place: Place
    tasks: tuple[str, ...]
    affinity: tuple[tuple[float, ...], ...]
    conflicts: float


@dataclass(frozen=True)
class Souped:
    """The weights of some epochs of a phase were averaged; `alone` is the score of the best of them."""

    place: Place
    epochs: tuple[int, ...]
    score: float
    alone: float


@dataclass(frozen=True)
class Saved:
    """A state from which the run ends bit-identical: a tree of tensors, numbers and strings."""

    place: Place
    state: Mapping[str, Any]


@dataclass(frozen=True)
class Progress:
    """Work that is counted but is no training step: rows encoded, candidates fitted."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Said:
    """A line for the user: an inference, a decision, a warning."""

    text: str
    severity: Literal["info", "warning"] = "info"


Event: TypeAlias = Stepped | Judged | Lookahead | Souped | Saved | Progress | Said
Hear: TypeAlias = Callable[[Event], None]
