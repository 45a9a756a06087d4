"""Models as ordered stages, and tasks: what is asked and how good an answer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from ukulele.types.data import Rows, Tensors

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


@dataclass(frozen=True)
class Field:
    """How one tensor of an unpadded row is batched and stored.

    `axis` names a ragged first axis ("token", "term"); collating pads it and adds `<axis>_mask` of
    shape (rows, longest), 1 where there is a value and 0 where there is padding.
    """

    axis: str | None = None
    pad: float = 0.0


@dataclass(frozen=True)
class Stage:
    """One link of the trunk: live values in, live values out. It hands on whatever it does not consume."""

    name: str
    module: nn.Module  # forward(live: Tensors) -> Tensors; must not alter its input in place
    live: Mapping[str, Field]  # all that is live behind it, hence what a cut here stores


@dataclass(frozen=True)
class Card:
    """Where a model comes from, for the report and for the bundles made from it."""

    origin: str  # package, hub id or path
    source_task: str = "unknown"
    licence: str = "unknown"
    parents: tuple[str, ...] = ()  # the cards of the models it was made from, newest first, in words


@dataclass(frozen=True)
class Model:
    """A network as an ordered row of stages: a record filled in by one file a family, never subclassed.

    `encode(inputs, draws)` turns raw inputs of some rows into unpadded tensors, one dict a row; draw 0 is
    the plain view, any other an augmentation that is a function of the draw alone.
    """

    name: str
    net: nn.Module  # the library's own object, whole: to save and export; the stages are views of it
    encode: Callable[[Sequence[tuple[Any, ...]], Sequence[int]], list[Tensors]]
    inputs: Mapping[str, Field]  # what encode gives
    stages: tuple[Stage, ...]  # the last one leaves "pooled": (rows, width), float32
    width: int  # of `pooled`
    summary: Callable[[Tensors], Tensor]  # live values behind any stage -> (rows, width there), float32
    recipe: Mapping[str, Any]  # plain JSON: with the weights, enough to build the model again; has "family"
    card: Card
    prepare: Callable[[Tensors], Tensors] = dict  # adds what is derived, never stored: masks, rotary tables
    augments: bool = False  # whether draws other than 0 differ from it
    limit: int | None = None  # tokens a row at most; what is longer was cut
    pace: float = 1.0  # what the usual rates of training are multiplied by for it
    together: int = 64  # rows that pass the stages at once where none is trained: by their size
    lengths: Callable[[Sequence[tuple[Any, ...]]], list[tuple[int, ...]]] | None = None  # tokens before that, by text
    assets: Mapping[str, bytes] = field(default_factory=dict)  # files a bundle must carry: the tokenizer
    heads: Mapping[str, Callable[..., Head]] = field(default_factory=dict)  # brought along, by kind of task: see there
    above: tuple[Stage, ...] = ()  # of the trunk, behind its last stage: run by each head in a form of its own
    lookup: tuple[str, nn.Embedding] | None = None  # a field of `encode`, and the table whose rows it alone names
    teaches: bool = False  # the answer goes in with the inputs: `encode` is given (*inputs, answer) where it is known
    packs: bool = False  # whether several rows may stand in one line: see tools/packing.py
    windows: Callable[[str], Sequence[tuple[int, int]]] | None = None  # a text to spans of characters, a row each
    mosaic: Callable[..., tuple[Tensors, dict[str, Tensors]]] | None = None  # of rows' inputs: see models/mosaic.py
    untie: Callable[[int], Model] | None = None  # the same with weights tied across a cut made two: see models/tied.py
    classifier: tuple[Tensor, Tensor] | None = None  # of its source task, on "pooled": weights (classes, width), biases
    answers: nn.Module | None = None  # one that reads more: live values before the last stage to logits (rows, classes)

    def live(self, cut: int) -> Mapping[str, Field]:
        """The fields that a cut in front of stage `cut` stores; 0 stores what `encode` gives."""
        return self.stages[cut - 1].live if cut else self.inputs

    def run(self, live: Tensors, start: int = 0, stop: int | None = None) -> Tensors:
        """Run stages `start` to `stop`: below a cut is run(x, 0, cut), above it run(x, cut)."""
        stages = self.stages[start:stop]
        return fold(self.prepare, [stage.module for stage in stages], live)


def fold(
    prepare: Callable[[Tensors], Tensors], stages: Sequence[Callable[[Tensors], Tensors]], live: Tensors
) -> Tensors:
    """Live values through `prepare` and then through each stage."""
    live = prepare(live) if stages else live
    for stage in stages:
        live = stage(live)
    return live


@dataclass(frozen=True)
class Request:
    """What a family needs to make a model.

    `rows` are those of training, for models that learn their vocabulary from them.
    """

    name: str
    pretrained: bool = True
    seed: int = 0
    inputs: int = 1  # texts a row: 1, or 2 for pairs
    mixed: bool = False  # of pairs: some rows have one text
    max_length: int | None = None  # tokens; None: what the model takes
    long: Literal["cut", "chunk"] = "cut"  # texts longer than that
    rows: Rows | None = None
    writes: str | None = None  # the kind of task, where the answer is a text
    chat: bool = False  # its rows are conversations
    vocabulary: Mapping[str, bytes] = field(default_factory=dict)  # assets of a tokenizer, where that is known already
    reads: Mapping[str, Any] = field(default_factory=dict)  # how the decoder of that tokenizer does: its recipe
    languages: tuple[str, ...] = ()  # of the input and of the answer, where a model wants to be told
    told: bool = False  # these were named, not guessed
    new_tokens: tuple[str, ...] = ()  # words that are to have tokens of their own


# ---------------------------------------------------------------- tasks


@dataclass(frozen=True)
class Loss:
    """Sums and counts, one a row (one in all where a loss does not decompose); the step takes the mean, once."""

    sums: Tensor
    counts: Tensor


class Head(Protocol):
    """What stands on the trunk, one a task: an nn.Module with two verbs, both fed the trunk's last live values."""

    def loss(self, live: Tensors, target: Tensors) -> Loss:
        """The loss of each row."""
        ...

    def predict(self, live: Tensors, decoding: Any) -> Sequence[Any]:
        """One raw answer a row; `Task.decode` makes it final."""
        ...


