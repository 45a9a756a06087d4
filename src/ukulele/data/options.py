"""What the user may say about a data set; all that is left open is inferred."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """A task by name: the columns that answer it (several 0/1 columns are one task; none: inferred), and its weight."""

    name: str
    columns: tuple[str, ...] = ()
    weight: float = 1.0


@dataclass(frozen=True)
class ReadOptions:
    """How to read a data set. Empty and None mean: infer it, and say so.

    `validation` and `test` are shares of the rows, used where the data come without that split.
    """

    target: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    task: str | None = None  # "classify", "multilabel" or "regress"
    group: str | None = None  # rows of one group stay on one side
    time: str | None = None  # past rows train, future rows test
    split: str | None = None  # column of split names; None: "split" if there is one
    max_bad: float = 0.05
    validation: float = 0.1
    test: float = 0.2
    seed: int = 0
    examples: int = 5  # places that a finding shows
    calibrate: str | None = None  # training rows set apart for prediction sets: how many, or "auto"
    asked: tuple[Asked, ...] = ()  # the tasks of one of several sources; empty: those that `target` names
