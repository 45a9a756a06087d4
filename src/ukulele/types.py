"""The words: all that the parts of Ukulele say to each other. Frozen, small, no torch at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Tensors: TypeAlias = "dict[str, Tensor]"
"""Flat and named: the only structure of tensors that crosses a border."""

Split: TypeAlias = Literal["train", "validation", "test"]
Modality: TypeAlias = Literal["text", "pair", "image"]
Kind: TypeAlias = Literal["classify", "multilabel", "regress", "detect", "translate", "summarise", "generate"]
WRITTEN: frozenset[str] = frozenset({"translate", "summarise", "generate"})  # kinds whose answer is a text
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


# ---------------------------------------------------------------- data


@dataclass(frozen=True, slots=True)
class Where:
    """The place a row came from: a file, and a line of it (the first is 1) where it has lines."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


class Box(NamedTuple):
    """An object in a picture: its class, and its edges in pixels of the upright picture.

    A crowd is a region that holds several objects nobody drew one by one: neither taught nor counted.
    """

    label: str
    left: float
    top: float
    right: float
    bottom: float
    crowd: bool = False


class Written(NamedTuple):
    """What a model wrote for a row; and of the reference the loss in nats, its tokens, and the bytes that they spell.

    Where there is no reference, or the model has no loss, `loss` is NaN and the other two are 0.
    """

    text: str
    loss: float = float("nan")
    tokens: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Writing:
    """How a text is written: the likeliest by beams, or drawn at a temperature from the likeliest `top_p`."""

    beams: int = 1
    temperature: float = 0.0  # 0: nothing is drawn
    top_p: float = 1.0
    tokens: int = 128  # new ones at most; 0: nothing is written, only the reference is scored
    seconds: float | None = None  # for one batch
    seed: int = 0


GOES_ON = "…"  # given to `encode` behind an answer that does not end there


class GoesOn(str):
    """An answer whose text goes on behind it, such as a window of a document: no end is taught."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One example, raw: one text, two texts, or one picture (a path, the file's bytes, or a PIL image)."""

    inputs: tuple[Any, ...]
    targets: Mapping[str, Any]  # by task; an empty cell is None; labels are a tuple of str, objects one of Box
    where: Where


def with_answer(row: Row, task: str) -> tuple[Any, ...]:
    """A row's inputs with its answer behind them, where it has one, as a model that writes is taught."""
    answer = row.targets.get(task)
    if answer is None:
        return row.inputs
    return (*row.inputs, answer, GOES_ON) if isinstance(answer, GoesOn) else (*row.inputs, answer)


class Rows(Protocol):
    """A sequence of rows that are read when touched, so that a million of them need little memory."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Row: ...
    def __iter__(self) -> Iterator[Row]: ...
    def take(self, indices: Sequence[int]) -> Rows:
        """The rows at `indices`, in that order, still read when touched."""
        ...

    def column(self, name: str) -> list[Any]:
        """One column of the source for every row, also of a column that is neither input nor target."""
        ...


@dataclass(frozen=True)
class Target:
    """What a data set asks, as plain data: a name, what kind of answer, and its labels.

    `column` is where it is read from, if that has another name; `weight` is what its loss counts beside others'.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...] = ()
    column: str = ""
    weight: float = 1.0
    free: bool = False  # of texts to write: plain text, where nothing is asked and only its likelihood counts


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was set aside: never dropped in silence, always listed."""

    where: Where
    reason: str
    content: str = ""


@dataclass(frozen=True)
class Finding:
    """Something the user should know, with the evidence and what to do about it.

    `code` is kebab-case and stable ("duplicate-across-splits"); `evidence` is plain JSON.
    """

    severity: Literal["info", "warning", "error"]
    code: str
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""


@dataclass(frozen=True)
class Joined:
    """One of several sources that were joined: its name, its input columns, and the targets its rows have."""

    name: str
    columns: tuple[str, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A labelled data set, read, checked and split.

    With several targets a row may lack some of them (None), but never all. Of several sources `joined` tells which;
    their rows follow each other.
    """

    name: str
    modality: Modality
    columns: tuple[str, ...]  # those that are the input
    targets: tuple[Target, ...]
    splits: Mapping[Split, Rows]
    notes: tuple[str, ...] = ()  # every inference made while reading, to be said aloud
    findings: tuple[Finding, ...] = ()
    quarantine: tuple[BadRow, ...] = ()
    joined: tuple[Joined, ...] = ()
    sampling: str | None = None  # how often each task is seen, where the source says so
    apart: Rows | None = None  # training rows set apart to calibrate prediction sets, which serve nothing else


