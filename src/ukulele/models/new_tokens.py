"""Words that a model is given tokens of their own for: new rows of its embeddings, begun as the mean of old ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ukulele.errors import ModelError
from ukulele.models.words import ANSWERS, FILE, from_assets
from ukulele.types import Model, Request

FAMILIES = frozenset({"seq2seq", "causal", "transformers"})  # with a table of tokens


def grown(model: Model, request: Request) -> Model:
    """The model with rows for `request.new_tokens`, and for tokens that its tokenizer has beyond its table.

    A new row is the mean of the rows of the pieces that stood for the word before, of the embeddings as of the output
    layer; of all rows where there were none (Hewitt, 2021, "Initializing new word embeddings for pretrained language
    models"). The network is changed in place.

    Raises
    ------
    ModelError
        If tokens are asked for that it cannot take.
    """
    family = model.recipe.get("family")
    if family not in FAMILIES:
        _refuse(request, f"{model.name} has no table of tokens")
        return model
    if ANSWERS in model.assets:
        _refuse(request, f"{model.name} has a vocabulary for each of its two languages")
        return model
    net: Any = model.net
    content, fresh = with_tokens(model.assets[FILE], request.new_tokens)
    rows = len(net.get_input_embeddings().weight)
    unknown = {token: number for token, number in added_tokens(content).items() if number >= rows}
    if not fresh and not unknown:
        return model
    if "stop" in model.recipe:
        _refuse(request, f"{model.name} ends at one of its stages")
        return model
    extend(net, pieces_of(content, {**fresh, **unknown}))
    return _again(model, {**model.assets, FILE: content}, sorted(fresh))


def _refuse(request: Request, why: str) -> None:
    if request.new_tokens:
        raise ModelError(f"{why}: it can be given no new ones.", hint="Leave --new-tokens out.")


def with_tokens(content: bytes, tokens: Sequence[str]) -> tuple[bytes, dict[str, int]]:
    """A tokenizer.json that knows some words, and the numbers of those that it did not know."""
    from tokenizers import AddedToken, Tokenizer

    tokenizer = Tokenizer.from_str(content.decode())
    fresh = [token for token in dict.fromkeys(tokens) if tokenizer.token_to_id(token) is None]
    if not fresh:
        return content, {}
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in fresh])
    numbers = {token: tokenizer.token_to_id(token) for token in fresh}
    return tokenizer.to_str().encode(), {token: number for token, number in numbers.items() if number is not None}


def added_tokens(content: bytes) -> dict[str, int]:
    """The tokens of a tokenizer.json that were added to its own, with their numbers."""
    return {one["content"]: int(one["id"]) for one in json.loads(content).get("added_tokens", ())}


def pieces_of(content: bytes, tokens: Mapping[str, int]) -> dict[str, tuple[int, list[int]]]:
    """Of each token its number, and the numbers of the tokens that stand for its text where it is not there."""
    from tokenizers import Tokenizer

    plain = json.loads(content)
    plain["added_tokens"] = [one for one in plain.get("added_tokens", ()) if one["content"] not in tokens]
    tokenizer = Tokenizer.from_str(json.dumps(plain))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return {
        token: (number, list(tokenizer.encode(token, add_special_tokens=False).ids)) for token, number in tokens.items()
    }


def extend(net: Any, pieces: Mapping[str, tuple[int, list[int]]]) -> None:
    """Rows for new tokens wherever a network holds one for each: its embeddings, and the output layer with its bias.

    What modules share they go on sharing. Rows that are there already, but stand for no token yet, are begun anew.
    """
    rows = len(net.get_input_embeddings().weight)
    most = max(rows, max(number for number, _ in pieces.values()) + 1)
    longer: dict[int, Tensor] = {}
    for module in _holders(net):
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            across = value.dim() == 2 and value.shape == (1, rows)  # what Marian and BART add to the scores
            if not across and (value.dim() == 0 or len(value) != rows):
                continue
            if id(value) not in longer:
                found = _begun((value.detach()[0] if across else value.detach()), most, pieces)
                found = found[None] if across else found
                longer[id(value)] = nn.Parameter(found, value.requires_grad) if _trains(value) else found
            setattr(module, name, longer[id(value)])
        for name in ("num_embeddings", "out_features"):
            if getattr(module, name, None) == rows:
                setattr(module, name, most)
    net.config.vocab_size = most
    if getattr(net.config, "decoder_vocab_size", None):
        net.config.decoder_vocab_size = most


def _trains(value: Tensor) -> bool:
    return isinstance(value, nn.Parameter)


def _holders(net: Any) -> list[nn.Module]:
    """The modules that have one of the tensors, each as often as it is used; the network itself for its own."""
    tops = [net.get_input_embeddings(), net.get_output_embeddings()]
    tops += [net.get_decoder().get_input_embeddings()] if net.config.is_encoder_decoder else []
    values = {id(value) for top in tops if top is not None for value in top.parameters(recurse=False)}
    return [net, *(one for one in net.modules() if values & {id(value) for value in one.parameters(recurse=False)})]


def _begun(table: Tensor, most: int, pieces: Mapping[str, tuple[int, list[int]]]) -> Tensor:
    """A table (tokens, …) with `most` rows."""
    rows, own = len(table), {number for number, _ in pieces.values()}
    known = torch.tensor([at for at in range(rows) if at not in own])
    middle = table[known].mean(0)
    made = torch.cat([table, middle.expand(most - rows, *table.shape[1:])])
    for number, parts in pieces.values():
        old = [part for part in parts if part < rows and part not in own]
        made[number] = table[old].mean(0) if old else middle
    return made


def _again(model: Model, assets: Mapping[str, bytes], fresh: Sequence[str]) -> Model:
    """The model's record, written anew for its network and tokenizer as they are now."""
    from ukulele.models import hub

    recipe = {
        **model.recipe,
        "config": hub.plain(model.net.config),
        "new_tokens": [*model.recipe.get("new_tokens", ()), *fresh],
    }
    known = (model.name, model.card)
    match recipe["family"]:
        case "causal":
            from ukulele.models import causal

            made = causal.assemble(model.net, recipe, from_assets(assets), *known)
            return causal.as_reader(made) if recipe.get("reads") else made
        case "seq2seq":
            from ukulele.models import seq2seq

            return seq2seq.assemble(model.net, recipe, from_assets(assets), *known)
        case _:
            from ukulele.models import encoders

            return encoders.rewrap(replace(model, assets=assets), **recipe)
