"""Stages that any family can use."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ukulele.types import Tensors


class Norm(nn.Module):
    """The norm behind the last block."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, live: Tensors) -> Tensors:
        return {**live, "x": self.norm(live["x"])}


class Summary(nn.Module):
    """Ends a trunk in `pooled`, wherever it was cut short."""

    def __init__(self, summary: Callable[[Tensors], Tensor]) -> None:
        super().__init__()
        self._summary = summary

    def forward(self, live: Tensors) -> Tensors:
        return {"pooled": self._summary(live)}
