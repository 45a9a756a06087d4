"""What strategies look at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ukulele.errors import PlanError
from ukulele.types import Group, Phase

NECK = "neck"  # the stage of a detector that stands on its backbone
TARGET = "target"  # the first stage of a decoder that stands on an encoder


@dataclass(frozen=True)
class Facts:
    """About the data and the model, in plain numbers."""

    modality: str  # of the data; "boxes" for pictures with boxes, "writing" where texts are to be written
    rows: int  # of training; of several tasks the mean of theirs
    stages: tuple[str, ...]  # names, from the stem to the pool
    bare: frozenset[str]  # stages without a parameter
    parameters: int  # of the trunk
    probes: bool = True  # whether the heads can be fitted in closed form
    shared: int = 0  # classes of the data that the model's own head knows by name
    linear: frozenset[str] = frozenset()  # stages with a layer that adapters can stand beside
    biased: frozenset[str] = frozenset()  # stages with a bias
    kinds: tuple[str, ...] = ("classify",)  # of the tasks
    windows: bool = False  # whether rows are windows of plain text, each as long as the model takes
    each: float = math.inf  # training rows a class, where there are classes
    classes: int = 0  # of the task that has most; 0 where there are none
    pace: float = 1.0  # what the model wants the usual rates multiplied by

    def pattern(self, stage: str) -> str:
        """The parameters of a stage."""
        return f"{stage}.*"


@dataclass(frozen=True)
class Wishes:
    """What the user asked for; None leaves it to the strategy."""

    freeze: int | str | None = None  # stages from the bottom, the last of them, "backbone", "all", "none" or "auto"
    epochs: int | None = None
    rate: float | None = None
    batch: int | None = None
    views: int | None = None
    patience: int | None = None
    seed: int = 0
    balance: str = "first"  # of several tasks
    sampling: str = "proportional"
    weights: tuple[tuple[str, float], ...] = ()
    rank: int | None = None  # of adapters
    alpha: float | None = None
    own: bool = False  # adapters for each task
    bits: int | None = None  # of the weights beside adapters
    layer_decay: float | None = None  # of the rate, from each stage to the one below it
    penalty: float | None = None  # of l2sp
    wise_ft: float | Literal["auto"] | None = None  # the share of the way from the start that is gone
    soup: bool = False  # the mean of epochs where validation likes it
    mosaic: float = 0.0  # share of a detector's pictures that are put together of four


def frozen_stages(facts: Facts, freeze: int | str | None, default: int) -> int:
    """How many stages, from the bottom, stay as they are.

    Raises
    ------
    PlanError
        If there are not as many.
    """
    trainable = [i for i, name in enumerate(facts.stages) if name not in facts.bare]
    most = trainable[-1] if trainable else 0
    match freeze:
        case None | "auto":
            return min(default, most)
        case "none":
            return 0
        case "all":
            return len(facts.stages)
        case int() if 0 <= freeze <= len(facts.stages):
            return freeze
        case "backbone" if NECK in facts.stages:
            return facts.stages.index(NECK)
        case "encoder" if TARGET in facts.stages:
            return facts.stages.index(TARGET)
        case str() if freeze in facts.stages:
            return facts.stages.index(freeze) + 1
    raise PlanError(
        f"--freeze {freeze} does not suit this model: it has {len(facts.stages)} stages ({', '.join(facts.stages)}).",
        hint=f"Choose 0 to {len(facts.stages)}, the last stage that stays as it is, all, none or auto.",
    )


def falling(facts: Facts, frozen: int, rate: float, decay: float) -> tuple[Group, ...]:
    """A group a stage, rates falling by `decay` from the top stage towards the stem."""
    trained = [name for name in facts.stages[frozen:] if name not in facts.bare]
    return tuple(Group(facts.pattern(name), rate * decay**depth) for depth, name in enumerate(reversed(trained)))


def probe_first(facts: Facts, shrink: float = 1.0) -> tuple[Phase, ...]:
    """The phase that puts the probe's optimum into the heads, where they can be fitted so."""
    return (Phase((Group("head.*", 1.0),), "probe", shrink=shrink),) if facts.probes else ()


def balanced_batch(facts: Facts) -> int:
    """A batch that gives small sets enough steps; texts to be written are short, and come in larger ones."""
    if facts.modality == "writing" and facts.rows >= 10_000 and not facts.windows:
        return 64
    return 8 if facts.rows < 200 else 16 if facts.rows < 1000 else 32
