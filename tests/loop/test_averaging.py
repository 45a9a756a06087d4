"""The running average of the weights: what is judged, kept and handed over; and epochs without augmentation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ukulele.events import Saved, Stepped
from ukulele.loop.averaging import Average
from ukulele.loop.parts import Judgement
from ukulele.loop.train import train
from ukulele.types import Group, Phase, Plan

PHASE = Phase((Group("head.*", 0.02), Group("block1.*", 0.01)), batch=8, epochs=3)


def test_an_average_forgets_its_start_and_then_keeps_the_decay() -> None:
    live = {"a": torch.tensor([0.0, 8.0]), "count": torch.tensor(0)}
    average = Average(live, 0.5)
    expected = torch.tensor([0.0, 8.0])
    for step in range(12):
        live["a"].add_(1.0)
        live["count"].add_(1)
        average.update(step)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * live["a"]
    torch.testing.assert_close(average.values["a"], expected)
    assert average.values["count"] == 12


def test_the_values_come_back_to_the_bit_even_after_an_error() -> None:
    live = {"a": torch.tensor([0.1, 0.2])}
    average = Average(live, 0.9)
    live["a"].mul_(3)
    before = live["a"].clone()

    def fail() -> None:
        with average.shown():
            assert torch.equal(live["a"], torch.tensor([0.1, 0.2]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(live["a"], before)


@pytest.mark.parametrize("patience", [None, 3])
def test_the_average_is_judged_and_kept_and_training_goes_on_without_it(
    bert: Any, make_kit: Any, monkeypatch: Any, patience: int | None
) -> None:
    plan = Plan("x", (replace(PHASE, patience=patience, average=0.9),))
    kit, other = make_kit(bert(), plan), make_kit(bert(), Plan("x", (replace(PHASE, patience=patience),)))
    seen, scores = [], iter([0.1, 0.3, 0.2])

    def judge(cut: int) -> Judgement:
        seen.append(kit.state())
        return Judgement({"mood": next(scores)}, {"mood": 1.0})

    monkeypatch.setattr(kit.feed, "judge", judge)
    monkeypatch.setattr(kit.engine, "saves_now", lambda *, ended=False: ended)  # however long an epoch takes
    monkeypatch.setattr(other.feed, "judge", lambda cut: Judgement({"mood": 0.1}, {"mood": 1.0}))
    averages, losses = [], []
    for event in train(kit.model, kit.heads, plan, kit.feed, kit.engine):
        if isinstance(event, Stepped):
            losses.append(event.losses)
        if isinstance(event, Saved) and "average" in event.state:
            averages.append({name: value.clone() for name, value in event.state["average"].items()})
            assert any(not torch.equal(averages[-1][name], value) for name, value in event.state["weights"].items())
    assert losses == [event.losses for event in other.train() if isinstance(event, Stepped)]
    kept = averages[-1] if patience is None else averages[1]
    ends = kit.state()
    assert kept.keys() <= ends.keys()
    assert all(torch.equal(ends[name], value) for name, value in kept.items())
    for state, average in zip(seen, averages, strict=False):
        assert all(torch.equal(state[name], value) for name, value in average.items())


def test_the_last_epochs_see_the_plain_view(network: Any, make_kit: Any) -> None:
    model = replace(network(), augments=True)
    for views, expected in ((0, [1, 2, 3, 0, 0]), (3, [0, 1, 2, 0, 0])):
        feed = make_kit(model, Plan("x", (replace(PHASE, epochs=5, plain=2),), views=views)).feed
        assert [feed.view(epoch) for epoch in range(5)] == expected
