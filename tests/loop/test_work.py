from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ukulele import models
from ukulele.loop.work import operations
from ukulele.trial.attempt import _flops
from ukulele.types import Group, Phase, Plan, Request


def test_operations_are_those_of_the_matrices(encoder_folder: Callable[..., Path]) -> None:
    model = models.load(Request(str(encoder_folder("bert"))), "text")
    texts = [("tea",), ("tea",)]
    tokens = len(model.encode(texts[:1], [0])[0]["ids"])
    config = model.net.config
    linear = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    block = 2 * tokens * linear
    below = operations(model, len(model.stages), texts, passed=1, trained=0)
    assert below is not None
    assert block * config.num_hidden_layers <= below < 1.5 * block * config.num_hidden_layers
    top = operations(model, len(model.stages) - 2, texts, passed=0, trained=1)
    assert top is not None
    assert 3 * block <= top < 1.5 * 3 * block


@pytest.mark.parametrize(
    ("views", "plain", "probed", "augments", "passes"),
    [
        (0, 0, False, True, 5),
        (0, 0, True, True, 6),  # the probe reads the plain view
        (0, 2, True, True, 4),  # and so do the last epochs
        (4, 0, True, True, 4),
        (8, 0, False, True, 5),
        (1, 0, True, True, 1),
        (0, 0, True, False, 1),
    ],
)
def test_a_frozen_part_is_counted_once_a_view_or_once_an_epoch(
    bert: Any, make_kit: Any, views: int, plain: int, probed: bool, augments: bool, passes: int
) -> None:
    model = replace(bert(), augments=augments)
    probe = (Phase((), optimiser="probe"),) if probed else ()
    plan = Plan("x", (*probe, Phase((Group("block1.*", 0.01),), epochs=5, plain=plain)), views=views)
    feed = make_kit(model, plan, count=24).feed
    history = [{"phase": len(probe), "epoch": epoch} for epoch in range(5)]
    cut = [stage.name for stage in model.stages].index("block1")
    outcome: Any = SimpleNamespace(
        feed=feed, model=model, lowest=cut, history=history, candidate=SimpleNamespace(plan=plan)
    )
    inputs = [row.inputs for row in feed.tables["train"].rows[:2]]
    assert _flops(outcome) == operations(model, cut, inputs, passes * 24, 5 * 24)


def test_statistics_stay_as_they_are(encoder_folder: Callable[..., Path]) -> None:
    model = models.load(Request(str(encoder_folder("bert"))), "text")
    model.net.train()
    operations(model, 1, [("tea",)], passed=1, trained=1)
    assert not any(stage.module.training for stage in model.stages)


def test_stages_may_lie_on_several_devices(encoder_folder: Callable[..., Path]) -> None:
    """What is trained lies on the accelerator, what is frozen stays where it was loaded."""
    encoder, texts = models.load(Request(str(encoder_folder("bert"))), "text"), [("tea",), ("good tea",)]
    expected = operations(encoder, 2, texts, passed=3, trained=5)
    for stage in encoder.stages[2:]:
        stage.module.to("meta")
    assert operations(encoder, 2, texts, passed=3, trained=5) == pytest.approx(expected, rel=0.05)  # another attention


def test_a_stage_may_share_a_tensor_with_a_head_that_moved(encoder_folder: Callable[..., Path]) -> None:
    """An output layer goes to the accelerator, and the table of tokens that it shares with it; the positions do not."""
    encoder, texts = models.load(Request(str(encoder_folder("bert"))), "text"), [("tea",), ("good tea",)]
    expected = operations(encoder, 0, texts, passed=3, trained=5)
    for stage in encoder.stages[1:]:
        stage.module.to("meta")
    encoder.net.get_input_embeddings().to("meta")
    assert operations(encoder, 0, texts, passed=3, trained=5) == pytest.approx(expected, rel=0.05)