@dataclass(frozen=True)
class Table:
    """Rows and what is asked of them."""

    rows: Rows
    tasks: Mapping[str, Task]


# ---------------------------------------------------------------- models


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
    width: int
    summary: Callable[[Tensors], Tensor]  # live values behind any stage -> (rows, width there), float32
    recipe: Mapping[str, Any]  # plain JSON: with the weights, enough to build the model again; has "family"
    card: Card
    prepare: Callable[[Tensors], Tensors] = dict  # adds what is derived, never stored: masks, rotary tables
    augments: bool = False  # whether draws other than 0 differ from it
    limit: int | None = None  # tokens a row at most; what is longer was cut
    together: int = 64  # rows that pass the stages at once where none is trained: fewer where they are large
    lengths: Callable[[Sequence[tuple[Any, ...]]], list[int]] | None = None  # tokens of rows before that
    assets: Mapping[str, bytes] = field(default_factory=dict)  # files a bundle must carry: the tokenizer
    heads: Mapping[str, Callable[..., Head]] = field(default_factory=dict)  # brought along, by kind of task: see there
    above: tuple[Stage, ...] = ()  # of the trunk, behind its last stage: run by each head in a form of its own
    lookup: tuple[str, nn.Embedding] | None = None  # a field of `encode`, and the table whose rows it alone names
    teaches: bool = False  # the answer goes in with the inputs: `encode` is given (*inputs, answer) where it is known
    packs: bool = False  # whether several rows may stand in one line: see tools/packing.py
    windows: Callable[[str], Sequence[tuple[int, int]]] | None = None  # a text to spans of characters, a row each
    untie: Callable[[int], Model] | None = None  # the same with weights tied across a cut made two: see models/tied.py

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

    `texts` gives the raw inputs of the training rows, for models that learn their vocabulary from them.
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
    languages: tuple[str, ...] = ()  # of the input and of the answer, where a model wants to be told


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


# ---------------------------------------------------------------- plans


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
    loss: Literal["heads", "pairs"] = "heads"  # pairs: of pooled rows, by whether they have one class; no head is used
    epochs: int = 1
    batch: int = 32  # rows of each task in a step
    decay: float = 0.0  # weight decay (adamw, sgd)
    penalty: float = 0.0  # of the squared distance of the stages' weights to where they started, instead of decay
    strength: float | None = None  # of the probe's L2 penalty; None: by cross-validation
    shrink: float = 1.0  # what the probe's optimum is multiplied by, so that stages trained next have work to do
    warmup: float = 0.1  # share of the steps
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    clip: float | None = 1.0
    norm: Literal["frozen", "trained"] = "frozen"  # statistics of BatchNorm
    dropout: bool = True
    soup: int = 0  # so many of the best epochs may go into a mean of weights, as validation likes; 0: the best alone
    patience: int | None = None  # epochs without a better validation score before stopping; None: never
    average: float | None = None  # what the weights' running average keeps of itself at a step: that is judged and kept
    plain: int = 0  # epochs at the end without augmentation


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


@dataclass(frozen=True)
class Plan:
    """How a model is trained: a strategy is data, not a subclass. Printable, hashable, resumable."""

    strategy: str
    phases: tuple[Phase, ...] = ()
    views: int = 1  # augmented views of a row; 1 is the plain view alone, 0 a fresh one every epoch
    seed: int = 0
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


# ---------------------------------------------------------------- numbers


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, how many rows it rests on, and how it was made."""

    value: float
    low: float
    high: float
    n: int
    method: str


@dataclass(frozen=True)
class Verdict:
    """Did it help, compared with `against`, on the same rows? `difference` is signed so that positive is better."""

    outcome: Literal["helped", "hurt", "inconclusive"]
    against: str
    metric: str
    difference: Estimate
    p: float | None = None  # two-sided, that there is no difference; None where it was not tested
    test: str = ""  # how it was tested
    p_adjusted: float | None = None  # for the number of comparisons (Holm)
    comparisons: int = 1


@dataclass(frozen=True)
class Cost:
    """What a candidate took."""

    seconds: float
    peak_memory_bytes: int
    trained_parameters: int
    total_parameters: int
    phases: tuple[tuple[str, float], ...] = ()  # (what, seconds)
    flops: float | None = None
