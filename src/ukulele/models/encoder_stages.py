"""The stages of text encoders, and the table of families: where each keeps its embeddings and blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ukulele.models.chunks import sizes, through
from ukulele.models.stages import Norm
from ukulele.types import Field, Stage, Tensors


@dataclass(frozen=True)
class Layout:
    """Where a family keeps its embeddings and blocks, and what its blocks want besides the hidden states."""

    blocks: str
    sides: bool = True  # takes token types: which of two texts a token belongs to
    first_position: Callable[[Any], int] = lambda _config: 0
    project: str = ""  # a linear map between embeddings and blocks
    norm: str = ""  # a layer norm behind the last block
    rotary: str = ""
    pooler: bool = True  # takes add_pooling_layer=False


DERIVED = frozenset({"position", "attention", "pieces"})  # by `prepare`


def _after_padding(config: Any) -> int:
    return int(config.pad_token_id) + 1


BERT = Layout("encoder.layer")
ROBERTA = Layout("encoder.layer", first_position=_after_padding)
LAYOUTS: Mapping[str, Layout] = {
    "bert": BERT,
    "electra": Layout("encoder.layer", project="embeddings_project", pooler=False),
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "distilbert": Layout("transformer.layer", sides=False, pooler=False),
    "modernbert": Layout("layers", sides=False, norm="final_norm", rotary="rotary_emb", pooler=False),
}


def stages_of(net: nn.Module, layout: Layout | None, live: Mapping[str, Field], sides: bool) -> list[Stage]:
    """The stages of a network, without the pool; one for all of it where there is no layout. `live` is behind each."""
    if layout is None:
        return [Stage("body", Whole(net, sides), live)]
    stages = [Stage("embed", Embed(net, layout), live)]
    for number, layer in enumerate(net.get_submodule(layout.blocks).children()):
        block: nn.Module = Block(layer)
        if layout.rotary:
            block = RotaryBlock(layer, net.get_submodule(layout.rotary), int(net.config.sliding_window))  # type: ignore[union-attr, arg-type]
        stages.append(Stage(f"block{number}", block, live))
    if layout.norm:
        stages.append(Stage("norm", Norm(net.get_submodule(layout.norm)), live))
    return stages


class Embed(nn.Module):
    """Token ids to vectors; `piece`, where texts are chunked, lives on."""

    def __init__(self, net: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.embeddings = net.get_submodule("embeddings")
        self.project = getattr(net, layout.project, None) if layout.project else None
        self._sides, self._positions = layout.sides, not layout.rotary

    def forward(self, live: Tensors) -> Tensors:
        rest = {name: value for name, value in live.items() if name not in {"ids", "side"}}
        given: Tensors = {"input_ids": live["ids"]}
        if self._sides:
            given["token_type_ids"] = live["side"]
        if self._positions:
            given["position_ids"] = live["position"]
        x = self.embeddings(**given)
        return {**rest, "x": x if self.project is None else self.project(x)}


class Block(nn.Module):
    """One transformer block."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, live: Tensors) -> Tensors:
        if "pieces" in live:
            return {**live, "x": through(lambda x, mask, _: self.layer(x, mask), live)}
        return {**live, "x": self.layer(live["x"], live.get("attention"))}


class RotaryBlock(nn.Module):
    """One block with rotary positions and global or local attention (ModernBERT)."""

    def __init__(self, layer: nn.Module, rotary: nn.Module, window: int) -> None:
        super().__init__()
        self.layer = layer
        self._rotary, self._window = [rotary], window  # in a list: shared by all blocks, without parameters

    def forward(self, live: Tensors) -> Tensors:
        if "pieces" in live:
            return {**live, "x": through(self._run, live)}
        return {**live, "x": self._run(live["x"], live.get("attention"), live["position"])}

    def _run(self, x: Tensor, mask: Tensor | None, position: Tensor) -> Tensor:
        kind = self.layer.attention_type
        if kind == "sliding_attention":
            at = torch.arange(x.shape[1], device=x.device)
            near = ((at[:, None] - at[None]).abs() <= self._window)[None, None]
            mask = near if mask is None else mask & near
        turned = self._rotary[0](x, position, kind)
        return self.layer(x, attention_mask=mask, position_embeddings=turned)  # type: ignore[no-any-return]


class Whole(nn.Module):
    """A network we hold no layout for, as one stage: it can be frozen or trained, not cut."""

    def __init__(self, net: nn.Module, sides: bool) -> None:
        super().__init__()
        self.net = net
        self._sides = sides

    def forward(self, live: Tensors) -> Tensors:
        rest = {name: value for name, value in live.items() if name not in {"ids", "side"}}
        given = {"input_ids": live["ids"], "attention_mask": live["token_mask"]}
        if self._sides:
            given["token_type_ids"] = live["side"]
        return {**rest, "x": self.net(**given).last_hidden_state}


def pool(how: str, pairs: str, live: Tensors) -> Tensor:
    """Tokens to one vector a row, float32: their mean, or the first one of each piece ("cls").

    Two texts read separately become u, v, |u - v|, u v and their cosine (Reimers & Gurevych, 2019,
    arXiv:1908.10084, section 3; the product after Conneau et al., 2017, arXiv:1705.02364): (rows, 4 width + 1).
    Behind the pool it is `pooled` itself.
    """
    if "pooled" in live:
        return live["pooled"]
    there = live["token_mask"]
    if how == "cls":
        start = torch.ones_like(there)
        if "piece" in live:
            start[:, 1:] = live["piece"][:, 1:] > live["piece"][:, :-1]
        else:
            start[:, 1:] = 0
        there = there * start
    if pairs != "separate":
        return _weighted(live["x"], there)
    u, v = (normalize(_weighted(live["x"], there * (live["piece"] == side))) for side in (0, 1))
    return torch.cat([u, v, (u - v).abs(), u * v, (u * v).sum(1, keepdim=True)], 1)


def _weighted(x: Tensor, weights: Tensor) -> Tensor:
    share = weights.float() / weights.sum(1, keepdim=True).clamp(min=1)
    return (x.float() * share[..., None]).sum(1)


def prepare(first_position: int, live: Tensors) -> Tensors:
    """Adds what stages derive from the mask: `position`; `attention`, a boolean (rows, 1, 1, tokens), where anything is
    masked; or, where a row has several pieces, which do not see each other, `pieces`, the tokens of each.
    """
    if "token_mask" not in live:
        return live
    live = {name: value for name, value in live.items() if name not in DERIVED}
    there = live["token_mask"] > 0
    position = torch.arange(there.shape[1], device=there.device).expand(there.shape)
    derived: Tensors = {}
    if "piece" in live and bool(live["piece"].any()):
        derived["pieces"] = found = sizes(live["piece"], there)
        position = position - (found.cumsum(1) - found).gather(1, live["piece"])
    elif "piece" in live or not bool(there.all()):
        derived["attention"] = there[:, None, None, :]
    return {**live, **derived, "position": (position + first_position) * there}