@dataclass(frozen=True)
class Metric:
    """A number for how good answers are, from a table of row statistics and how often each row counts.

    `value(table, counts)`: table is (n, k) of whatever `Task.table` made, counts is (n,), all ones for the
    plain value and the multiplicities of a resample for a bootstrap draw.
    """

    name: str
    value: Callable[[np.ndarray, np.ndarray], float]
    higher_is_better: bool = True
    inflated: bool = False  # whether noise alone raises it above 0, so that a resample's value is too high
    many: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None  # of counts (draws, n) at once: (draws,)


class Task(Protocol):
    """What is asked and how good an answer is. Plain data: no network, tokenizer or tensor inside."""

    fields: ClassVar[Mapping[str, Field]]  # of its target tensors

    @property
    def kind(self) -> str:
        """What kind of answer it has, in the words of `Kind`."""
        ...

    @property
    def name(self) -> str:
        """The column it answers for."""
        ...

    @property
    def decoding(self) -> Any:
        """Temperature, thresholds, beams: tuned on validation, changed by dataclasses.replace."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those reported; the first decides."""
        ...

    def target(self, value: Any) -> Tensors:
        """A raw target (or None) as unpadded tensors named as in `fields`."""
        ...

    def head(self, model: Model) -> Head:
        """A new head for the model, its weights zero or drawn from torch's generator."""
        ...

    def decode(self, raw: Sequence[Any]) -> Sequence[Any]:
        """Raw answers of a head as final ones, by `decoding`."""
        ...

    def tuned(self, raw: Sequence[Any], values: Sequence[Any]) -> Task:
        """The same task with its decoding tuned on validation answers and their true values."""
        ...

    def table(self, answers: Sequence[Any], values: Sequence[Any]) -> np.ndarray:
        """Row statistics (n, k) of final answers against true values: what `metrics` read."""
        ...


@dataclass(frozen=True)
class Table:
    """Rows and what is asked of them."""

    rows: Rows
    tasks: Mapping[str, Task]
