"""One class out of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ukulele.errors import DataError
from ukulele.tasks.decoding import Temperature, fit_temperature, softmax
from ukulele.tasks.metrics import classification, dense_ranks
from ukulele.types import Field, Head, Metric, Model, Tensors


@dataclass(frozen=True)
class Classify:
    """Which of `labels` a row has.

    Raw answers are log-probabilities (n, classes), final ones probabilities (n, classes).
    `weights` multiply the loss of a class; `metric` is the one that decides.
    """

    kind: ClassVar[str] = "classify"
    fields: ClassVar[Mapping[str, Field]] = {"label": Field()}

    name: str
    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    metric: str = "accuracy"
    decoding: Temperature = field(default_factory=Temperature)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy, balanced accuracy, macro-F1, log-loss, ROC-AUC and calibration error."""
        return classification(len(self.labels), self.metric)

    def target(self, value: Any) -> Tensors:
        """The number of the class as "label", -1 where it is missing."""
        import torch

        return {"label": torch.tensor(self._number(value))}

    def head(self, model: Model) -> Head:
        """A linear head with cross-entropy."""
        from ukulele.tasks.heads import CrossEntropy, make_head

        return make_head(model, self.kind, len(self.labels), CrossEntropy(self.weights))

    def decode(self, raw: Sequence[Any]) -> list[NDArray[np.float64]]:
        """Probabilities at the tuned temperature."""
        return list(softmax(self._rows(raw), self.decoding.value))

    def tuned(self, raw: Sequence[Any], values: Sequence[Any]) -> Classify:
        """With the temperature that has the least log-loss on these rows."""
        truth = self._numbers(values)
        known = truth >= 0
        return replace(self, decoding=fit_temperature(self._rows(raw)[known], truth[known]))

    def table(self, answers: Sequence[Any], values: Sequence[Any]) -> NDArray[np.float64]:
        """Row statistics: truth, answer, confidence, log-loss, then the rank of the row by the probability of each
        class (of the second alone where there are two). Ranks are among these rows, so make one table of all.
        """
        probabilities, truth = self._rows(answers), self._numbers(values)
        answer = probabilities.argmax(1) if len(truth) else truth
        rows = np.arange(len(truth))
        right = np.clip(probabilities[rows, truth], np.finfo(np.float64).eps, 1)
        ranked = probabilities[:, 1:2] if len(self.labels) == 2 else probabilities
        columns = [truth, answer, probabilities[rows, answer], -np.log(right), *map(dense_ranks, ranked.T)]
        table = np.array(columns, np.float64).T  # a column lies in one piece, as the metrics read it
        table[truth < 0, 0] = np.nan
        return table

    def plain(self, answers: Sequence[Any]) -> list[dict[str, Any]]:
        """Final answers as plain data for people: the label, its probability, and all probabilities."""
        return [
            {
                "label": self.labels[best],
                "probability": row[best],
                "probabilities": dict(zip(self.labels, row, strict=True)),
            }
            for row, best in ((row.tolist(), int(row.argmax())) for row in self._rows(answers))
        ]

    @cached_property
    def _numbering(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.labels)}

    def _number(self, value: Any) -> int:
        if value is None:
            return -1
        number = self._numbering.get(value)
        if number is None:
            raise unknown_label(self.name, value, self.labels)
        return number

    def _numbers(self, values: Sequence[Any]) -> NDArray[np.intp]:
        return np.fromiter(map(self._number, values), np.intp, len(values))

    def _rows(self, answers: Sequence[Any]) -> NDArray[np.float64]:
        return np.asarray(answers, np.float64).reshape(-1, len(self.labels))


def unknown_label(name: str, value: Any, labels: Sequence[str]) -> DataError:
    """The error for a label that the model was not taught."""
    from difflib import get_close_matches

    near = get_close_matches(str(value), labels, n=3) or list(labels[:5])
    return DataError(
        f"target {name!r} has the label {value!r}, which is not one of the {len(labels)} labels it was trained on.",
        hint=f"Did you mean {' or '.join(map(repr, near))}? Otherwise train again with rows of that label.",
    )
