"""What the optimisers are told before a step."""

from __future__ import annotations

import torch
from torch import nn

from ukulele.loop.optimisers import clip, total_norm


def test_the_norm_of_all_gradients_is_that_of_torch_whatever_their_shape_and_precision() -> None:
    drawn = torch.Generator().manual_seed(3)
    whole = torch.randn(6, 40, generator=drawn)
    gradients = [whole[:2], whole[2:4].t(), whole[4, 0], whole[:0], 1e4 * whole[5]]
    expected = nn.utils.get_total_norm(gradients)
    torch.testing.assert_close(total_norm(gradients), expected)
    torch.testing.assert_close(total_norm([whole[:2].bfloat16()]), nn.utils.get_total_norm([whole[:2].bfloat16()]))
    assert not total_norm([]).any()


def test_clip_scales_gradients_down_to_the_norm_and_never_up() -> None:
    for length, moved in ((10.0, 1.0), (0.5, 0.5)):  # a step of SGD with Nesterov's momentum: 1.9 times the gradient
        parameter = nn.Parameter(torch.zeros(4))
        parameter.grad = torch.tensor([0.0, length, 0.0, 0.0])
        optimiser = torch.optim.SGD([parameter], lr=1.0, momentum=0.9, nesterov=True, fused=True)
        clip(optimiser, [parameter.grad], 1.0)
        optimiser.step()
        torch.testing.assert_close(parameter.detach().norm(), torch.tensor(1.9 * moved))
