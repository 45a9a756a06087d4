"""Adapters put into stages: the same function at first, weights untouched beside them, and merged in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ukulele import models
from ukulele.errors import PlanError
from ukulele.models import images
from ukulele.models.adapters import adapted, merge, places
from ukulele.tools.collate import collate
from ukulele.types import Adapters, Model, Request, Tensors

NETWORKS = {  # architecture: arguments that make it smaller
    "resnet18": {},
    "mobilenetv2_035": {},
    "vit_tiny_patch16_224": {"img_size": 64, "depth": 2},
    "convnext_atto": {},
    "swin_tiny_patch4_window7_224": {"img_size": 64, "embed_dim": 48},
}
ENCODERS = ["bert", "distilbert", "electra", "modernbert", "albert"]


def image_model(architecture: str) -> tuple[Model, Tensors]:
    source = {
        "family": "timm", "architecture": architecture, "args": NETWORKS[architecture], "size": [64, 64],
        "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 1.0, "interpolation": "bilinear", "crop_mode": "center",
    }  # fmt: skip
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return images.build(source, {}), {"x": pixels}


def test_no_adapter_stands_beside_a_convolution_with_a_forward_of_its_own() -> None:
    from timm.layers import Conv2dSame, StdConv2d

    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), Conv2dSame(4, 4, 3, stride=2), StdConv2d(4, 4, 1))
    assert places(layers) == ["0"]


@pytest.fixture(params=[*ENCODERS, *NETWORKS])
def made(request: pytest.FixtureRequest, encoder_folder: Callable[..., Path]) -> tuple[Model, Tensors]:
    """A model, and some encoded rows."""
    if request.param in NETWORKS:
        return image_model(request.param)
    model = models.load(Request(str(encoder_folder(request.param))), "text")
    return model, collate(model.encode([("good tea",), ("bad awful rain w1 w2",)], [0, 0]), model.inputs)


def with_adapters(model: Model, kind: Any, own: int | None = None) -> Model:
    """The model with adapters in all stages that have a place, or in the last `own` of them; drawn anew."""
    names = tuple(stage.name for stage in model.stages if places(stage.module))
    torch.manual_seed(5)
    return replace(model, stages=adapted(model.stages, Adapters(kind, names[-own:] if own else names, rank=3, alpha=6)))


def pooled(model: Model, live: Tensors) -> torch.Tensor:
    for stage in model.stages:
        stage.module.eval()
    with torch.inference_mode():
        return model.run(live)["pooled"]


def stir(model: Model) -> list[str]:
    """Adapters that add something; their names."""
    found = []
    for stage in model.stages:
        for name, parameter in stage.module.named_parameters():
            if "lora_" in name:
                found.append(f"{stage.name}.{name}")
                with torch.no_grad():
                    parameter.add_(0.1 * torch.randn(parameter.shape))
    return found


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_put_in_trained_and_merged(made: tuple[Model, Tensors], kind: Any) -> None:
    model, live = made
    kept = {name: value.clone() for name, value in model.net.state_dict().items()}
    before = pooled(model, live)
    with_them = with_adapters(model, kind)
    torch.testing.assert_close(pooled(with_them, live), before, rtol=1e-4, atol=1e-5)
    assert stir(with_them)
    changed = pooled(with_them, live)
    assert not torch.allclose(changed, before, rtol=1e-2)
    assert all(torch.equal(value, kept[name]) for name, value in model.net.state_dict().items())
    assert torch.equal(pooled(model, live), before)  # the model itself knows nothing of it
    merge([stage.module for stage in with_them.stages])
    assert not any("lora_" in name for stage in with_them.stages for name in stage.module.state_dict())
    torch.testing.assert_close(pooled(with_them, live), changed, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(pooled(model, live), changed, rtol=1e-3, atol=1e-4)  # it shares its weights
    assert model.net.state_dict().keys() == kept.keys()


def test_they_stand_in_no_stage_but_those_named(made: tuple[Model, Tensors]) -> None:
    model, _ = made
    top = with_adapters(model, "lora", own=1)
    names = stir(top)
    last = next(stage.name for stage in reversed(model.stages) if places(stage.module))
    assert all(name.startswith(f"{last}.") for name in names)
    untouched = [(ours, theirs) for ours, theirs in zip(top.stages, model.stages, strict=True) if ours == theirs]
    assert len(untouched) == len(model.stages) - 1
    place = next(stage for stage in reversed(top.stages) if "lora_" in str(list(stage.module.state_dict())))
    count = len(places(next(s.module for s in model.stages if s.name == place.name)))
    assert sum("lora_A" in name for name in names) == count


def test_drawn_from_the_generator(encoder_folder: Callable[..., Path]) -> None:
    model = models.load(Request(str(encoder_folder("bert"))), "text")
    one, two = (with_adapters(model, "lora").stages[1].module.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(value.any() for name, value in one.items() if "lora_A" in name)
    assert not any(value.any() for name, value in one.items() if "lora_B" in name)


def test_a_stage_without_a_place_is_refused(encoder_folder: Callable[..., Path]) -> None:
    model = models.load(Request(str(encoder_folder("bert"))), "text")
    with pytest.raises(PlanError, match="in embed, nowhere") as error:
        adapted(model.stages, Adapters("lora", ("embed", "block0", "nowhere")))
    assert "--freeze" in error.value.hint


def test_a_place_is_named_in_full() -> None:
    """A layer that is left out is not taken by another's name that ends alike."""
    module = torch.nn.ModuleDict(
        {"conv": torch.nn.Conv2d(2, 2, 1), "deep": torch.nn.ModuleDict({"conv": torch.nn.Conv2d(2, 2, 3, groups=2)})}
    )
    assert places(module) == ["conv"]
    from ukulele.types import Stage

    (stage,) = adapted([Stage("s", module, {})], Adapters("lora", ("s",), rank=1))
    assert {name.split(".lora_")[0] for name in stage.module.state_dict() if "lora_" in name} == {"conv"}
