"""What tests of the balancers have in common: the names, and a small training that can stop and go on."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ukulele.balance import NAMES, Balancer, make, promises
from ukulele.balance.jacobians import METHODS as SUPPLIED

TASKS = ("mood", "topic", "tone")
absent = pytest.mark.skipif(find_spec("torchjd") is None, reason="torchjd, of the extra `multitask`, is not installed")


def params(names: Sequence[str]) -> list[Any]:
    """The names as parameters, those of torchjd skipped where it is missing."""
    return [pytest.param(name, marks=[absent] if name in SUPPLIED else []) for name in names]


EVERY = params(NAMES)
ON_LOSSES = params([name for name in NAMES if promises(name).memory == "one gradient"])
ON_GRADIENTS = params([name for name in NAMES if promises(name).memory == "one gradient a task"])


def direction(balancer: Balancer, jacobian: Tensor, losses: Tensor) -> Tensor:
    """The gradient (n,) that a balancer makes of losses whose gradients are the rows of a Jacobian."""
    if balancer.on == "gradients":
        return balancer.combine(jacobian)
    leaf = losses.clone().requires_grad_()
    (factors,) = torch.autograd.grad(balancer.combine(leaf), leaf)
    return factors @ jacobian


class Training:
    """A shared trunk, a head a task, one optimiser: six steps, two an epoch."""

    def __init__(self, name: str, weights: Mapping[str, float] | None = None) -> None:
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(4, 5), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(5, 1) for _ in TASKS)
        self.model = nn.ModuleList([self.trunk, self.heads])
        self.balancer = make(name, TASKS, weights or {})
        self.optimiser = torch.optim.AdamW([*self.model.parameters(), *self.balancer.parameters()], lr=0.05)
        self.sums = torch.zeros(len(TASKS))

    def run(self, start: int, stop: int, *, rests: bool = True) -> Training:
        for index in range(start, stop):
            if rests and index == 3:
                self.balancer.rest({"tone"})
            self.step(index)
        return self

    def step(self, index: int) -> None:
        torch.manual_seed(100 + index)
        inputs = torch.randn(8, 4)
        wave = (inputs @ torch.tensor([1.0, -2.0, 0.5, 1.0])).sin()
        targets = torch.stack([wave, -2 * wave, inputs[:, 0] ** 2 - wave], 1)
        losses = self.losses(inputs, targets, index)
        self.optimiser.zero_grad()
        if self.balancer.on == "losses":
            self.balancer.combine(losses).backward()
        else:
            self.descend(losses)
        self.optimiser.step()
        if self.balancer.wants_after:
            with torch.no_grad():
                self.balancer.after(self.losses(inputs, targets, index))
        self.sums += losses.detach()
        if index % 2:
            self.balancer.epoch_done(self.sums / 2)
            self.sums = torch.zeros(len(TASKS))

    def losses(self, inputs: Tensor, targets: Tensor, index: int) -> Tensor:
        """The first batch of the second epoch has no label of "topic"."""
        answers = torch.cat([head(self.trunk(inputs)) for head in self.heads], 1)
        present = torch.tensor([1.0, float(index != 2), 1.0])
        return ((answers - targets) ** 2).mean(0) * present

    def descend(self, losses: Tensor) -> None:
        shared = list(self.trunk.parameters())
        rows = []
        for loss, head in zip(losses, self.heads, strict=True):
            found = torch.autograd.grad(loss, [*shared, *head.parameters()], retain_graph=True)
            rows.append(torch.cat([part.flatten() for part in found[: len(shared)]]))
            for parameter, part in zip(head.parameters(), found[len(shared) :], strict=True):
                parameter.grad = part
        gradient = self.balancer.combine(torch.stack(rows))
        for parameter, part in zip(shared, gradient.split([p.numel() for p in shared]), strict=True):
            parameter.grad = part.view_as(parameter)

    def state(self) -> dict[str, Any]:
        own = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "sums": self.sums}
        return {**copy.deepcopy(own), "balancer": self.balancer.state()}

    def restore(self, state: Mapping[str, Any], *, balancer: bool = True) -> Training:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))  # it takes the tensors themselves
        self.sums = state["sums"].clone()
        if balancer:
            self.balancer.restore(state["balancer"])
        return self

    def values(self) -> list[Tensor]:
        """All that was trained."""
        return [p.detach().clone() for p in [*self.model.parameters(), *self.balancer.parameters()]]
