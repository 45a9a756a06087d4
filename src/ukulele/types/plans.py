"""Plans: a strategy as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Group:
    """Parameters trained at one rate: a shell pattern over `<stage>.<parameter>` and `head.<task>.<parameter>`."""

    names: str
    rate: float


@dataclass(frozen=True)
class Phase:
    """One stretch of training. The first group that matches a parameter takes it; what none matches is
    frozen, and the cut follows: the lowest stage with a trained parameter.

    A phase with the optimiser "probe" fits the heads alone, to the optimum, on the trunk's last live values.
    """

    groups: tuple[Group, ...]
    optimiser: Literal["probe", "adamw", "sgd"] = "adamw"
    loss: Literal["heads", "pairs", "contrast"] = "heads"  # the others see pooled rows and no head: loop/contrast.py
    epochs: int = 1
    batch: int = 32  # rows of each task in a step
    decay: float = 0.0  # weight decay (adamw, sgd)
    penalty: float = 0.0  # of the squared distance of the stages' weights to where they started, instead of decay
    strength: float | None = None  # of the probe's L2 penalty; None: by cross-validation
    shrink: float = 1.0  # what the probe's optimum is multiplied by, so that stages trained next have work to do
    relative: bool = False  # whether a group's rate is multiplied by its gradient's norm over that of its weights
    warmup: float = 0.1  # share of the steps
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    clip: float | None = 1.0
    norm: Literal["frozen", "trained"] = "frozen"  # statistics of BatchNorm
    dropout: bool = True
    soup: int = 0  # so many of the best epochs may go into a mean of weights, as validation likes; 0: the best alone
    patience: int | None = None  # epochs without a better validation score before stopping; None: never
    average: float | None = None  # what the weights' running average keeps of itself at a step: that is judged and kept
    plain: int = 0  # epochs at the end without augmentation

    def lasting(self, epochs: int) -> Phase:
        """The same phase in so many epochs: as large a part of them sees pictures as they are.

        >>> Phase((), epochs=20, plain=2).lasting(6).plain, Phase((), epochs=20, plain=2).lasting(10).plain
        (0, 1)
        """
        return replace(self, epochs=epochs, plain=self.plain * epochs // max(1, self.epochs))


@dataclass(frozen=True)
class Adapters:
    """Small matrices that are trained beside weights that stay as they are; merged into those in the end.

    Their parameters are called `<stage>.….lora_…`, for a group to take. Where each task has a set of its own, the
    stages from the lowest adapted one on are its own, too, and theirs are called `head.<task>.….lora_…`.
    """

    kind: Literal["lora", "dora"]
    stages: tuple[str, ...]  # in all linear layers and ungrouped convolutions of these
    rank: int = 8
    alpha: float = 16.0  # what they add is multiplied by alpha / rank
    own: bool = False  # a set for each task, instead of one that all tasks share
    bits: int | None = None  # of the weights they stand beside, while they are trained; None: all


@dataclass(frozen=True)
class Plan:
    """How a model is trained: a strategy is data, not a subclass. Printable, hashable, resumable."""

    strategy: str
    phases: tuple[Phase, ...] = ()
    views: int = 1  # augmented views of a row; 1 is the plain view alone, 0 a fresh one every epoch
    seed: int = 0
    mosaic: float = 0.0  # share of a detector's pictures that are put together of four
    views_seed: int | None = None  # of the augmented views, where plans with other seeds are to share them
    balance: str = "first"  # how several tasks' losses, or their gradients, become one
    sampling: str = "proportional"  # how often each task is seen: also "sqrt", "equal", "temperature:T"
    weights: tuple[tuple[str, float], ...] = ()  # what a task's loss counts, where not 1
    adapters: Adapters | None = None
    wise_ft: float | Literal["auto"] | None = None  # the share of the way from the start to the end that is gone


@dataclass(frozen=True)
class Candidate:
    """A model and a plan. The user's choice, a rung of the ladder and every control are the same thing.

    `stop` names the last stage that is kept in front of the pool; None keeps all. `tasks` names those it is
    for; None is for all. `gather` names columns of stages' summaries that are the pooled vector, instead of the last's.
    """

    name: str
    model: str
    plan: Plan
    role: Literal["rung", "control"] = "rung"
    pretrained: bool = True
    stop: str | None = None
    tasks: tuple[str, ...] | None = None
    gather: tuple[tuple[str, tuple[int, ...]], ...] = ()
