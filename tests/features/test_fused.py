"""What is fused in a frozen copy is what the layers were, and rounds no more than they did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import gelu, linear

from ukulele import models
from ukulele.features.encode import narrow
from ukulele.features.fused import FOLLOWED, Product, fuse
from ukulele.models.self_attention import SelfAttention
from ukulele.tools.collate import collate
from ukulele.tools.product import MANY, STEP, _rounded_up, product, room
from ukulele.types import Request

BF16 = torch.bfloat16
TEXTS = ("good tea", "bad rain w1 w2 w3 w4", "fine")


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("activation", ["", "none", "tanh"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 7, 24), (3, 24), (0, 24), (2, 0, 24), (11, 100, 24), (1088, 24)])
def test_a_product_is_closer_to_the_exact_one_than_its_parts(
    shape: tuple[int, ...], bias: bool, activation: str
) -> None:
    x, weight, offset = drawn(*shape).to(BF16), drawn(16, 24).to(BF16), drawn(16).to(BF16) if bias else None
    exact = linear(x.double(), weight.double(), None if offset is None else offset.double())
    parts = linear(x, weight, offset)
    if activation:
        exact, parts = gelu(exact, approximate=activation), gelu(parts, approximate=activation)
    with torch.inference_mode():
        found = product(x, weight, offset, activation)
    assert (found.shape, found.dtype) == (parts.shape, BF16)
    assert (found.double() - exact).norm() <= (parts.double() - exact).norm() * 1.01
    with torch.inference_mode():  # a view that is not in order in memory
        turned = product(x.transpose(0, -2).contiguous().transpose(0, -2), weight, offset, activation)
    assert torch.equal(turned, found)


def test_rows_that_are_taken_along_change_nothing_and_are_copied_only_where_none_are_behind() -> None:
    x, weight = drawn(MANY + 1, 24).to(BF16), drawn(16, 24).to(BF16)
    roomy = room((1, MANY + 1, 24))
    assert roomy.shape == (1, MANY + 1, 24)
    roomy[0] = x
    behind = roomy.as_strided((STEP - 1, 24), (24, 1), (MANY + 1) * 24)
    behind.fill_(torch.nan)
    with torch.inference_mode():
        found = product(roomy, weight, None)
        copied = product(x, weight, None)
    for one in (found[0], copied):
        assert torch.equal(one, linear(x, weight))
    assert _rounded_up(roomy, MANY + 1).data_ptr() == roomy.data_ptr()
    assert _rounded_up(x, MANY + 1).data_ptr() != x.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_a_narrow_copy_has_numbers_of_its_own_and_what_was_one_stays_one(dtype: torch.dtype) -> None:
    one, other = nn.Linear(4, 4, dtype=dtype), nn.Linear(4, 4, dtype=dtype)
    other.weight = one.weight
    norm = nn.BatchNorm1d(4)
    whole = nn.Sequential(one, other, norm)
    found = narrow(whole, BF16)
    assert found[0].weight is found[1].weight
    assert (found[0].weight.dtype, found[2].weight.dtype) == (BF16, torch.float32)
    assert not any(parameter.requires_grad for parameter in (*found[0].parameters(), *found[1].parameters()))
    assert (one.weight.dtype, one.weight.requires_grad) == (dtype, True)
    before = [found[0].weight.clone(), found[2].weight.clone()]
    with torch.no_grad():
        one.weight.zero_()
        norm.weight.zero_()
    assert torch.equal(found[0].weight, before[0])
    assert torch.equal(found[2].weight, before[1])


def test_where_a_gradient_is_wanted_there_is_one() -> None:
    x, weight = drawn(4, 24).to(BF16).requires_grad_(), drawn(16, 24).to(BF16).requires_grad_()
    product(x, weight, None, "none").sum().backward()
    assert x.grad is not None
    assert weight.grad is not None


@pytest.mark.parametrize("family", ["bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"])
def test_a_text_encoder_gives_what_it_gave(family: str, encoder_folder: Callable[..., Path]) -> None:
    model = models.load(Request(str(encoder_folder(family))), "text")
    stages = nn.ModuleList([stage.module for stage in model.stages]).eval()
    batch = model.prepare(collate(model.encode([(text,) for text in TEXTS], [0] * len(TEXTS)), model.inputs))

    def run(stages: nn.ModuleList) -> torch.Tensor:
        live = batch
        with torch.inference_mode():
            for stage in stages:
                live = stage(live)
        return live["pooled"].float()

    exact = run(stages)
    frozen = narrow(stages, BF16)
    before = run(frozen)
    fuse(frozen)
    parts = list(frozen.modules())
    assert not [part for part in parts if type(part) is nn.Linear]
    blocks = [part for part in parts if isinstance(part, SelfAttention)]
    assert blocks
    assert all(block._joined is not None for block in blocks)
    assert len([part for part in parts if isinstance(part, Product) and part.activation]) == len(blocks)
    assert (run(frozen) - exact).norm() <= 1.2 * (before - exact).norm()


def test_so_does_a_network_of_pictures_and_other_activations_stay() -> None:
    mlp = timm.layers.mlp.Mlp(24, 48).eval()
    relu = timm.layers.mlp.Mlp(24, 48, act_layer=nn.ReLU).eval()
    gated = timm.layers.mlp.GluMlp(24, 48, act_layer=nn.GELU).eval()  # its activation sees a half
    x = drawn(2, 5, 24)
    for net, act in ((mlp, nn.Identity), (relu, nn.ReLU), (gated, nn.GELU)):
        whole = nn.Sequential(net)
        with torch.inference_mode():
            exact = whole(x)
            frozen = narrow(whole, BF16)
            fuse(frozen)
            assert type(frozen[0].act) is act
            torch.testing.assert_close(frozen(x.to(BF16)).float(), exact, rtol=0.05, atol=0.01)


def test_every_name_is_that_of_a_module_with_those_parts() -> None:
    from importlib import import_module

    for name, (first, then) in FOLLOWED.items():
        module, _, kind = name.rpartition(".")
        source = import_module(module)
        assert hasattr(source, kind)
        text = Path(str(source.__file__)).read_text("utf-8")
        assert f"self.{first} = " in text
        assert f"self.{then} = " in text
