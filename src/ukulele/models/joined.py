"""A trunk whose pooled vector is put together from the summaries of several stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ukulele.types import Field, Model, Stage, Tensors

KEPT = "kept"  # the live tensor that collects them on the way
Columns = Mapping[str, Sequence[int]]  # by stage, those of its summary that are kept


class Keeping(nn.Module):
    """A stage that adds columns of its summary to what those below it kept; the last one ends in them alone."""

    columns: Tensor

    def __init__(
        self, module: nn.Module, summary: Callable[[Tensors], Tensor], columns: Sequence[int], last: bool
    ) -> None:
        super().__init__()
        self.module, self._summary, self._last = module, summary, last
        self.register_buffer("columns", torch.tensor(list(columns), dtype=torch.long), persistent=False)

    def forward(self, live: Tensors) -> Tensors:
        found: Tensors = self.module({name: value for name, value in live.items() if name != KEPT})
        parts = [live[KEPT]] if KEPT in live else []
        if len(self.columns):
            parts.append(self._summary(found)[:, self.columns])
        if self._last:
            return {"pooled": torch.cat(parts, 1)}
        return {**found, KEPT: torch.cat(parts, 1)} if parts else found


def joined(model: Model, columns: Columns) -> Model:
    """The model with those columns of its stages' summaries, one behind the other, as `pooled`.

    The stages hold the very same modules; a stage hands on what those below it kept, so it can be cut anywhere.
    """
    stages: list[Stage] = []
    kept = False
    for number, stage in enumerate(model.stages):
        mine, last = columns.get(stage.name, ()), number == len(model.stages) - 1
        kept = kept or bool(mine)
        live = {"pooled": Field()} if last else {**stage.live, KEPT: Field()} if kept else stage.live
        stages.append(Stage(stage.name, Keeping(stage.module, model.summary, mine, last), live))
    order = [[stage.name, list(columns[stage.name])] for stage in model.stages if columns.get(stage.name)]
    return replace(
        model,
        stages=tuple(stages),
        width=sum(len(some) for _, some in order),
        recipe={**model.recipe, "gather": order},
        classifier=None,
        answers=None,
    )
