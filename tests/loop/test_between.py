"""Means of weights: of the best epochs, and between where fine-tuning started and where it ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ukulele.events import Judged, Saved, Souped
from ukulele.loop.between import ALPHAS, Start
from ukulele.loop.soup import Kept, mean
from ukulele.loop.train import train
from ukulele.tools.files import load_tree, save_tree
from ukulele.types import Group, Phase, Plan

HEAD = Group("head.*", 0.02)
TUNE = Phase((HEAD, Group("block1.*", 0.02)), batch=8, epochs=4, patience=9, soup=3)
SOUP = Plan("soup", (Phase((HEAD,), "probe"), TUNE), seed=1)


def run(kit: Any, start: Saved | None = None) -> list[Any]:
    return list(train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine, start))


def test_the_soup_is_the_mean_of_epochs_that_validation_likes(bert: Any, make_kit: Any) -> None:
    kit, seen = make_kit(bert(), SOUP), {}
    for event in train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine):
        if isinstance(event, Judged):
            seen[event.place.epoch - 1] = (event.score, kit.state())
        if isinstance(event, Souped):
            souped = event
    best = sorted(seen, key=lambda epoch: (-seen[epoch][0], epoch))[:3]
    assert set(souped.epochs) <= set(best)
    assert souped.epochs[0] == best[0]
    assert souped.alone == seen[best[0]][0]
    assert souped.score >= souped.alone
    assert kit.feed.judge(3).joint()[1] == souped.score
    for name, value in kit.state().items():
        if value.is_floating_point():
            mean = torch.stack([seen[epoch][1][name] for epoch in souped.epochs]).mean(0)
            torch.testing.assert_close(value, mean, rtol=1e-5, atol=1e-7)


def test_what_makes_it_worse_is_left_out(bert: Any, make_kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mean is judged; only those that are no worse than the one before stay."""
    kit, scores = make_kit(bert(), SOUP), iter([0.2, 0.9, 0.8, 0.7, 0.85, 0.95])  # four epochs, then two means
    real = kit.feed.judge

    def judge(cut: int) -> Any:
        return replace(real(cut), scores={"mood": next(scores)})

    monkeypatch.setattr(kit.feed, "judge", judge)
    souped = next(event for event in run(kit) if isinstance(event, Souped))
    assert souped.epochs == (1, 3)  # the best, not the second (.85 < .9), but the third (.95)
    assert (souped.alone, souped.score) == (0.9, 0.95)


def test_counts_are_not_averaged() -> None:
    kept = [Kept(e, 1.0, {"w": torch.tensor([float(e)]), "n": torch.tensor(e)}) for e in (1, 2)]
    assert mean(kept) == {"w": torch.tensor([1.5]), "n": torch.tensor(1)}


def test_a_run_resumed_from_any_state_ends_with_the_same_soup(bert: Any, make_kit: Any, tmp_path: Path) -> None:
    kit = make_kit(bert(), SOUP, save_every=0.0)
    states = []
    for event in train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine):
        if isinstance(event, Saved):
            states.append((event.place, tmp_path / f"{len(states)}.safetensors"))
            save_tree(states[-1][1], event.state)
        if isinstance(event, Souped):
            expected = event
    for place, file in states[:-1:2] + states[-2:-1]:
        again = make_kit(bert(), SOUP)
        found = [event for event in run(again, Saved(place, load_tree(file))) if isinstance(event, Souped)]
        assert found == [expected], place
        assert all(torch.equal(value, kit.state()[name]) for name, value in again.state().items())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_part_of_the_way_back(bert: Any, make_kit: Any, alpha: float) -> None:
    plan = Plan("x", (Phase((HEAD,), "probe", shrink=0.25), replace(TUNE, soup=0)))
    kit = make_kit(bert(), plan)
    before, start = kit.state(), Start(kit.model, 2, plan, kit.heads)
    for event in train(kit.model, kit.heads, plan, kit.feed, kit.engine):
        start.note(event, kit.heads)
    ended = kit.state()
    start.go(kit.model, kit.heads, alpha, lambda: 0.0)
    probe = make_kit(bert(), Plan("x", (Phase((HEAD,), "probe"),)))
    probe.train()
    for name, value in kit.state().items():
        began = probe.state()[name] if name.startswith("head.") else before[name]
        if value.is_floating_point():
            torch.testing.assert_close(value, began + alpha * (ended[name] - began), rtol=1e-4, atol=1e-6)
    if alpha == 0:  # the probe itself
        assert kit.feed.judge(2).scores == probe.feed.judge(4).scores


def test_the_share_that_validation_likes_best_is_taken(bert: Any, make_kit: Any) -> None:
    plan = Plan("x", (Phase((HEAD,), "probe"), replace(TUNE, soup=0)))
    kit = make_kit(bert(), plan)
    start = Start(kit.model, 2, plan, kit.heads)
    for event in train(kit.model, kit.heads, plan, kit.feed, kit.engine):
        start.note(event, kit.heads)
    scores = iter([0.5, 0.7, 0.6, 0.7, 0.1])
    tried = start.go(kit.model, kit.heads, "auto", lambda: next(scores))
    assert [one["alpha"] for one in tried] == list(ALPHAS)
    assert start.alpha == 0.25  # as near to one half as .75, and found first
    kept = start.plain()
    assert kept["alpha"] == 0.25
    again = Start(kit.model, 2, plan, kit.heads)
    again.recall(kept)
    assert again.go(kit.model, kit.heads, "auto", lambda: 1 / 0) == []  # replayed, not chosen anew
