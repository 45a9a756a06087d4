"""An embedding table cut down to the tokens that occur: the same training, with less to carry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ukulele.events import Stepped
from ukulele.loop.train import train
from ukulele.loop.vocabulary import Compact
from ukulele.types import Group, Phase, Plan

TABLE = "embed.embeddings.word_embeddings.weight"


def plan(optimiser: Any = "adamw", decay: float = 0.1, names: str = "*") -> Plan:
    return Plan("x", (Phase((Group(names, 0.01),), batch=8, epochs=2, decay=decay, optimiser=optimiser, clip=1.0),))


def all_tokens(kit: Any) -> None:
    rows = len(kit.model.lookup[1].weight)
    kit.feed.seen = lambda _name: torch.arange(rows)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_training_is_the_same_with_and_without(bert: Any, make_kit: Any, optimiser: Any) -> None:
    small, whole = make_kit(bert(), plan(optimiser)), make_kit(bert(), plan(optimiser))
    all_tokens(whole)
    start = small.state()[TABLE]
    named = small.feed.seen("ids")
    assert len(named) < 0.9 * len(start)
    small.train()
    whole.train()
    found, expected = small.state(), whole.state()
    for name, value in expected.items():
        if optimiser == "adamw" and name.endswith("key.bias"):
            continue  # softmax cancels it, so its gradient is rounding alone, which AdamW blows up to a step
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    others = torch.ones(len(start), dtype=torch.bool)
    others[named] = False
    assert bool((found[TABLE][others].abs() < start[others].abs()).any())  # they decayed
    without = make_kit(bert(), plan(optimiser, decay=0.0))
    without.train()
    assert torch.equal(without.state()[TABLE][others], start[others])


def test_norms_of_weights_are_those_of_the_whole_table(bert: Any, make_kit: Any) -> None:
    phase = Phase((Group("*", 0.01),), batch=8, epochs=1, relative=True)
    kit = make_kit(bert(), Plan("x", (phase,)))
    whole = len(kit.model.lookup[1].weight)
    sizes = {len(kit.model.lookup[1].weight) for _ in train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine)}
    assert sizes == {whole}


def test_while_training_only_the_rows_that_occur_are_carried(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), plan())
    table = kit.model.lookup[1]
    before, named = table.weight, kit.feed.seen("ids")
    sizes = {
        len(table.weight)
        for event in train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine)
        if isinstance(event, Stepped)
    }
    assert sizes == {len(named) + 1}
    assert table.weight is before


def test_a_run_that_is_stopped_leaves_the_whole_table(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), plan())
    table = kit.model.lookup[1]
    rows = len(table.weight)
    events = train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine)
    next(event for event in events if isinstance(event, Stepped))
    assert len(table.weight) < rows
    events.close()
    assert len(table.weight) == rows
    assert not table._forward_pre_hooks


def test_a_frozen_table_is_left_alone(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), plan(names="block1.*"))
    sizes = {len(kit.model.lookup[1].weight) for _ in train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine)}
    assert sizes == {len(kit.state()[TABLE])}


def test_numbers_padding_and_rows_left_out() -> None:
    torch.manual_seed(0)
    table = nn.Embedding(10, 3, padding_idx=4)
    ids = torch.tensor([[2, 4, 7]])
    expected, whole = table(ids).detach(), table.weight.detach().clone()
    compact = Compact(table, torch.tensor([2, 4, 7]))
    assert torch.equal(table(ids), expected)
    table(ids).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.abs().sum(1).tolist() == [3, 0, 3, 0]  # nothing for padding, nor for those left out
    with pytest.raises(IndexError):
        table(torch.tensor([3]))
    with torch.no_grad():
        table.weight[-1] *= 0.5
        table.weight[0] = 1.0
    compact.restore()
    assert table.padding_idx == 4
    assert table.weight[2].tolist() == [1, 1, 1]
    assert torch.equal(table.weight[[4, 7]], whole[[4, 7]])
    assert torch.equal(table.weight[[0, 9]], whole[[0, 9]] * 0.5)


def test_the_gradient_that_stays_is_that_of_the_rows_of_this_step() -> None:
    torch.manual_seed(0)
    table = nn.Embedding(10, 3)
    compact = Compact(table, torch.tensor([2, 4, 7, 8]))
    compact.keep_gradient()
    for rows in ([2, 4, 4], [7], [2, 7]):
        compact.clear()
        table(torch.tensor(rows)).pow(2).sum().backward()
        assert table.weight.grad is not None
        assert len(compact.gradient) == len(set(rows))
        assert torch.allclose(compact.gradient.norm(), table.weight.grad.norm())
    compact.clear()
    assert not len(compact.gradient)
