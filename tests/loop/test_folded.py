"""BatchNorm folded into convolutions while both are trained: the same function, the same gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ukulele.loop.folded import folded


class Block(nn.Module):
    def __init__(self, *, bias: bool = False, twice: bool = False) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4)
        self.twice = twice

    def forward(self, x: Tensor) -> Tensor:
        made = self.conv(x)
        found: Tensor = self.norm(made).relu()
        return found + made.abs() if self.twice else found


def of_the_world(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.2, 3)  # type: ignore[union-attr]
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return net.eval()


def gradients(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    net.zero_grad()
    net(x).square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in net.named_parameters()}  # type: ignore[union-attr]


def is_folded(net: nn.Module) -> bool:
    return any("forward" in module.__dict__ for module in net.modules())


@pytest.mark.parametrize("bias", [False, True])
def test_function_and_gradients_are_the_same_and_everything_is_put_back(bias: bool) -> None:
    net = of_the_world(Block(bias=bias))
    x, names = torch.randn(2, 3, 8, 8), list(net.state_dict())
    before, expected = net(x), gradients(net, x)
    with folded(net, lambda: net(x)):
        assert is_folded(net)
        assert list(net.state_dict()) == names
        torch.testing.assert_close(net(x), before)
        torch.testing.assert_close(gradients(net, x), expected)
    assert not is_folded(net)
    assert torch.equal(net(x), before)


def test_a_convolution_that_others_read_stays_as_it_is() -> None:
    net, x = of_the_world(Block(twice=True)), torch.randn(2, 3, 8, 8)
    before = net(x)
    with folded(net, lambda: net(x)):
        assert not is_folded(net)
        assert torch.equal(net(x), before)


def test_a_norm_that_is_fed_twice_stays_as_it_is() -> None:
    block, x = of_the_world(Block()), torch.randn(2, 3, 8, 8)
    with folded(block, lambda: block(x) + block(x.flip(0))):
        assert not is_folded(block)


def test_it_is_put_back_when_training_breaks() -> None:
    net, x = of_the_world(Block()), torch.randn(2, 3, 8, 8)

    def train() -> None:
        with folded(net, lambda: net(x)):
            assert is_folded(net)
            raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        train()
    assert not is_folded(net)


def test_without_batchnorm_nothing_is_run() -> None:
    def never() -> Tensor:
        raise AssertionError("was run")

    with folded(nn.Sequential(nn.Conv2d(3, 3, 1)), never):
        pass


def test_the_activation_that_timms_norm_brings_along_stays() -> None:
    timm = pytest.importorskip("timm.layers")

    class Modern(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), timm.BatchNormAct2d(4)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.norm(self.conv(x))
            return found

    net, x = of_the_world(Modern()), torch.randn(2, 3, 8, 8)
    before = net(x)
    with folded(net, lambda: net(x)):
        assert is_folded(net)
        torch.testing.assert_close(net(x), before)
