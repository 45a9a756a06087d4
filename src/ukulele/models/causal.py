"""Decoder-only language models of transformers: GPT-2, Llama and their kin, cut at every block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from ukulele.errors import ModelError
from ukulele.models.next_token import NextToken
from ukulele.models.passages import named, reader_of, thoughtful, windows
from ukulele.models.quicker import quicken
from ukulele.models.speaking import STRAIGHT, Bend
from ukulele.models.stages import Norm, Summary
from ukulele.models.tied import untie
from ukulele.models.words import Words, from_assets
from ukulele.types import Card, Field, Model, Request, Stage, Tensors

FAMILY: Final = "causal"
INPUTS: Mapping[str, Field] = {"ids": Field("token"), "taught": Field("token")}
LIVE: Mapping[str, Field] = {**INPUTS, "x": Field("token")}  # ids and what is taught are a few bytes a token


@dataclass(frozen=True)
class Layout:
    """Where a family keeps its parts, by their names in the library's own network."""

    base: str
    tokens: str
    blocks: str
    norm: str
    positions: str = ""  # a table of learned positions
    dropout: str = ""  # behind the embeddings
    rotary: str = ""


LLAMA = Layout("model", "embed_tokens", "layers", "norm", rotary="rotary_emb")
LAYOUTS: Mapping[str, Layout] = {
    "gpt2": Layout("transformer", "wte", "h", "ln_f", positions="wpe", dropout="drop"),
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
}
LONGEST = 1024  # tokens of a row, unless more are asked for of a model that takes more
THOUGHTS = 100  # rows of conversations that tell whether answers begin with thoughts


