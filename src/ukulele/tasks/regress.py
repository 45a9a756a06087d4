"""A number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ukulele.tasks.decoding import Identity
from ukulele.tasks.metrics import dense_ranks, regression
from ukulele.types import Field, Head, Metric, Model, Tensors


@dataclass(frozen=True)
class Regress:
    """How much. Answers, raw and final, are numbers (n,) in the user's unit.

    `mean` and `scale` are those of the training targets: target tensors and losses are standardised by them.
    """

    kind: ClassVar[str] = "regress"
    fields: ClassVar[Mapping[str, Field]] = {"value": Field()}

    name: str
    mean: float = 0.0
    scale: float = 1.0
    metric: str = "r2"
    decoding: Identity = field(default_factory=Identity)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """R², root mean squared error, mean absolute error, Pearson's and Spearman's correlation."""
        return regression(self.metric)

    def target(self, value: Any) -> Tensors:
        """The standardised number as "value", NaN where it is missing."""
        import torch

        return {"value": torch.tensor((_number(value) - self.mean) / self.scale)}

    def head(self, model: Model) -> Head:
        """A linear head with squared error."""
        from ukulele.tasks.heads import SquaredError, make_head

        return make_head(model, self.kind, 1, SquaredError(self.mean, self.scale))

    def decode(self, raw: Sequence[Any]) -> list[float]:
        """The numbers as they are."""
        return [float(value) for value in raw]

    def tuned(self, raw: Sequence[Any], values: Sequence[Any]) -> Regress:  # noqa: ARG002 - nothing to tune
        """The same task."""
        return self

    def table(self, answers: Sequence[Any], values: Sequence[Any]) -> NDArray[np.float64]:
        """Row statistics: truth, answer, and their ranks among these rows, so make one table of all."""
        truth = np.fromiter(map(_number, values), np.float64, len(values))
        answer = np.asarray(answers, np.float64).reshape(-1)
        return np.array([truth, answer, dense_ranks(truth), dense_ranks(answer)]).T

    def plain(self, answers: Sequence[Any]) -> list[dict[str, Any]]:
        """Final answers as plain data for people: the value."""
        return [{"value": value} for value in self.decode(answers)]


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
