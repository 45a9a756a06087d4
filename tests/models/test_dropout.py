"""Dropout with fewer random numbers is still dropout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from ukulele import models
from ukulele.models.dropout import Dropout, drop
from ukulele.models.quicker import quicken
from ukulele.types import Request


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_the_share_and_the_mean_are_right(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(401, 1003, dtype=dtype)
    y = drop(x, p)
    kept = (y != 0).double()
    p = round(p * 256) / 256
    error = (p * (1 - p) / x.numel()) ** 0.5
    assert abs(float(kept.mean()) - (1 - p)) < 5 * error
    assert set(y.unique().tolist()) == {0.0, float(torch.tensor(1 / (1 - p)).to(dtype))}
    rows, columns = kept.mean(1), kept.mean(0)  # nowhere more than elsewhere
    assert float(rows.std()) < 2 * (p * (1 - p) / 1003) ** 0.5
    assert float(columns.std()) < 2 * (p * (1 - p) / 401) ** 0.5
    assert abs(float((kept[:, 1:] * kept[:, :-1]).mean()) - (1 - p) ** 2) < 0.005  # neighbours are independent


def test_it_is_a_function_of_the_seed_and_passes_gradients_where_it_passes_values() -> None:
    x = torch.randn(7, 13, requires_grad=True)
    torch.manual_seed(3)
    first = drop(x, 0.3)
    torch.manual_seed(3)
    again = drop(x, 0.3)
    assert torch.equal(first, again)
    assert not torch.equal(first, drop(x, 0.3))
    first.sum().backward()
    assert torch.equal(x.grad != 0, first != 0)


@pytest.mark.parametrize(("p", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_nothing_and_everything(p: float, expected: float) -> None:
    assert torch.equal(drop(torch.ones(5), p), torch.full((5,), expected))


def test_a_network_keeps_its_names_and_is_still_in_eval_mode(encoder_folder: Callable[..., Path]) -> None:
    net = models.load(Request(str(encoder_folder("bert"))), "text").net
    assert not any(isinstance(module, nn.Dropout) for module in net.modules())
    drops = [module for module in net.modules() if isinstance(module, Dropout)]
    assert len(drops) > 4
    x = torch.randn(3, 4)
    layer = quicken(nn.ModuleDict({"drop": nn.Dropout(0.5)}))["drop"]
    assert isinstance(layer, Dropout)
    assert not torch.equal(layer(x), x)
    assert torch.equal(layer.eval()(x), x)


def test_the_library_s_gelu_by_its_tangent_is_done_in_one_pass() -> None:
    from transformers.activations import ACT2FN

    layers = nn.ModuleDict({"act": ACT2FN["gelu_new"]})
    x = torch.linspace(-6, 6, 999)
    slow = layers["act"](x)
    quick = quicken(layers)["act"]
    assert isinstance(quick, nn.GELU)
    torch.testing.assert_close(quick(x), slow)
