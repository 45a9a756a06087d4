"""Text encoders of transformers: BERT and its kin, one text a row, two, or some of each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ukulele.errors import DataError, ModelError
from ukulele.models import attention
from ukulele.models.dropout import quicken
from ukulele.models.lengths import lengths
from ukulele.types import Card, Field, Model, Request, Stage, Tensors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FAMILY = "transformers"


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
OFFSET = frozenset({"mpnet", "longformer", "roberta-prelayernorm", "xlm-roberta-xl", "data2vec-text", "ibert"})
UNBOUNDED = 512  # tokens, where a family knows no limit of its own
TEXTS = {"none": (1,), "either": (1, 2)}  # a row may have, by how pairs are read; else two


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
        return {**live, "x": self.layer(live["x"], live.get("attention"))}


class RotaryBlock(nn.Module):
    """One block with rotary positions and global or local attention (ModernBERT)."""

    def __init__(self, layer: nn.Module, rotary: nn.Module, window: int) -> None:
        super().__init__()
        self.layer = layer
        self._rotary, self._window = [rotary], window  # in a list: shared by all blocks, without parameters

    def forward(self, live: Tensors) -> Tensors:
        x, mask, kind = live["x"], live.get("attention"), self.layer.attention_type
        if kind == "sliding_attention":
            at = torch.arange(x.shape[1], device=x.device)
            near = ((at[:, None] - at[None]).abs() <= self._window)[None, None]
            mask = near if mask is None else mask & near
        turned = self._rotary[0](x, live["position"], kind)
        return {**live, "x": self.layer(x, attention_mask=mask, position_embeddings=turned)}


class Norm(nn.Module):
    """The layer norm behind the last block."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, live: Tensors) -> Tensors:
        return {**live, "x": self.norm(live["x"])}


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


class Pool(nn.Module):
    """Ends the trunk in `pooled`."""

    def __init__(self, pool: Callable[[Tensors], Tensor]) -> None:
        super().__init__()
        self._pool = pool

    def forward(self, live: Tensors) -> Tensors:
        return {"pooled": self._pool(live)}


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
    """Adds what stages derive from the mask: `attention`, a boolean (rows, 1, 1 or tokens, tokens), where
    anything is masked, and `position`. Pieces of a chunked text do not see each other.
    """
    if "token_mask" not in live:
        return live
    there = live["token_mask"] > 0
    at = torch.arange(there.shape[1], device=there.device).expand(there.shape)
    if "piece" in live and bool(live["piece"].any()):
        piece = live["piece"]
        same = (piece[:, :, None] == piece[:, None, :]) & there[:, None, :]
        same |= torch.eye(there.shape[1], dtype=torch.bool, device=there.device)  # padding sees itself, not nothing
        starts = (piece[:, None, :] < piece[:, :, None]) & there[:, None, :]
        attention, position = same[:, None], at - starts.sum(-1)
    else:
        attention, position = there[:, None, None, :], at
    derived = {"position": (position + first_position) * there}
    if not bool(there.all()) or "piece" in live:
        derived["attention"] = attention
    return {**live, **derived}


