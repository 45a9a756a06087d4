"""Queries, keys and values in one product are what the library makes of them in three."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ukulele import models
from ukulele.models.self_attention import SelfAttention
from ukulele.tools.collate import collate
from ukulele.types import Request

FAMILIES = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
TEXTS = ("good tea", "bad rain w1 w2 w3 w4", "fine")


def layers(net: nn.Module) -> list[SelfAttention]:
    return [module for module in net.modules() if isinstance(module, SelfAttention)]


@pytest.mark.parametrize("family", FAMILIES)
def test_values_and_gradients_are_the_librarys(family: str, encoder_folder: Callable[..., Path]) -> None:
    from transformers import AutoModel

    folder = encoder_folder(family)
    model: Any = models.load(Request(str(folder)), "text")
    assert len(layers(model.net)) == model.net.config.num_hidden_layers
    theirs = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    model.net.eval()
    batch = collate(model.encode([(text,) for text in TEXTS], [0] * len(TEXTS)), model.inputs)
    there = batch["token_mask"].bool()
    ours = model.run(batch, 0, len(model.stages) - 1)["x"][there]
    expected = theirs(input_ids=batch["ids"], attention_mask=batch["token_mask"]).last_hidden_state[there]
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(0))
    (ours * weights).sum().backward()  # of squares there would be no gradient: the last layer is a norm
    (expected * weights).sum().backward()
    found = {name: parameter.grad for name, parameter in model.net.named_parameters() if parameter.grad is not None}
    for name, parameter in theirs.named_parameters():
        if parameter.grad is not None:
            assert (found[name] - parameter.grad).norm() <= 1e-4 * parameter.grad.norm() + 1e-4, (
                name
            )  # that of keys' biases is nothing


def test_a_map_that_is_more_than_linear_is_asked_by_itself(encoder_folder: Callable[..., Path]) -> None:
    class Doubled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    layer: Any = layers(models.load(Request(str(encoder_folder("bert"))), "text").net)[0].eval()
    x = torch.randn(2, 5, layer.value.in_features)
    before = layer(x)[0]
    doubled = Doubled(layer.value.in_features, layer.value.out_features)
    doubled.load_state_dict(layer.value.state_dict())
    layer.value = doubled
    torch.testing.assert_close(layer(x)[0], 2 * before)


def test_a_decoders_layer_stays_as_it_is(encoder_folder: Callable[..., Path]) -> None:
    from transformers import AutoModel

    from ukulele.models.quicker import quicken

    net = AutoModel.from_pretrained(encoder_folder("bert"), is_decoder=True)
    assert not layers(quicken(net))
