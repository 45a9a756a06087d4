"""Text encoders of transformers: BERT and its kin, one text a row, two, or some of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ukulele.errors import DataError, ModelError
from ukulele.models import attention
from ukulele.models.encoder_stages import BERT, LAYOUTS, ROBERTA, pool, prepare, stages_of
from ukulele.models.lengths import lengths
from ukulele.models.quicker import quicken
from ukulele.models.stages import Summary
from ukulele.types import Card, Field, Model, Request, Stage, Tensors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FAMILY = "transformers"
OFFSET = frozenset({"mpnet", "longformer", "roberta-prelayernorm", "xlm-roberta-xl", "data2vec-text", "ibert"})
TOGETHER = 256  # short texts pass at once: MiniLM on sst2, bf16, two cores, 6.3 s for 7.3 with 64
UNBOUNDED = 512  # tokens, where a family knows no limit of its own
TEXTS = {"none": (1,), "either": (1, 2)}  # a row may have, by how pairs are read; else two


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
        "config": hub.plain(config),
        "pooling": _pooling(folder),
        **reading(folder, config, request),
    }
    options, answers = _network_options(config), None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        if request.pretrained and hub.classifies(config):
            net, answers = hub.text_classifier(folder, config, options)
        else:
            net = hub.text_network(folder if request.pretrained else None, config, options)
    card = _card(request, folder)
    if answers is not None and card.source_task == "unknown":
        card = replace(card, source_task="text-classification")
    assets = {"tokenizer.json": tokenizer_json}
    return _assemble(net, recipe, assets, hub.display_name(request.name), card, answers)


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
    return _assemble(model.net, recipe, model.assets, model.name, model.card, model.answers)


def _network_options(config: Any) -> dict[str, Any]:
    layout = LAYOUTS.get(config.model_type)
    if layout is None:
        return {}
    return {"attn_implementation": attention.NAME, **({"add_pooling_layer": False} if layout.pooler else {})}


def _assemble(
    net: nn.Module,
    recipe: Mapping[str, Any],
    assets: Mapping[str, bytes],
    name: str,
    card: Card,
    answers: nn.Module | None = None,
) -> Model:
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
    last = Stage("pool", Summary(pooling), {"pooled": Field()})
    width = int(config.hidden_size)
    return Model(
        name=name,
        net=net,
        encode=partial(encode, tokenizer_of(assets["tokenizer.json"], recipe), tuple(inputs), recipe["pairs"]),
        inputs=inputs,
        stages=(*stages_of(net, layout, {"x": Field("token"), **kept}, sides), last),
        width=4 * width + 1 if recipe["pairs"] == "separate" else width,
        summary=partial(pool, "mean", recipe["pairs"]),
        recipe=recipe,
        card=card,
        prepare=partial(prepare, layout.first_position(config)) if layout else dict,
        assets=assets,
        limit=None if recipe["long"] == "chunk" else recipe["max_length"],
        together=TOGETHER,
        lengths=partial(lengths, assets["tokenizer.json"], recipe["pairs"]),
        answers=None if recipe["pairs"] == "separate" else answers,  # no row then has a state of both texts
        lookup=("ids", net.get_input_embeddings()) if layout else None,  # type: ignore[operator]
    )


def chunkable(model_type: str, inputs: int) -> bool:
    """Whether long texts can be read in pieces: of models that have a layout, one text a row."""
    return model_type in LAYOUTS and inputs == 1


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
