"""Rates that follow relative gradient norms."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ukulele.events import Said, Stepped
from ukulele.loop.engine import Engine
from ukulele.loop.phase import start_phase
from ukulele.loop.relative import shares
from ukulele.loop.train import train
from ukulele.types import Group, Phase, Plan

PHASE = Phase((Group("head.*", 0.02), Group("block1.*", 0.01), Group("block0.*", 0.01)), batch=8, relative=True)


def begin(kit: Any) -> None:
    """Heads that are not zero, so that gradients reach the stages."""
    with torch.no_grad():
        for head in kit.heads.values():
            head.linear.weight.normal_(generator=torch.Generator().manual_seed(0))


def test_a_share_is_the_relative_gradient_norm_over_the_largest(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), Plan("x", (PHASE,)))
    run = start_phase(kit.model, kit.heads, kit.plan, 0, Engine("cpu", "fp32"))
    begin(kit)
    parts = [kit.feed.part(run.chosen.cut, 0, list(range(at, at + 8))) for at in (0, 8)]

    def loss(part: Any) -> torch.Tensor:
        (found,) = run.above(part).values()
        return found.sums.sum() / found.counts.sum()

    before = kit.state()
    found = shares(run, [lambda part=part: {"x": loss(part)} for part in parts], Engine("cpu", "fp32"))
    assert all(torch.equal(value, kit.state()[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in run.chosen.parameters)
    assert run.above.stages[0].training  # as the phase wants it
    run.above.eval()
    ratios = torch.zeros(3)
    for part in parts:
        slopes = torch.autograd.grad(loss(part), run.chosen.parameters, allow_unused=True)
        for number in range(3):
            mine = {id(p) for group in run.chosen.groups if group["number"] == number for p in group["params"]}
            pairs = [
                (p.detach(), g)
                for p, g in zip(run.chosen.parameters, slopes, strict=True)
                if id(p) in mine and g is not None
            ]
            weight = torch.cat([p.flatten() for p in run.chosen.parameters if id(p) in mine]).norm()
            ratios[number] += torch.cat([g.flatten() for _, g in pairs]).norm() / weight
    assert [found[number] for number in range(3)] == pytest.approx((ratios / ratios.max()).tolist(), rel=1e-4)
    assert max(found.values()) == 1.0
    assert min(found.values()) < 1.0


def test_a_group_of_zeros_has_all_of_its_rate(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), Plan("x", (PHASE,)))
    run = start_phase(kit.model, kit.heads, kit.plan, 0, Engine("cpu", "fp32"))
    head, upper, lower = (
        [p for group in run.chosen.groups if group["number"] == number for p in group["params"]] for number in range(3)
    )
    assert not any(p.detach().any() for p in head)

    def loss() -> dict[str, torch.Tensor]:
        return {"x": sum(p.sum() for p in head) + 2 * sum(p.sum() for p in upper) + sum(p.sum() for p in lower)}

    found = shares(run, [loss], Engine("cpu", "fp32"))
    assert found[0] == found[1] == 1.0
    assert 0 < found[2] < 1


def test_each_group_trains_at_its_share_of_the_rate(bert: Any, make_kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ukulele.loop.train.shares", lambda *_: {0: 0.0, 1: 1.0, 2: 0.0})
    kit = make_kit(bert(), Plan("x", (PHASE,)))
    begin(kit)
    before = kit.state()
    events = list(train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine))
    assert any(isinstance(event, Stepped) for event in events)
    (said,) = [event for event in events if isinstance(event, Said)]
    assert said.text.strip() == "shares of the rate in epoch 1: head 0, block1 1, block0 0"
    touched = {name.split(".")[0] for name, value in kit.state().items() if not torch.equal(value, before[name])}
    assert touched == {"block1"}


def test_where_no_gradient_is_a_number_all_groups_have_the_whole_rate(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), Plan("x", (PHASE,)))
    run = start_phase(kit.model, kit.heads, kit.plan, 0, Engine("cpu", "fp32"))
    weight = run.chosen.parameters[0]
    for factor in (0.0, float("nan")):
        found = shares(run, [lambda f=factor: {"x": (weight * f).sum()}], Engine("cpu", "fp32"))
        assert set(found.values()) == {1.0}
