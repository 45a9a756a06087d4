"""Boxes and their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ukulele.errors import DataError, ModelError, PlanError
from ukulele.tasks import resampled
from ukulele.tasks.averaged import at_confidence, average
from ukulele.tasks.decoding import Suppression
from ukulele.tasks.found import BLIND, Doubt, particulars, suspects, worst
from ukulele.tasks.matching import Ranked, match, rows
from ukulele.types import Field, Head, Metric, Model, Tensors

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Detect:
    """Where objects of the classes `labels` are in a picture.

    True values are tuples of Box. Raw and final answers are arrays (n, 6) for each picture: left, top, right, bottom
    in its pixels, score, class. All that scores at least .001 is there; `decoding.confidence` says what is shown.
    """

    kind: ClassVar[str] = "detect"
    fields: ClassVar[Mapping[str, Field]] = {"boxes": Field("box"), "classes": Field("box")}

    name: str
    labels: tuple[str, ...]
    metric: str = "map50_95"
    decoding: Suppression = field(default_factory=Suppression)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Mean average precision as COCO has it, and precision, recall and F1 at the confidence that was chosen."""
        count, confidence = len(self.labels), self.decoding.confidence
        values: dict[str, resampled.Values] = {
            "map50_95": partial(average, count, slice(None)),
            "map50": partial(average, count, slice(0, 1)),
            "map75": partial(average, count, slice(5, 6)),
            "precision": partial(at_confidence, count, confidence, 0),
            "recall": partial(at_confidence, count, confidence, 1),
            "f1": partial(at_confidence, count, confidence, 2),
        }
        if self.metric not in values:
            raise PlanError(
                f"unknown metric {self.metric!r} for this kind of target.", hint=f"Choose one of: {', '.join(values)}."
            )
        names = [self.metric, *(name for name in values if name != self.metric)]
        many = {name: partial(resampled.known, values[name]) for name in names}
        return tuple(Metric(name, partial(_one, many[name]), many=many[name]) for name in names)

    def target(self, value: Any) -> Tensors:
        """Corners in pixels of the upright picture, (n, 4), and numbers of classes (n,), of the boxes that count."""
        import torch

        taught = [box for box in value or () if box.counted]
        corners = torch.tensor([box[1:5] for box in taught], dtype=torch.float32).reshape(-1, 4)
        return {"boxes": corners, "classes": torch.tensor([self._number(box.label) for box in taught]).long()}

    def head(self, model: Model) -> Head:
        """The head that the model brings, rebuilt for these classes.

        Raises
        ------
        ModelError
            If the model is no detector.
        """
        if self.kind not in model.heads:
            raise ModelError(
                f"{model.name} is no detector; the data are pictures with boxes.",
                hint="Name one, such as --model yolox-s, or a file of its weights.",
            )
        return model.heads[self.kind](self.labels)

    def decode(self, raw: Sequence[Any]) -> list[Floats]:
        """The detections as they are: scores below the confidence count in the metrics, too."""
        return [_detections(found) for found in raw]

    def tuned(self, raw: Sequence[Any], values: Sequence[Any]) -> Detect:
        """With the confidence that has the best F1 on these pictures, at an overlap of one half."""
        table = self.table(self.decode(raw), values)
        return replace(self, decoding=replace(self.decoding, confidence=_best(table, len(self.labels))))

    def table(self, answers: Sequence[Any], values: Sequence[Any]) -> Floats:
        """Row statistics: what each picture has to find, and its detections matched; ranks are among these pictures."""
        matched = [
            None if value is None else match(found, value, self.labels)
            for found, value in zip(self.decode(answers), values, strict=True)
        ]
        return rows(matched, len(self.labels), self.decoding.confidence)

    def plain(self, answers: Sequence[Any]) -> list[dict[str, Any]]:
        """Final answers as plain data for people: the boxes that reach the confidence, the surest first."""
        return [
            {
                "boxes": [
                    {"label": self.labels[int(line[5])], "score": float(line[4]), "box": [float(v) for v in line[:4]]}
                    for line in found[np.argsort(-found[:, 4], kind="stable")]
                    if line[4] >= self.decoding.confidence
                ]
            }
            for found in self.decode(answers)
        ]

    def details(self, table: Floats) -> dict[str, Any]:
        """What a report shows, as plain JSON: figures of each class and size, and curves."""
        return particulars(Ranked(table, len(self.labels)), self.labels, self.decoding.confidence)

    def worst(self, answers: Sequence[Any], values: Sequence[Any], limit: int) -> list[dict[str, Any]]:
        """The pictures with most mistakes at the confidence, as plain JSON."""
        shown = [found[found[:, 4] >= self.decoding.confidence] for found in self.decode(answers)]
        return worst(shown, values, self.labels, limit)

    def seen(self, answer: Any, confidence: float) -> Any:
        """Of a raw answer what `suspects` looks at: where anything is seen at all."""
        found = np.asarray(answer).reshape(-1, 6)
        return found[found[:, 4] >= min(BLIND, confidence)]

    def suspects(self, answers: Sequence[Any], values: Sequence[Any], confidence: float) -> list[Doubt]:
        """Likely faults of the labels, the surest first."""
        return suspects((_detections(found) for found in answers), values, self.labels, confidence)

    def _number(self, label: str) -> int:
        if label not in self.labels:
            raise DataError(
                f"target {self.name!r} has the class {label!r}, which is not one of the {len(self.labels)} it was "
                "trained on.",
                hint=f"The classes are: {', '.join(self.labels[:20])}.",
            )
        return self.labels.index(label)


# ---------------------------------------------------------------- metrics


def _detections(raw: Any) -> Floats:
    return np.asarray(raw, np.float64).reshape(-1, 6)


def _one(values: resampled.Values, table: Floats, counts: Floats) -> float:
    """A figure of one draw."""
    return float(values(table, counts[None])[0])


def _best(table: Floats, classes: int) -> float:
    """The confidence with the best F1, half-way between two scores; .25 where nothing is found."""
    found = Ranked(table[~np.isnan(table[:, 0])], classes)
    order = np.argsort(-found.score, kind="stable")
    right, wrong = (np.cumsum(side[order, 0]) for side in found.sides(0))
    if not len(order) or not right[-1]:
        return 0.25
    f1 = 2 * right / (right + wrong + found.wanted[:, 0].sum())
    scores = found.score[order]
    f1[:-1][scores[:-1] == scores[1:]] = -1.0  # equal scores go together
    best = int(f1.argmax())
    below = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float((scores[best] + below) / 2)
