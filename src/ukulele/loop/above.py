"""What is trained, as one module: the stages above the cut and the heads, from rows to losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn

from ukulele.loop.contrast import LOSSES
from ukulele.loop.parts import Part, Piece
from ukulele.tools.collate import widen
from ukulele.types import Head, Loss, Model, Tensors, fold


class Above(nn.Module):
    """All that is trained and nothing else: frozen stages are not in it. One forward for DDP to wrap."""

    def __init__(self, model: Model, heads: Mapping[str, Head], cut: int, loss: str = "heads") -> None:
        super().__init__()
        self._loss = loss
        self.stages = nn.ModuleList(stage.module for stage in model.stages[cut:])
        self.heads = nn.ModuleList(head for head in heads.values() if isinstance(head, nn.Module))
        self._tasks, self._prepare = tuple(heads), model.prepare

    def forward(self, part: Part) -> dict[str, Loss]:
        """Every task's loss, row by row; that of pairs is one number."""
        if self._loss != "heads":
            return self._among(part)
        found = [self._losses(piece) for piece in part]
        if len(found) == 1:
            return found[0]
        return {task: joined([losses[task] for losses in found]) for task in self._tasks}

    def _among(self, part: Part) -> dict[str, Loss]:
        vectors = torch.cat([self._live(piece)["pooled"] for piece in part])
        labels = {task: torch.cat([piece.targets[task]["label"] for piece in part]) for task in self._tasks}
        return {task: LOSSES[self._loss](vectors, label) for task, label in labels.items()}

    def _live(self, piece: Piece) -> Tensors:
        return fold(self._prepare, list(self.stages), widen(piece.live))

    def _losses(self, piece: Piece) -> dict[str, Loss]:
        live = self._live(piece)
        pairs = zip(self._tasks, self.heads, strict=True)
        return {task: cast(Head, head).loss(live, piece.targets[task]) for task, head in pairs}

    @property
    def tasks(self) -> tuple[str, ...]:
        """Their names."""
        return self._tasks


def joined(losses: Sequence[Loss]) -> Loss:
    """The losses of several pieces as one: sums and counts go on being added up, so no piece weighs too much."""
    return Loss(torch.cat([loss.sums for loss in losses]), torch.cat([loss.counts for loss in losses]))
