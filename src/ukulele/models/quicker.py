"""Layers of a network that others do the work of more quickly: dropout, layer norm, GELU, attention.

GELU by its tangent in one pass, where the library has eight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ukulele.models.dropout import Dropout
from ukulele.models.layer_norm import LayerNorm
from ukulele.models.self_attention import one_product


def quicken(net: nn.Module) -> nn.Module:
    """Replace every layer of a network that `QUICKER` has a better one for; parameters and their names stay."""
    for module in net.modules():
        for name, child in module.named_children():
            made = QUICKER.get(f"{type(child).__module__}.{type(child).__name__}")
            if made is not None:
                setattr(module, name, made(child).train(child.training))
    return net


QUICKER: Mapping[str, Callable[[Any], nn.Module]] = {  # by name, so that transformers is not imported for it
    "torch.nn.modules.dropout.Dropout": lambda layer: Dropout(layer.p),
    "torch.nn.modules.normalization.LayerNorm": LayerNorm,
    "transformers.activations.NewGELUActivation": lambda _layer: nn.GELU("tanh"),
    "transformers.models.bert.modeling_bert.BertSelfAttention": one_product,
    "transformers.models.camembert.modeling_camembert.CamembertSelfAttention": one_product,
    "transformers.models.distilbert.modeling_distilbert.DistilBertSelfAttention": one_product,
    "transformers.models.electra.modeling_electra.ElectraSelfAttention": one_product,
    "transformers.models.roberta.modeling_roberta.RobertaSelfAttention": one_product,
    "transformers.models.xlm_roberta.modeling_xlm_roberta.XLMRobertaSelfAttention": one_product,
}
