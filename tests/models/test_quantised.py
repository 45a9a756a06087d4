"""Weights of few bits beside adapters: what is trained is what is handed over, and the others stay as they were."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from language_kit import decoder
from ukulele import models
from ukulele.errors import MissingExtraError, PlanError
from ukulele.models import quantised
from ukulele.models.adapters import adapted, merge, narrowed, places, written_in
from ukulele.tools.collate import collate
from ukulele.types import Adapters, Model, Request, fold

pytest.importorskip("bitsandbytes")


@pytest.fixture(params=["bert", "distilbert", "gpt2", "llama"])
def model(request: pytest.FixtureRequest, encoder_folder: Callable[..., Path], tmp_path: Path) -> Model:
    reads = request.param in {"bert", "distilbert"}
    folder = encoder_folder(request.param) if reads else decoder(tmp_path, request.param)
    found = models.load(Request(str(folder), writes=None if reads else "generate"), "text")
    for stage in found.stages:
        stage.module.eval()
    return found


def inputs(model: Model) -> Any:
    texts = (
        [("", "Anna sees Ben"), ("", "Carla likes Dora on day 3")] if model.teaches else [("good tea",), ("bad w1",)]
    )
    return collate(model.encode(texts, [0, 0]), model.inputs)


def with_adapters(model: Model, bits: int, own: int = 2) -> list[nn.Module]:
    """The modules of its stages, the last `own` that have a place with adapters that know something."""
    names = [stage.name for stage in model.stages if places(stage.module)][-own:]
    torch.manual_seed(0)
    adapters = Adapters("lora", tuple(names), rank=4, alpha=8.0, bits=bits)
    stages = adapted(narrowed(model.stages, adapters), adapters)
    modules = [stage.module.to("cpu").eval() for stage in stages]
    for module in modules:
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.3)
    return modules


def through(model: Model, modules: list[nn.Module]) -> torch.Tensor:
    live = fold(model.prepare, modules, inputs(model))
    return live["pooled"] if "pooled" in live else live["x"]


@pytest.mark.parametrize(("bits", "near"), [(4, 1e-4), (8, 0.05)])
def test_what_is_handed_over_is_what_was_trained(model: Model, bits: int, near: float) -> None:
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    with torch.no_grad():
        plain = through(model, [stage.module for stage in model.stages])
        modules = with_adapters(model, bits)
        assert {p.dtype for m in modules for p in m.parameters()} >= {torch.uint8 if bits == 4 else torch.int8}
        learned = through(model, modules)
        assert not torch.allclose(learned, plain, atol=0.05)
        assert all(torch.equal(before[name], value) for name, value in model.net.state_dict().items())
        with written_in(modules):
            torch.testing.assert_close(
                through(model, [stage.module for stage in model.stages]), learned, rtol=near, atol=near
            )
        assert all(torch.equal(before[name], value) for name, value in model.net.state_dict().items())
        merge(modules)
        merged = through(model, [stage.module for stage in model.stages])
    torch.testing.assert_close(merged, learned, rtol=near, atol=near)
    assert {value.dtype for value in model.net.state_dict().values()} == {value.dtype for value in before.values()}


@pytest.mark.parametrize("bits", [4, 8])
def test_gradients_reach_the_adapters_and_what_lies_below(model: Model, bits: int) -> None:
    modules = with_adapters(model, bits, own=1)
    for module in modules:
        for name, parameter in module.named_parameters():
            parameter.requires_grad_("lora_" in name)
    through(model, modules).square().sum().backward()
    learned = [p for module in modules for name, p in module.named_parameters() if "lora_" in name]
    assert learned
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in learned)


def test_weights_take_less_room(encoder_folder: Callable[..., Path]) -> None:
    model = models.load(Request(str(encoder_folder("bert"))), "text")

    def size(modules: list[nn.Module]) -> int:
        layers = [part for module in modules for part in module.modules() if quantised.plain(part) is not None]
        return sum(p.numel() * p.element_size() for layer in layers for p in [layer.weight])

    wide = sum(
        quantised.plain(part).weight.numel() * 4  # type: ignore[union-attr, operator]
        for module in with_adapters(model, 4)
        for part in module.modules()
        if quantised.plain(part) is not None
    )
    assert size(with_adapters(model, 4)) * 8 == wide
    assert size(with_adapters(model, 8)) * 4 == wide


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    quantised.refuse_absent(4, "cpu")
    with pytest.raises(PlanError, match="--bits 4: mps has no kernels for it"):
        quantised.refuse_absent(4, "mps")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 0))
    quantised.refuse_absent(4, "cuda")
    with pytest.raises(PlanError, match=r"cuda:1 of compute capability 7\.0 has no kernels") as refused:
        quantised.refuse_absent(8, "cuda:1")
    assert "7.5 or more" in refused.value.hint

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match="--bits needs a library") as missing:
        quantised.refuse_absent(8, "cpu")
    assert "ukulele[quantised]" in missing.value.hint
