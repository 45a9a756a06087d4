"""Heads: one linear layer on what the trunk leaves, and a criterion that says what its outputs mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, embedding_bag

from ukulele.types import Head, Loss, Model, Tensors


class Criterion(Protocol):
    """What the outputs (n, k) of a linear head mean: the loss against targets, and the raw answers."""

    def loss(self, outputs: Tensor, target: Tensors) -> Loss:
        """The loss of each row."""
        ...

    def raw(self, outputs: Tensor) -> list[Any]:
        """One raw answer a row."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """One class out of several; `weights` by class multiply the loss. A label of -1 counts for nothing."""

    weights: tuple[float, ...] | None = None

    def loss(self, outputs: Tensor, target: Tensors) -> Loss:
        """Cross-entropy."""
        label = target["label"]
        weights = None if self.weights is None else outputs.new_tensor(self.weights)
        sums = cross_entropy(outputs, label, weights, ignore_index=-1, reduction="none")
        return Loss(sums, (label >= 0).long())

    def raw(self, outputs: Tensor) -> list[Any]:
        """Log-probabilities."""
        return list(_numpy(outputs.log_softmax(-1)))


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """Several labels, each by itself; a row's loss is the mean of its labels'. NaN counts for nothing."""

    def loss(self, outputs: Tensor, target: Tensors) -> Loss:
        """Binary cross-entropy, the mean over labels."""
        labels = target["labels"]
        known = ~labels[:, 0].isnan()
        sums = binary_cross_entropy_with_logits(outputs, labels.nan_to_num(), reduction="none").mean(1)
        return Loss(sums * known, known.long())

    def raw(self, outputs: Tensor) -> list[Any]:
        """Logits."""
        return list(_numpy(outputs))


@dataclass(frozen=True)
class SquaredError:
    """A number. The outputs and targets are standardised; raw answers are in the user's unit again."""

    mean: float
    scale: float

    def loss(self, outputs: Tensor, target: Tensors) -> Loss:
        """Squared error in standard deviations of the training targets."""
        value = target["value"]
        known = ~value.isnan()
        return Loss((outputs[:, 0] - value.nan_to_num()).square() * known, known.long())

    def raw(self, outputs: Tensor) -> list[Any]:
        """Numbers in the user's unit."""
        return (outputs[:, 0].double() * self.scale + self.mean).tolist()


class Linear(nn.Module):
    """A linear layer on the pooled vector, in float32 whatever the trunk runs in. Starts at zero."""

    def __init__(self, width: int, outputs: int, criterion: Criterion) -> None:
        super().__init__()
        self.width, self.criterion = width, criterion
        self.linear = _zero(width, outputs)

    def forward(self, live: Tensors) -> Tensor:
        """Outputs (n, k)."""
        pooled = live["pooled"]
        with torch.autocast(pooled.device.type, enabled=False):
            outputs: Tensor = self.linear(pooled.float())
        return outputs

    def loss(self, live: Tensors, target: Tensors) -> Loss:
        """The loss of each row."""
        return self.criterion.loss(self(live), target)

    def predict(self, live: Tensors, decoding: Any) -> list[Any]:  # noqa: ARG002 - decoding needs no network here
        """Raw answers on the CPU, one a row."""
        return self.criterion.raw(self(live))


class SparseLinear(nn.Module):
    """A linear layer on ragged sparse rows: "index" and "value" along the axis "term". Starts at zero."""

    def __init__(self, width: int, outputs: int, criterion: Criterion) -> None:
        super().__init__()
        self.width, self.criterion = width, criterion
        self.linear = _zero(width, outputs)

    def forward(self, live: Tensors) -> Tensor:
        """Outputs (n, k). Padding has the value 0 and so adds nothing."""
        index, value = live["index"], live["value"]
        with torch.autocast(value.device.type, enabled=False):
            table = self.linear.weight.t().contiguous()
            return embedding_bag(index, table, mode="sum", per_sample_weights=value.float()) + self.linear.bias

    def loss(self, live: Tensors, target: Tensors) -> Loss:
        """The loss of each row."""
        return self.criterion.loss(self(live), target)

    def predict(self, live: Tensors, decoding: Any) -> list[Any]:  # noqa: ARG002 - decoding needs no network here
        """Raw answers on the CPU, one a row."""
        return self.criterion.raw(self(live))


def make_head(model: Model, kind: str, outputs: int, criterion: Criterion) -> Head:
    """The head the model brings for this kind of task, else a linear one that fits what the trunk leaves."""
    if kind in model.heads:
        return model.heads[kind](outputs)
    sparse = "index" in model.live(len(model.stages))
    return (SparseLinear if sparse else Linear)(model.width, outputs, criterion)


def _zero(width: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(width, outputs, device="meta").to_empty(device="cpu")  # draws no random numbers
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _numpy(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.detach().float().cpu().numpy())
