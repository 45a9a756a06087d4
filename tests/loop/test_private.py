"""Stages of a task's own: copies that go their own ways, fed with their task's rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ukulele.errors import PlanError
from ukulele.loop.private import Private, labelled, shared, tops, with_tops
from ukulele.types import Group, Phase, Plan

PLAN = Plan("x", (Phase((Group("head.*", 0.01), Group("block0.*", 0.01)), batch=12, epochs=2),), seed=1)


def private_kit(bert: Any, make_joint_kit: Any) -> Any:
    kit = make_joint_kit(bert(), PLAN)
    whole = kit.model
    kit.heads = with_tops(whole, 1, kit.heads)
    kit.model = shared(whole, 1)
    kit.feed.model, kit.feed.heads, kit.feed.trunk = kit.model, kit.heads, whole
    return kit


def test_before_training_it_is_the_same_function(bert: Any, make_joint_kit: Any) -> None:
    plain, split = make_joint_kit(bert(), PLAN), private_kit(bert, make_joint_kit)
    for kit in (plain, split):
        kit.feed.fit_heads(0, kit.heads)
    expected, losses = plain.feed.answers("validation", 1)
    found, same = split.feed.answers("validation", 1)
    for task in expected:
        torch.testing.assert_close(
            torch.tensor(np.array(found[task])),
            torch.tensor(np.array(expected[task])),
            rtol=1e-4,
            atol=1e-4,
            check_dtype=False,
        )
        assert same[task] == pytest.approx(losses[task], rel=1e-4)


def test_each_copy_is_trained_by_its_own_task(bert: Any, make_joint_kit: Any) -> None:
    kit = private_kit(bert, make_joint_kit)
    before = kit.state()
    kit.train()
    after = kit.state()
    tensors = {name: value for name, value in after.items() if name.startswith("head.") and "stages" in name}
    assert {name.split(".")[1] for name in tensors} == {"mood", "marks", "type"}
    weight = "stages.0.layer.output.dense.weight"
    copies = [after[f"head.{task}.{weight}"] for task in kit.heads]
    assert not torch.equal(copies[0], copies[1])
    assert not torch.equal(copies[1], copies[2])
    assert all(not torch.equal(after[f"head.{t}.{weight}"], before[f"head.{t}.{weight}"]) for t in kit.heads)


def test_a_batch_without_its_rows_has_a_loss_of_nothing_and_no_gradient(bert: Any, make_joint_kit: Any) -> None:
    kit = private_kit(bert, make_joint_kit)
    head = kit.heads["type"]
    assert isinstance(head, Private)
    (piece,) = kit.feed.part(1, 0, [0, 1, 4])  # rows that have no number
    loss = head.loss(kit.model.run(piece.live, 1), piece.targets["type"])
    assert float(loss.sums.detach().sum()) == 0
    assert int(loss.counts.sum()) == 0
    loss.sums.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in head.parameters())


def test_who_has_a_target() -> None:
    assert labelled({"label": torch.tensor([1, -1])}).tolist() == [True, False]
    assert labelled({"value": torch.tensor([0.5, float("nan")])}).tolist() == [True, False]
    assert labelled({"labels": torch.tensor([[float("nan")] * 2, [0.0, 1.0]])}).tolist() == [False, True]


def test_no_more_than_there_are(bert: Any) -> None:
    model = bert()
    assert [stage.name for stage in shared(model, 1).stages] == ["embed", "block0"]
    assert [stage.name for stage in tops(model, 1)] == ["block1", "pool"]
    with pytest.raises(PlanError, match="--private-stages 3"):
        shared(model, 3)