class Embed(nn.Module):
    """Token ids, and positions where they are learned, to vectors."""

    def __init__(self, base: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.tokens = base.get_submodule(layout.tokens)
        self.positions = base.get_submodule(layout.positions) if layout.positions else None
        self.dropout = base.get_submodule(layout.dropout) if layout.dropout else None

    def forward(self, live: Tensors) -> Tensors:
        x = self.tokens(live["ids"])
        if self.positions is not None:
            x = x + self.positions(live["position"])
        return {**live, "x": x if self.dropout is None else self.dropout(x)}


class Block(nn.Module):
    """One block. Without a mask in the live values it attends to all that stands before a token."""

    def __init__(self, layer: nn.Module, window: int | None) -> None:
        super().__init__()
        self.layer = layer
        self._window = window

    def forward(self, live: Tensors) -> Tensors:
        x, mask, given = live["x"], live.get("attention"), {}
        length = x.shape[1]
        if self._window is not None and length > self._window:
            at = torch.arange(length, device=x.device)
            near = (at[:, None] - at[None] < self._window) & (at[:, None] >= at[None])
            mask = near[None, None] if mask is None else mask & near
        if "cos" in live:
            given["position_embeddings"] = (live["cos"].to(x.dtype), live["sin"].to(x.dtype))
        return {**live, "x": self.layer(x, attention_mask=mask, **given)}


def prepare(rotary: nn.Module | None, live: Tensors) -> Tensors:
    """Adds what stages derive from the mask: `position`, and `attention` where several rows stand in one line.

    `token_mask` is n at the n-th row of a line and 0 at padding, which stands on the right: a token never sees it, so
    that a line of one row needs no mask besides the causal one. Positions begin anew with every row.
    """
    if "token_mask" not in live:
        return live
    row = live["token_mask"]
    at = torch.arange(row.shape[1], device=row.device).expand(row.shape)
    derived: Tensors = {}
    if bool((row > 1).any()):
        begins = torch.zeros_like(row, dtype=torch.bool)
        begins[:, 1:] = row[:, 1:] != row[:, :-1]
        position = at - torch.where(begins, at, 0).cummax(1).values
        causal = at[0][:, None] >= at[0][None]
        derived["attention"] = ((row[:, :, None] == row[:, None, :]) & causal)[:, None]
    else:
        position = at
    derived["position"] = position
    if rotary is not None:
        nothing = torch.empty(0, device=row.device)
        derived["cos"], derived["sin"] = rotary(nothing, position)
    return {**live, **derived}


class Whole(nn.Module):
    """A network we hold no layout for, as one stage: it can be frozen or trained, not cut."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, live: Tensors) -> Tensors:
        there = live["token_mask"].clamp(max=1)
        found = self.base(input_ids=live["ids"], attention_mask=there, position_ids=live["position"], use_cache=False)
        return {**live, "x": found.last_hidden_state}


def load(request: Request, folder: Path | None, config: Any, words: Words, name: str, card: Card) -> Model:
    """A decoder by its configuration; its folder is None where it has none.

    Raises
    ------
    ModelError
        If it names no token that ends a text, or rows are asked for that are longer than it takes.
    """
    from ukulele.models import hub

    recipe = recipe_of(folder, config, words, request)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        net = hub.writing_network(folder if request.pretrained else None, config, "causal", recipe["habits"])
    return assemble(net, recipe, words, name, card)


def recipe_of(folder: Path | None, config: Any, words: Words, request: Request) -> dict[str, Any]:
    """All that makes a decoder but its weights, as plain JSON."""
    from ukulele.models import hub

    return {
        "family": FAMILY,
        "config": hub.plain(config),
        "max_length": max_length(config, request),
        "habits": hub.habits(folder if request.pretrained else None, config.vocab_size),
        **talks(special(folder, config, words, request.name), words, request),
    }


def build(recipe: Mapping[str, Any], assets: Mapping[str, bytes], seed: int = 0) -> Model:
    """The model a recipe describes, its weights drawn from `seed`: the caller replaces them."""
    from ukulele.models import hub

    config = hub.config_from(recipe["config"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = hub.writing_network(None, config, "causal", recipe.get("habits", {}))
    model = assemble(net, recipe, from_assets(assets), str(config.model_type), Card("bundle"))
    cut = recipe.get("untied")
    model = model if cut is None or model.untie is None else model.untie(int(cut))
    return as_reader(model) if recipe.get("reads") else model


def resize(model: Model, request: Request) -> Model:
    """A bundle's decoder as the source of a new task: rows as long as asked, and of the kind that they are."""
    words = from_assets(model.assets)
    recipe = {name: value for name, value in model.recipe.items() if name not in {"reads", "stop"}}
    recipe = talks(recipe, words, request)
    if request.max_length is not None:
        recipe["max_length"] = max_length(model.net.config, request)
    return assemble(model.net, recipe, words, model.name, model.card)


def talks(recipe: Mapping[str, Any], words: Words, request: Request) -> dict[str, Any]:
    """A recipe with whether rows are conversations, and whether their answers begin with how they were thought of."""
    reasons = request.chat and recipe.get("reasons", False)
    if request.chat and request.rows is not None and recipe["template"]:
        some = request.rows.take(range(min(THOUGHTS, len(request.rows))))
        told = [(row.inputs[0], str(answer)) for row in some for answer in row.targets.values() if answer is not None]
        reasons = thoughtful(recipe["template"], told, named(words, recipe["start"], recipe["end"]))
    return {**recipe, "chat": request.chat, "reasons": reasons}


def reader(model: Model, request: Request) -> Model:
    """A decoder that reads a text, as the source of a task whose answer is none: the mean of its tokens' states.

    Raises
    ------
    ModelError
        If two texts a row are to be read.
    """
    if request.inputs > 1:
        raise ModelError(
            f"{model.name} continues texts: it reads one a row, not two.", hint="Name an encoder, such as minilm."
        )
    return as_reader(resize(model, replace(request, chat=False)))


def as_reader(model: Model) -> Model:
    """A decoder that ends in the mean of its tokens' states instead of a head that writes."""
    pool = Stage("pool", Summary(mean), {"pooled": Field()})
    return replace(
        model,
        stages=(*model.stages, pool),
        recipe={**model.recipe, "reads": True},
        heads={},
        teaches=False,
        packs=False,
        windows=None,
        untie=None,
    )


def assemble(net: nn.Module, recipe: Mapping[str, Any], words: Words, name: str, card: Card) -> Model:
    """The record of a network."""
    quicken(net)
    config: Any = net.config
    layout = LAYOUTS.get(config.model_type)
    reads = reader_of(recipe, words)
    longest = int(getattr(config, "max_position_embeddings", None) or recipe["max_length"])
    rotary = _base(net, layout).get_submodule(layout.rotary) if layout and layout.rotary else None
    stages = tuple(_stages(net, layout))
    bend = STRAIGHT if layout else bend_of(net, stages[0].module, name)
    return Model(
        name=name,
        net=net,
        encode=reads.encode,
        inputs=INPUTS,
        stages=stages,
        width=int(config.hidden_size),
        summary=mean,
        recipe=recipe,
        card=card,
        prepare=partial(prepare, rotary),
        limit=recipe["max_length"],
        lengths=reads.lengths,
        assets=words.assets,
        heads={"write": lambda _kind: NextToken(net, words, recipe["stops"], longest, bend)},
        teaches=True,
        packs=layout is not None,
        windows=partial(windows, words, recipe["max_length"] - 2),  # each begins with a token, the last ends with one
        untie=partial(_untied, net, recipe, words, (name, card)),
    )


def _untied(net: nn.Module, recipe: Mapping[str, Any], words: Words, known: tuple[str, Card], cut: int) -> Model:
    model = assemble(net, {**recipe, "untied": cut}, words, *known)
    top: Any = net.get_output_embeddings()  # type: ignore[operator]
    untie([stage.module for stage in model.stages[:cut]], [*(stage.module for stage in model.stages[cut:]), top])
    return model


def bend_of(net: nn.Module, body: nn.Module, name: str) -> Bend:
    """What a network does to the scores of its last layer, measured on two tokens.

    Raises
    ------
    ModelError
        If it is neither a factor nor a soft cap, as to train on other scores would teach another model; or if a token
        sees those behind it.
    """
    top: Any = net.get_output_embeddings()  # type: ignore[operator]
    ids = torch.tensor([[0, 1]], device=next(net.parameters()).device)
    live = {"ids": ids, "token_mask": torch.ones_like(ids), "position": torch.arange(2, device=ids.device)[None]}
    training = net.training
    net.eval()
    with torch.no_grad():
        scores: Tensor = net(input_ids=ids, use_cache=False).logits.double()
        plain: Tensor = top(body(live)["x"]).double()
        other: Tensor = top(body({**live, "ids": torch.tensor([[0, 2]], device=ids.device)})["x"]).double()
    net.train(training)
    if not torch.allclose(plain[:, 0], other[:, 0], rtol=1e-4, atol=1e-4 * float(plain.std()) + 1e-9):
        raise ModelError(
            f"{name}: what it makes of a token depends on those behind it, so it foretells nothing.",
            hint="Its family is not supported for writing. Choose another model.",
        )
    cap = getattr(net.config, "final_logit_softcapping", None)
    straight = scores if cap is None else cap * (scores / cap).clamp(-1 + 1e-6, 1 - 1e-6).atanh()
    size = float(plain.square().sum())
    found = Bend(float(f"{float((straight * plain).sum()) / size:.6g}") if size else 1.0, cap)
    if not torch.allclose(found(plain), scores, rtol=0.01, atol=0.01 * float(scores.std()) + 1e-6):
        raise ModelError(
            f"{name}: its scores are not those of its last layer, nor these times a number or softly capped.",
            hint="Its family is not supported for writing. Choose another model.",
        )
    return found


def _base(net: nn.Module, layout: Layout | None) -> nn.Module:
    return net.get_submodule(layout.base if layout else net.base_model_prefix)  # type: ignore[arg-type]


def _stages(net: nn.Module, layout: Layout | None) -> list[Stage]:
    base = _base(net, layout)
    if layout is None:
        return [Stage("body", Whole(base), LIVE)]
    config: Any = net.config
    kinds = getattr(config, "layer_types", None) or ()
    stages = [Stage("embed", Embed(base, layout), LIVE)]
    for number, layer in enumerate(base.get_submodule(layout.blocks).children()):
        every = config.model_type == "mistral" and not kinds
        near = every or (number < len(kinds) and kinds[number] == "sliding_attention")
        window = getattr(config, "sliding_window", None) if near else None
        stages.append(Stage(f"block{number}", Block(layer, window), LIVE))
    return [*stages, Stage("norm", Norm(base.get_submodule(layout.norm)), LIVE)]


def mean(live: Tensors) -> Tensor:
    """The mean of a row's tokens but for those of its answer, the last that are taught, float32, behind any stage."""
    if "pooled" in live:
        return live["pooled"]
    there = live["token_mask"] > 0
    behind = ((live["taught"] > 0) | ~there).flip(1).cumprod(1).flip(1) > 0
    share = (there & ~behind).float()
    return (live["x"].float() * (share / share.sum(1, keepdim=True).clamp(min=1))[..., None]).sum(1)


def max_length(config: Any, request: Request) -> int:
    """Tokens of a row.

    Raises
    ------
    ModelError
        If more are asked for than the model takes, or too few to learn anything from.
    """
    most = int(getattr(config, "max_position_embeddings", None) or LONGEST)
    if request.max_length is None:
        return min(most, LONGEST)
    if not 8 <= request.max_length <= most:
        raise ModelError(
            f"--max-length {request.max_length} does not suit {request.name}.", hint=f"Choose 8 to {most} tokens."
        )
    return request.max_length


def special(folder: Path | None, config: Any, words: Words, name: str) -> dict[str, Any]:
    """The part of a recipe that tells the special tokens and the chat template of a model.

    Raises
    ------
    ModelError
        If a token is beyond the model's vocabulary.
    """
    from ukulele.models import hub

    said = hub.settings(folder / "tokenizer_config.json") if folder else {}
    generation = hub.settings(folder / "generation_config.json") if folder else {}
    end, configured = words.eos, _numbers(config.eos_token_id)
    start = (_numbers(config.bos_token_id) or [words.bos])[0]
    stops = sorted({end, *configured, *_numbers(generation.get("eos_token_id"))})
    strange = [token for token in (start, *stops) if not 0 <= token < config.vocab_size]
    if strange:
        raise ModelError(
            f"{name}: its special token {strange[0]} is none of the model's {config.vocab_size} tokens.",
            hint="Its config.json and its tokenizer must be of the same model.",
        )
    template = said.get("chat_template")
    if isinstance(template, list):  # several by name
        template = {one.get("name"): one.get("template") for one in template}.get("default")
    if folder and (folder / "chat_template.jinja").is_file():
        template = (folder / "chat_template.jinja").read_text("utf-8")
    return {
        "start": start, "end": end, "stops": stops, "template": template if isinstance(template, str) else None,
    }  # fmt: skip


def _numbers(value: Any) -> list[int]:
    return [int(one) for one in (value if isinstance(value, list) else [value]) if one is not None]
