"""Few labels: the steps of pairs, their loss, and what they do to the model."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ukulele.events import Saved, Stepped
from ukulele.loop.contrast import contrast_loss, pairs_loss
from ukulele.loop.sampling import paired
from ukulele.loop.train import train
from ukulele.tools.files import load_tree, save_tree
from ukulele.types import Group, Phase, Plan

PAIRS = Phase((Group("block*", 0.003), Group("embed.*", 0.003)), loss="pairs", epochs=12, batch=8)
FEW = Plan("few", (PAIRS, Phase((Group("head.*", 1.0),), "probe", strength=0.1)), seed=4)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(2, 16), st.integers(0, 99))
def test_every_row_once_and_beside_another_of_its_class(counts: list[int], size: int, seed: int) -> None:
    edges = np.cumsum([0, *counts])
    classes = [np.arange(a, b) for a, b in pairwise(edges)]
    steps = paired(classes, size, np.random.default_rng(seed))
    assert sorted(row for step in steps for row in step) == list(range(sum(counts)))
    of = np.repeat(np.arange(len(counts)), counts)
    for step in steps:
        assert len(step) <= 1.5 * size + 3
        for row in step:
            alone = counts[of[row]] == 1
            assert alone or sum(of[row] == of[other] for other in step) > 1
    assert steps == paired(classes, size, np.random.default_rng(seed))


def test_classes_are_mixed_in_every_step() -> None:
    classes = [np.arange(8), np.arange(8, 16)]
    mixed = [len({row // 8 for row in step}) for seed in range(50)
             for step in paired(classes, 8, np.random.default_rng(seed))]  # fmt: skip
    assert np.mean(np.array(mixed) == 2) == 1


def test_the_loss_is_the_mean_over_both_kinds_of_pairs() -> None:
    vectors, labels = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 2, 1, 0])
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    same, other = [], []
    for i in range(6):
        for j in range(i):
            cosine = float(unit[i] @ unit[j])
            (same if labels[i] == labels[j] else other).append((cosine - float(labels[i] == labels[j])) ** 2)
    loss = pairs_loss(vectors, labels)
    assert float(loss.sums) == pytest.approx((np.mean(same) + np.mean(other)) / 2, rel=1e-5)
    assert loss.counts.tolist() == [1]
    assert float(pairs_loss(vectors, torch.zeros(6)).sums) == pytest.approx(
        float((1 - (unit @ unit.T)[np.triu_indices(6, 1)]).square().mean()), rel=1e-5
    )
    assert float(pairs_loss(vectors[:1], labels[:1]).sums) == 0  # a row alone has no pair


def test_a_row_is_to_be_taken_for_another_of_its_class() -> None:
    vectors, labels = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 2, 1, 0])
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    each = []
    for i in range(6):
        beside = {j: np.exp(float(unit[i] @ unit[j]) / 0.5) for j in range(6) if j != i}
        own = [-np.log(one / sum(beside.values())) for j, one in beside.items() if labels[j] == labels[i]]
        each += [np.mean(own)] if own else []
    loss = contrast_loss(vectors.requires_grad_(), labels, 0.5)
    assert float(loss.sums.detach()) == pytest.approx(np.mean(each), rel=1e-5)
    loss.sums.sum().backward()
    assert bool(vectors.grad.isfinite().all())
    assert bool((vectors.grad != 0).any())
    assert float(contrast_loss(vectors[:1].detach(), labels[:1]).sums) == 0  # a row alone is taken for none


@pytest.mark.parametrize(
    "changes", [{}, {"loss": "contrast", "epochs": 30, "dropout": False}], ids=["pairs", "contrast"]
)
def test_texts_of_a_class_come_together_and_the_head_waits(changes: Any, bert: Any, make_kit: Any) -> None:
    def apart(kit: Any) -> float:
        x = torch.nn.functional.normalize(kit.feed.design("train").float(), dim=1)
        good = torch.tensor([value == "good" for value in kit.feed.values("train", "mood")])
        cosine = x @ x.T
        same = good[:, None] == good[None]
        return float(cosine[same].mean() - cosine[~same].mean())

    plan = replace(FEW, phases=(replace(PAIRS, **changes), *FEW.phases[1:]))
    kit = make_kit(bert(), plan)
    before, losses = apart(kit), []
    kit.feed._sources.clear()
    head = [parameter.detach().clone() for parameter in kit.heads["mood"].parameters()]
    for event in train(kit.model, kit.heads, plan, kit.feed, kit.engine):
        if isinstance(event, Stepped) and event.place.phase == 0:
            losses.append(event.losses["mood"])
            assert all(torch.equal(a, b) for a, b in zip(head, kit.heads["mood"].parameters(), strict=True))
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    kit.feed._sources.clear()
    assert apart(kit) > before + 0.1
    assert not all(torch.equal(a, b) for a, b in zip(head, kit.heads["mood"].parameters(), strict=True))


def test_a_frozen_stage_stays_bit_identical(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), Plan("x", (Phase((Group("block1.*", 0.01),), loss="pairs", batch=8, epochs=2),)))
    before = kit.state()
    kit.train()
    moved = {name.split(".")[0] for name, value in kit.state().items() if not torch.equal(value, before[name])}
    assert moved == {"block1"}


def test_a_run_resumed_from_any_state_ends_bit_identical(bert: Any, make_kit: Any, tmp_path: Path) -> None:
    kit, states = make_kit(bert(), FEW, save_every=0.0), []
    for event in train(kit.model, kit.heads, FEW, kit.feed, kit.engine):
        if isinstance(event, Saved):
            states.append((event.place, tmp_path / f"{len(states)}.safetensors"))
            save_tree(states[-1][1], event.state)
    expected = kit.state()
    for place, file in states[::9]:
        again = make_kit(bert(), FEW)
        again.train(Saved(place, load_tree(file)))
        assert all(torch.equal(value, expected[name]) for name, value in again.state().items()), place
