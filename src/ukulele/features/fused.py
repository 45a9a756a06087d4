"""Linear layers of a frozen copy as single products: their weights do not change, and nobody wants a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ukulele.tools.product import product

# modules that put the second part behind the first, and nothing between, by name, so that no library is imported
FOLLOWED: Mapping[str, tuple[str, str]] = {
    "timm.layers.mlp.Mlp": ("fc1", "act"),
    "transformers.models.bert.modeling_bert.BertIntermediate": ("dense", "intermediate_act_fn"),
    "transformers.models.camembert.modeling_camembert.CamembertIntermediate": ("dense", "intermediate_act_fn"),
    "transformers.models.distilbert.modeling_distilbert.FFN": ("lin1", "activation"),
    "transformers.models.electra.modeling_electra.ElectraIntermediate": ("dense", "intermediate_act_fn"),
    "transformers.models.roberta.modeling_roberta.RobertaIntermediate": ("dense", "intermediate_act_fn"),
    "transformers.models.xlm_roberta.modeling_xlm_roberta.XLMRobertaIntermediate": ("dense", "intermediate_act_fn"),
}
EXACT = {"transformers.activations.GELUActivation", "timm.layers.activations.GELU"}  # GELU by the error function


class Product(nn.Linear):
    """A linear layer, with GELU behind it where `activation` is "none" or "tanh": its form, as `nn.GELU` has it."""

    def __init__(self, layer: nn.Linear, activation: str = "") -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias, self.activation = layer.weight, layer.bias, activation

    def forward(self, input: Tensor) -> Tensor:
        """(…, in) to (…, out)."""
        return product(input, self.weight, self.bias, self.activation)


def fuse(net: nn.Module) -> None:
    """Replace in place what is quicker as one product, and have modules that can `settle` do so."""
    for part in list(net.modules()):
        settle: Any = getattr(part, "settle", None)
        if settle is not None:
            settle()
        for name, child in part.named_children():
            if type(child) is nn.Linear:
                setattr(part, name, Product(child))
        first, then = FOLLOWED.get(_name(part), ("", ""))
        form = _form(getattr(part, then, None))
        if form and type(before := getattr(part, first)) is Product:
            setattr(part, first, Product(before, form))
            setattr(part, then, nn.Identity())


def _form(part: object) -> str:
    """Which GELU an activation is; nothing where it is none."""
    if type(part) is nn.GELU:
        return part.approximate
    return "none" if _name(part) in EXACT else ""


def _name(part: object) -> str:
    return f"{type(part).__module__}.{type(part).__name__}"
