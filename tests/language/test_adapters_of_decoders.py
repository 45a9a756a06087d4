"""Adapters beside the layers of GPT-2, which hold their weights the other way round, and of Llama."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from language_kit import prose
from ukulele import models
from ukulele.models.adapters import adapted, merge, places
from ukulele.tools.collate import collate
from ukulele.types import Adapters, Request, fold


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_they_start_as_nothing_and_are_merged_into_the_weights(
    decoder_folder: Callable[..., Path], family: str, kind: str
) -> None:
    model = models.load(Request(str(decoder_folder(family)), writes="generate"), "text")
    for stage in model.stages:
        stage.module.eval()
    assert len(places(model.stages[1].module)) == {"gpt2": 4, "llama": 7}[family]
    batch = collate(model.encode([("", text) for text in prose(6).split("\n")], []), model.inputs)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("error")
        before = model.run(batch)["x"]
        torch.manual_seed(0)
        stages = adapted(model.stages, Adapters(kind, ("block1", "block2"), rank=4, alpha=8.0))  # type: ignore[arg-type]
        modules = [stage.module.eval() for stage in stages]
        torch.testing.assert_close(fold(model.prepare, modules, batch)["x"], before, rtol=1e-4, atol=1e-5)
        for module in modules:
            for name, parameter in module.named_parameters():
                if "lora_" in name:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        learned = fold(model.prepare, modules, batch)["x"]
        assert float((learned - before).abs().max()) > 0.01
        merge(modules)
        torch.testing.assert_close(fold(model.prepare, modules, batch)["x"], learned, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(model.run(batch)["x"], learned, rtol=1e-3, atol=1e-4)  # the very same weights
