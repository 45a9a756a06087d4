from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ukulele import models
from ukulele.loop.work import operations
from ukulele.types import Request


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


def test_statistics_stay_as_they_are(encoder_folder: Callable[..., Path]) -> None:
    model = models.load(Request(str(encoder_folder("bert"))), "text")
    model.net.train()
    operations(model, 1, [("tea",)], passed=1, trained=1)
    assert not any(stage.module.training for stage in model.stages)