def load(request: Request) -> Model:
    """A text encoder by hub id or local folder, with its own tokenizer and pooling.

    Raises
    ------
    ModelError
        If there is no such model within reach, or it is not an encoder with a tokenizer.
    """
    from ukulele.models import hub

    folder = hub.text_folder(request.name)
    config = hub.text_config(folder)
    tokenizer_json = hub.tokenizer_json(folder)
    recipe = {
        "family": FAMILY,
        "config": json.loads(config.to_json_string(use_diff=False)),
        "pooling": _pooling(folder),
        **reading(folder, config, request),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        net = hub.text_network(folder if request.pretrained else None, config, _network_options(config))
    return _assemble(
        net, recipe, {"tokenizer.json": tokenizer_json}, hub.display_name(request.name), _card(request, folder)
    )


def reading(folder: Path, config: Any, request: Request) -> dict[str, Any]:
    """The part of a recipe that tells how texts become tokens."""
    length, pairs = _max_length(folder, config, request), _pairs(folder, config, request)
    return {"max_length": length, "long": request.long, "inputs": request.inputs, "pairs": pairs}


def build(recipe: Mapping[str, Any], assets: Mapping[str, bytes], seed: int = 0) -> Model:
    """The model a recipe describes, its weights drawn from `seed`: the caller replaces them."""
    from ukulele.models import hub

    config = hub.config_from(recipe["config"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = hub.text_network(None, config, _network_options(config))
    return _assemble(net, recipe, assets, str(config.model_type), Card("bundle"))


def rewrap(model: Model, **changes: Any) -> Model:
    """The same network with another recipe: two texts a row, another length, chunks instead of a cut."""
    recipe = {**model.recipe, **changes}
    return _assemble(model.net, recipe, model.assets, model.name, model.card)


def _network_options(config: Any) -> dict[str, Any]:
    layout = LAYOUTS.get(config.model_type)
    if layout is None:
        return {}
    return {"attn_implementation": attention.NAME, **({"add_pooling_layer": False} if layout.pooler else {})}


def _assemble(net: nn.Module, recipe: Mapping[str, Any], assets: Mapping[str, bytes], name: str, card: Card) -> Model:
    config: Any = net.config
    quicken(net)
    layout = LAYOUTS.get(config.model_type)
    if layout is None and recipe["long"] == "chunk":
        raise ModelError(
            f"{name}: long texts cannot be chunked for models of type {config.model_type!r}.", hint="Use --long cut."
        )
    if layout is None and recipe["pairs"] == "separate":
        recipe = {**recipe, "pairs": "joint"}
    pieces = recipe["long"] == "chunk" or recipe["pairs"] == "separate"
    sides = layout.sides if layout else int(getattr(config, "type_vocab_size", 0) or 0) > 0
    pad = float(config.pad_token_id or 0)
    kept = {"piece": Field("token")} if pieces else {}
    inputs = {"ids": Field("token", pad), **({"side": Field("token")} if sides else {}), **kept}
    pooling = partial(pool, recipe["pooling"], recipe["pairs"])
    last = Stage("pool", Pool(pooling), {"pooled": Field()})
    width = int(config.hidden_size)
    return Model(
        name=name,
        net=net,
        encode=partial(encode, tokenizer_of(assets["tokenizer.json"], recipe), tuple(inputs), recipe["pairs"]),
        inputs=inputs,
        stages=(*_stages(net, layout, {"x": Field("token"), **kept}, sides), last),
        width=4 * width + 1 if recipe["pairs"] == "separate" else width,
        summary=partial(pool, "mean", recipe["pairs"]),
        recipe=recipe,
        card=card,
        prepare=partial(prepare, layout.first_position(config)) if layout else dict,
        assets=assets,
        limit=None if recipe["long"] == "chunk" else recipe["max_length"],
        lengths=partial(lengths, assets["tokenizer.json"], recipe["pairs"]),
        lookup=("ids", net.get_input_embeddings()) if layout else None,  # type: ignore[operator]
    )


def _stages(net: nn.Module, layout: Layout | None, live: Mapping[str, Field], sides: bool) -> list[Stage]:
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


def encode(
    tokenizer: Tokenizer,
    names: Sequence[str],
    pairs: str,
    inputs: Sequence[tuple[Any, ...]],
    draws: Sequence[int],
) -> list[Tensors]:
    """Texts as token ids, without padding. Text has no augmentation: `draws` are not looked at.

    Each piece has its own special tokens: a chunk of a long text, or one of two texts that are read separately.

    Raises
    ------
    DataError
        If a row has more or fewer texts than the model takes.
    """
    del draws
    allowed = TEXTS.get(pairs, (2,))
    for texts in inputs:
        if len(texts) not in allowed:
            takes = {"none": "one", "either": "one or two"}.get(pairs, "two texts")
            raise DataError(f"a row has {len(texts)} texts; the model takes {takes} a row.")
    if pairs == "separate":
        single = tokenizer.encode_batch([text for texts in inputs for text in texts])
        return [_row(single[at : at + 2], names) for at in range(0, len(single), 2)]
    found = tokenizer.encode_batch([texts if len(texts) > 1 else texts[0] for texts in inputs])
    return [_row([one, *one.overflowing] if "piece" in names else [one], names) for one in found]


def _row(pieces: Sequence[Any], names: Sequence[str]) -> Tensors:
    row: Tensors = {"ids": torch.tensor([i for piece in pieces for i in piece.ids])}
    if "side" in names:
        row["side"] = torch.tensor([i for piece in pieces for i in piece.type_ids])
    if "piece" in names:
        row["piece"] = torch.tensor([n for n, piece in enumerate(pieces) for _ in piece.ids])
    return row


def tokenizer_of(content: bytes, recipe: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a file's content, which cuts as the recipe says."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(content.decode())
    tokenizer.no_padding()
    if recipe["long"] == "chunk" and recipe["inputs"] > 1:
        raise ModelError("Two texts a row can be cut but not chunked.", hint="Use --long cut.")
    tokenizer.enable_truncation(recipe["max_length"], strategy="longest_first")
    return tokenizer


def _pooling(folder: Path) -> str:
    """What the folder's sentence-transformers settings say; the mean where they say nothing."""
    from ukulele.models import hub

    return "cls" if hub.settings(folder / "1_Pooling" / "config.json").get("pooling_mode_cls_token") else "mean"


def _pairs(folder: Path, config: Any, request: Request) -> str:
    """How two texts are read: separately by a model made for that (sentence-transformers), else side by side."""
    if request.inputs < 2:
        return "none"
    if request.mixed:
        return "either"  # side by side: rows of one text end in vectors of the same width
    return "separate" if config.model_type in LAYOUTS and (folder / "modules.json").is_file() else "joint"


def _max_length(folder: Path, config: Any, request: Request) -> int:
    layout = LAYOUTS.get(config.model_type, ROBERTA if config.model_type in OFFSET else BERT)
    most = int(getattr(config, "max_position_embeddings", None) or UNBOUNDED) - layout.first_position(config)
    if request.max_length is not None:
        if not 8 <= request.max_length <= most:
            raise ModelError(
                f"--max-length {request.max_length} does not suit {request.name}.", hint=f"Choose 8 to {most} tokens."
            )
        return request.max_length
    from ukulele.models import hub

    path = folder / "sentence_bert_config.json"
    if not path.is_file():
        return min(most, 512)
    said = hub.settings(path).get("max_seq_length")
    if not isinstance(said, int | None):
        raise ModelError(f"{path}: max_seq_length is {said!r}; a number was expected.")
    return min(most, said or most)


def _card(request: Request, folder: Path) -> Card:
    origin = request.name if request.pretrained else f"{request.name}, random weights"
    readme = folder / "README.md"
    text = readme.read_text("utf-8", errors="replace") if readme.is_file() else ""
    facts = dict(re.findall(r"^(license|pipeline_tag): *(\S+)", text, re.M))
    task = facts.get("pipeline_tag", "unknown") if request.pretrained else "none"
    return Card(origin, task, facts.get("license", "unknown"))


def resize(model: Model, request: Request) -> Model:
    """A bundle's encoder as the source of a new task: as many texts a row, and as long, as asked."""
    learned = {"none": "separate", "either": "joint"}.get(model.recipe["pairs"], model.recipe["pairs"])
    pairs = "none" if request.inputs < 2 else "either" if request.mixed else learned
    changes: dict[str, Any] = {"inputs": request.inputs, "long": request.long, "pairs": pairs}
    if request.max_length is not None:
        changes["max_length"] = _max_length(Path(), model.net.config, request)
    return replace(rewrap(model, **changes), card=model.card)
