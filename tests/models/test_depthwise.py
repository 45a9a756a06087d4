"""Strided depthwise convolutions compute in full precision where that is quicker, and are else as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ukulele.models.depthwise import StridedDepthwise, quicken_strides


@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_full_precision(bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=bias)
    x = torch.randn(2, 8, 9, 9, requires_grad=True)
    expected = layer(x)
    expected.sum().backward()
    gradients = [x.grad.clone(), *(parameter.grad.clone() for parameter in layer.parameters())]  # type: ignore[union-attr]
    names = list(layer.state_dict())
    net = quicken_strides(nn.Sequential(layer))
    assert type(layer) is StridedDepthwise
    assert list(layer.state_dict()) == names
    assert torch.equal(net(x), expected), "without autocast it is what it was"
    for parameter in (x, *layer.parameters()):
        parameter.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected.bfloat16().float())  # rounded once, behind it
    found.float().sum().backward()
    for parameter, gradient in zip((x, *layer.parameters()), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_others_stay_as_they_are() -> None:
    net = nn.Sequential(nn.Conv2d(8, 8, 3, 1, groups=8), nn.Conv2d(8, 8, 3, 2, groups=4), nn.Conv2d(8, 8, 3, 2))
    assert [type(layer) for layer in quicken_strides(net)] == [nn.Conv2d] * 3  # type: ignore[attr-defined]
