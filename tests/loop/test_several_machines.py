"""What several processes must see alike, and what moves with a device: each with one that stands in for others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from ukulele.events import Stepped
from ukulele.loop import soup
from ukulele.loop.descent import descend
from ukulele.loop.engine import Engine
from ukulele.loop.phase import start_phase
from ukulele.loop.relative import shares
from ukulele.loop.train import train
from ukulele.types import Group, Phase, Plan


class Half(Engine):
    """One of two processes."""

    def __init__(self) -> None:
        super().__init__("cpu", "fp32")

    def share(self, numbers: Sequence[int]) -> Sequence[int]:
        """Every other row."""
        return numbers[::2]


@pytest.mark.parametrize(("loss", "whole"), [("pairs", True), ("heads", False)])
def test_a_loss_of_pairs_sees_all_rows_of_a_step(bert: Any, make_kit: Any, loss: Any, whole: bool) -> None:
    kit = make_kit(bert(), Plan("x", (Phase((Group("block1.*", 0.01), Group("head.*", 0.01)), loss=loss, batch=8),)))
    seen, part = list[int](), kit.feed.part

    def noted(cut: int, epoch: int, numbers: Sequence[int]) -> Any:
        seen.append(len(numbers))
        return part(cut, epoch, numbers)

    kit.feed.part = noted
    rows = [
        event.rows for event in train(kit.model, kit.heads, kit.plan, kit.feed, Half()) if isinstance(event, Stepped)
    ]
    assert len(rows) == 3
    assert seen == [count if whole else (count + 1) // 2 for count in rows]


def test_what_a_balancer_draws_is_made_one_gradient_of_all_processes(bert: Any, make_joint_kit: Any) -> None:
    class Agreed(Engine):
        """As if the others had drawn something else."""

        def average(self, gradient: Tensor) -> Tensor:
            return torch.full_like(gradient, 7.0) if gradient.ndim == 1 and gradient.numel() == size else gradient

    plan = Plan("x", (Phase((Group("block1.*", 0.01), Group("head.*", 0.01)), batch=8),), balance="pcgrad")
    kit = make_joint_kit(bert(), plan)
    engine = Agreed("cpu", "fp32")
    run = start_phase(kit.model, kit.heads, plan, 0, engine)
    size = sum(parameter.numel() for parameter in run.chosen.shared)
    found = run.above(kit.feed.part(run.chosen.cut, 0, kit.feed.steps(0, run.chosen.cut, 0)[0]))
    losses = {task: loss.sums.sum() / loss.counts.sum().clamp(min=1) for task, loss in found.items()}
    descend(losses, run.chosen, run.balancer, engine)
    assert all(bool((parameter.grad == 7).all()) for parameter in run.chosen.shared)


def test_shares_of_the_rate_are_those_of_the_main_process(bert: Any, make_kit: Any) -> None:
    class Told(Engine):
        """Whose main process measured otherwise."""

        def agree(self, value: Any) -> Any:
            return {number: 4.0 / (number + 1) for number in value}

    phase = Phase((Group("head.*", 0.02), Group("block1.*", 0.01)), batch=8, relative=True)
    kit = make_kit(bert(), Plan("x", (phase,)))
    engine = Told("cpu", "fp32")
    run = start_phase(kit.model, kit.heads, kit.plan, 0, engine)
    part = kit.feed.part(run.chosen.cut, 0, list(range(8)))
    assert shares(run, [lambda: {"x": run.above(part)["mood"].sums.sum()}], engine) == {0: 1.0, 1: 0.5}


def test_a_mean_of_weights_takes_those_that_lie_elsewhere() -> None:
    here, there = ({"w": torch.ones(3, device=device)} for device in ("meta", "cpu"))
    assert soup.mean([soup.Kept(1, 0.5, here), soup.Kept(2, 0.5, there)])["w"].device.type == "meta"
