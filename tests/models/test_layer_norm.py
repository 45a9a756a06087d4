"""Layer norm that stays in bf16 under the CPU's autocast."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ukulele.models.layer_norm import LayerNorm
from ukulele.models.quicker import quicken


@pytest.fixture
def values() -> torch.Tensor:
    return torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(1)) * 2 + 1


@pytest.fixture
def layer() -> nn.LayerNorm:
    made = nn.LayerNorm(64, eps=1e-6)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        made.weight.copy_(1 + torch.randn(64, generator=draw) / 4)
        made.bias.copy_(torch.randn(64, generator=draw) / 4)
    return made


def test_without_autocast_it_is_the_library_s(layer: nn.LayerNorm, values: torch.Tensor) -> None:
    assert torch.equal(LayerNorm(layer)(values), layer(values))


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
def test_under_autocast_it_is_rounded_once(layer: nn.LayerNorm, values: torch.Tensor, given: torch.dtype) -> None:
    values = values.to(given)
    with torch.autocast("cpu", torch.bfloat16):
        found = LayerNorm(layer)(values)
    assert found.dtype == torch.bfloat16
    exact = layer(values.float())
    assert (found.float() - exact).abs().max() <= 2**-8 * exact.abs().max()  # half a step of bf16


def test_gradients_are_those_of_the_library(layer: nn.LayerNorm, values: torch.Tensor) -> None:
    quick, towards = LayerNorm(layer), torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(3))
    found = {}
    for name, one in (("quick", quick), ("exact", layer)):
        given = values.bfloat16().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "quick"):
            out = one(given if name == "quick" else given.float())
        (out.float() * towards).sum().backward()
        found[name] = [given.grad, layer.weight.grad, layer.bias.grad]
        layer.weight.grad = layer.bias.grad = None
    assert [one.dtype for one in found["quick"][1:]] == [torch.float32] * 2  # type: ignore[union-attr]
    for one, other in zip(found["quick"], found["exact"], strict=True):
        assert (one - other).abs().max() < 0.02 * other.abs().max()  # type: ignore[operator, union-attr]


def test_parameters_and_their_names_stay(layer: nn.LayerNorm) -> None:
    net = nn.ModuleDict({"norm": layer, "plain": nn.LayerNorm(8, elementwise_affine=False)})
    before = dict(net.named_parameters())
    quick = quicken(net)
    assert [type(one) for one in quick.values()] == [LayerNorm] * 2  # type: ignore[operator]
    after = dict(quick.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    assert quick["plain"](torch.ones(2, 8)).shape == (2, 8)  # type: ignore[index]
