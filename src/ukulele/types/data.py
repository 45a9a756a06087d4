"""Rows, what is asked of them, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


Tensors: TypeAlias = "dict[str, Tensor]"
"""Flat and named: the only structure of tensors that crosses a border."""

Split: TypeAlias = Literal["train", "validation", "test"]
Modality: TypeAlias = Literal["text", "pair", "image"]
Kind: TypeAlias = Literal["classify", "multilabel", "regress", "detect", "translate", "summarise", "generate"]
CALIBRATED: frozenset[str] = frozenset({"classify", "multilabel", "regress"})  # kinds that have prediction sets
WRITTEN: frozenset[str] = frozenset({"translate", "summarise", "generate"})  # kinds whose answer is a text
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Where:
    """The place a row came from: a file, and a line of it (the first is 1) where it has lines."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


class Box(NamedTuple):
    """An object in a picture: its class, and its edges in pixels of the upright picture.

    A crowd is a region that holds several objects nobody drew one by one; one that is `ignored`, such as VOC's
    difficult ones, is a single object that need not be found. Neither is taught nor counted. `area` is that of the
    object's outline in square pixels, by which COCO calls it small, medium or large; None: that of the box.
    """

    label: str
    left: float
    top: float
    right: float
    bottom: float
    crowd: bool = False
    ignored: bool = False
    area: float | None = None

    @property
    def size(self) -> float:
        """In square pixels: by what is known of the outline, else by the edges."""
        return self.area or (self.right - self.left) * (self.bottom - self.top)

    @property
    def counted(self) -> bool:
        """Whether it is taught, and to be found."""
        return not (self.crowd or self.ignored)


class Written(NamedTuple):
    """What a model wrote for a row; and of the reference the loss in nats, its tokens, and the bytes that they spell.

    Where there is no reference, or the model has no loss, `loss` is NaN and the other two are 0. `unread` tokens of the
    row's text were left out, so that there was room for the answer.
    """

    text: str
    loss: float = float("nan")
    tokens: int = 0
    bytes: int = 0
    unread: int = 0


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
    @property
    def groups(self) -> NDArray[np.int64] | None:
        """A number for each row; rows of one number are asked together or not at all. None: each by itself."""
        ...

    @property
    def clusters(self) -> NDArray[np.int64] | None:
        """A number for each row, its group of `--group` alone: such rows are drawn together. None: each by itself."""
        ...

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
