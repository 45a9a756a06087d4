"""A candidate that is taken up again stands on the device, also where nothing is left to train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ukulele import tasks
from ukulele.config import FitOptions
from ukulele.features import Cache
from ukulele.loop.engine import Engine
from ukulele.runs import RunFolder
from ukulele.trial.attempt import attempt
from ukulele.trial.context import Context
from ukulele.types import Adapters, Candidate, Dataset, Group, Phase, Plan, Target

ADAPTED = Plan(
    "y", (Phase((Group("*lora_*", 0.02), Group("head.*", 0.02)), batch=8),), adapters=Adapters("lora", ("block1",))
)
PLAN = Plan("x", (Phase((Group("head.*", 0.02), Group("block1.*", 0.01)), batch=8),))


def test_what_is_above_the_cut_moves_before_its_weights_are_put(
    encoder_folder: Any, mood_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target("mood", "classify", ("bad", "good"))
    splits: Any = {"train": mood_rows(16), "validation": mood_rows(8, 1), "test": mood_rows(4, 2)}
    data = Dataset("moods", "text", ("text",), (target,), splits)
    run = RunFolder.create(tmp_path / "run", {})
    context = Context(
        FitOptions(), data, {"mood": tasks.make(target)}, Cache(tmp_path / "cache"), Engine("cpu", "fp32"), "fp32",
        run, lambda event: None,
    )  # fmt: skip
    candidate = Candidate("finetune", str(encoder_folder("bert")), PLAN)
    first = attempt(candidate, context)
    moved: list[nn.Module] = []
    to = nn.Module.to

    def noted(self: nn.Module, *args: Any, **named: Any) -> nn.Module:
        moved.append(self)
        return to(self, *args, **named)

    monkeypatch.setattr(nn.Module, "to", noted)
    again = attempt(candidate, context)
    merged = attempt(Candidate("lora", str(encoder_folder("bert")), ADAPTED), context)
    run.close()
    assert all(any(stage.module is one for one in moved) for stage in merged.model.stages[merged.cut :])
    above = [stage.module for stage in again.model.stages[again.cut :]]
    assert len(above) == 2
    assert all(any(module is one for one in moved) for module in above)
    assert torch.equal(above[0].state_dict()["layer.output.dense.weight"], _weight(first))


def _weight(outcome: Any) -> torch.Tensor:
    found: torch.Tensor = outcome.model.stages[outcome.cut].module.state_dict()["layer.output.dense.weight"]
    return found
