"""Any number of labels a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ukulele.tasks.classify import unknown_label
from ukulele.tasks.decoding import Thresholds, fit_label_temperature, fit_thresholds, sigmoid
from ukulele.tasks.metrics import multilabel
from ukulele.types import Field, Head, Metric, Model, Tensors


@dataclass(frozen=True)
class MultiLabel:
    """Which of `labels` a row has, none or several of them.

    True values are tuples of str. Raw answers are logits (n, labels), final ones probabilities (n, labels);
    `chosen` says which labels are given; those in `unseen`, which no training row had, never are.
    """

    kind: ClassVar[str] = "multilabel"
    fields: ClassVar[Mapping[str, Field]] = {"labels": Field()}

    name: str
    labels: tuple[str, ...]
    metric: str = "micro_f1"
    decoding: Thresholds = field(default_factory=Thresholds)
    unseen: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Micro-F1, macro-F1, subset accuracy, log-loss, ROC-AUC and calibration error."""
        return multilabel(len(self.labels), self.metric)

    def target(self, value: Any) -> Tensors:
        """1 for each label the row has, else 0, as "labels"; all NaN where the target is missing."""
        import torch

        return {"labels": torch.from_numpy(self._marks([value])[0].astype(np.float32))}

    def head(self, model: Model) -> Head:
        """A linear head with binary cross-entropy."""
        from ukulele.tasks.heads import BinaryCrossEntropy, make_head

        return make_head(model, self.kind, len(self.labels), BinaryCrossEntropy())

    def decode(self, raw: Sequence[Any]) -> list[NDArray[np.float64]]:
        """Probabilities at the tuned temperature."""
        return list(sigmoid(self._rows(raw) / self.decoding.value))

    def chosen(self, answers: Sequence[Any]) -> NDArray[np.bool_]:
        """Whether each label (n, labels) is given, by the thresholds."""
        return np.asarray(self._rows(answers) >= np.asarray(self.decoding.values or 0.5)) & self._seen

    def tuned(self, raw: Sequence[Any], values: Sequence[Any]) -> MultiLabel:
        """With the temperature that has the least log-loss on these rows, and the thresholds that the deciding metric
        likes best at it.
        """
        truth = self._marks(values)
        known = ~np.isnan(truth[:, 0])
        logits, marks = self._rows(raw)[known], truth[known] > 0
        temperature = fit_label_temperature(logits, marks).value
        p = np.where(self._seen, sigmoid(logits / temperature), 0.0)
        return replace(self, decoding=replace(fit_thresholds(p, marks, self.metric), value=temperature))

    def table(self, answers: Sequence[Any], values: Sequence[Any]) -> NDArray[np.float64]:
        """Row statistics: mean log-loss, then the true labels, those given, and the probabilities."""
        eps = np.finfo(np.float64).eps
        truth, probabilities = self._marks(values), self._rows(answers)
        p = np.clip(probabilities, eps, 1 - eps)
        losses = -(truth * np.log(p) + (1 - truth) * np.log1p(-p)).mean(1, keepdims=True)
        return np.concatenate([losses, truth, self.chosen(answers), probabilities], 1)

    def plain(self, answers: Sequence[Any]) -> list[dict[str, Any]]:
        """Final answers as plain data for people: the labels given, and all probabilities."""
        return [
            {
                "labels": [label for label, yes in zip(self.labels, given, strict=True) if yes],
                "probabilities": dict(zip(self.labels, row.tolist(), strict=True)),
            }
            for row, given in zip(self._rows(answers), self.chosen(answers), strict=True)
        ]

    @cached_property
    def _numbering(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.labels)}

    @cached_property
    def _seen(self) -> NDArray[np.bool_]:
        return np.array([label not in self.unseen for label in self.labels])

    def _marks(self, values: Sequence[Any]) -> NDArray[np.float64]:
        marks = np.zeros((len(values), len(self.labels)))
        for row, value in enumerate(values):
            if value is None:
                marks[row] = np.nan
                continue
            for label in value:
                if label not in self._numbering:
                    raise unknown_label(self.name, label, self.labels)
                marks[row, self._numbering[label]] = 1
        return marks

    def _rows(self, answers: Sequence[Any]) -> NDArray[np.float64]:
        return np.asarray(answers, np.float64).reshape(-1, len(self.labels))
