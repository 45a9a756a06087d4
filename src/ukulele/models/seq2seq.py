"""Encoder–decoder networks of transformers that write a text for a text: T5, BART, mBART, Marian, M2M-100 and NLLB.

Stages: the encoder's embeddings and blocks, then the decoder's, which goes on from the encoder's last states
("memory") and from the answer. A cut in front of "target" keeps the memory alone: training the decoder then never
runs the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ukulele.errors import DataError, ModelError
from ukulele.models import generation, tied
from ukulele.models.quicker import quicken
from ukulele.models.seq2seq_stages import END, START, stages_of
from ukulele.models.speaking import IGNORED, taught_loss
from ukulele.models.words import Words, from_assets
from ukulele.types import Card, Field, Loss, Model, Request, Tensors, Writing, Written

FAMILY = "seq2seq"
SMOOTHING = 0.1  # of labels while translations are taught (Vaswani et al., 2017)
UNBOUNDED = 512  # tokens, where positions are relative
# tokens a translation may have for one of its source, and on top of that, as fairseq bounds them
TIMES, MORE = 2, 20


@dataclass(frozen=True)
class Marks:
    """The special tokens around a text ("bos", "eos", "language"), and whether an answer must begin with the last."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ("eos",)
    start: str = ""  # what the decoder begins with; empty: as the configuration says
    forced: bool = False


LANGUAGE_FIRST = Marks(("language",), ("eos",), start="eos", forced=True)
MARKS: Mapping[str, Marks] = {
    "t5": Marks(),
    "bart": Marks(("bos",)),
    "marian": Marks(),
    "mbart": Marks((), ("eos", "language"), start="language"),
    "mbart50": LANGUAGE_FIRST,
    "m2m_100": LANGUAGE_FIRST,
}


def load(request: Request, folder: Any, config: Any, words: Words, name: str, card: Card) -> Model:
    """An encoder–decoder model.

    Parameters
    ----------
    request
        What is asked of it: the kind of text, languages, length, seed.
    folder
        Where its weights are; None draws them.
    config, words, name, card
        Its configuration, tokenizer, and what it is called.

    Raises
    ------
    ModelError
        If its family is not known, or it lacks a language.
    """
    from ukulele.models import hub

    recipe = recipe_of(folder, config, words, request)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        net = hub.writing_network(folder, config, "seq2seq", recipe["habits"])
    return assemble(net, recipe, words, name, card)


def recipe_of(folder: Any, config: Any, words: Words, request: Request) -> dict[str, Any]:
    """All that makes an encoder–decoder but its weights, as plain JSON."""
    from ukulele.models import hub

    family, plain = _family(config, folder), hub.plain(config)
    found = {"family": FAMILY, "config": plain, "marks": family, "untied": []}
    found["habits"] = hub.habits(folder, getattr(config, "decoder_vocab_size", None) or config.vocab_size)
    return {**found, **reading(request, config, words, family), "prefix": _prefix(plain, request)}


def build(recipe: Mapping[str, Any], assets: Mapping[str, bytes], seed: int = 0) -> Model:
    """The model a recipe describes, its weights drawn from `seed`: the caller replaces them."""
    from ukulele.models import hub

    config = hub.config_from(recipe["config"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = hub.writing_network(None, config, "seq2seq", recipe.get("habits", {}))
    model = assemble(net, {**recipe, "untied": []}, from_assets(assets), str(config.model_type), Card("bundle"))
    for cut in recipe["untied"]:
        model = untied(model, cut)
    return model


def adapt(model: Model, request: Request) -> Model:
    """A bundle's model as the source of a new task: its languages and length, if they are told."""
    words = from_assets(model.assets)
    if not request.languages:
        request = replace(request, languages=tuple(model.recipe["languages"]))
    now = reading(request, model.net.config, words, model.recipe["marks"])
    now["prefix"] = _prefix(model.recipe["config"], request)
    if request.max_length is None:
        now["max_length"] = model.recipe["max_length"]
    return assemble(model.net, {**model.recipe, **now}, words, model.name, model.card)


def reading(request: Request, config: Any, words: Words, family: str) -> dict[str, Any]:
    """The part of a recipe that tells how texts become tokens."""
    marks, coded = MARKS[family], family == "marian" and words.coded
    wanted = coded or "language" in (*marks.before, *marks.after)
    given = request.languages
    if wanted and len(given) != 2:
        raise ModelError(
            f"{request.name} wants to be told the languages; {len(given)} were given.",
            hint=f"Such as --languages {' '.join(list(words.languages)[:2]) or 'en_XX de_DE'}.",
        )
    for code in (given[1:] if coded else given) if wanted else ():
        if words.language(code) is None:
            several = words.of_language(code)
            raise ModelError(
                f"{request.name} has {len(several)} languages {code!r}: {', '.join(several)}."
                if several
                else f"{request.name} has no language {code!r}.",
                hint=f"Name one of its {len(words.languages)} with --languages: {', '.join(words.languages)}.",
            )
    most = getattr(config, "max_position_embeddings", None)
    length = request.max_length or min(most or UNBOUNDED, 1024)
    if not 8 <= length <= (most or length):
        raise ModelError(f"--max-length {length} does not suit {request.name}.", hint=f"Choose 8 to {most} tokens.")
    return {"max_length": int(length), "kind": request.writes, "languages": list(given) if wanted else []}


def _family(config: Any, folder: Any) -> str:
    """Which special tokens a network was trained with."""
    from ukulele.models import hub

    known = str(config.model_type)
    if known == "mbart" and folder is not None:
        both = [hub.settings(folder / name) for name in ("tokenizer_config.json", "config.json")]
        classes = [str(told.get("tokenizer_class", "")) for told in both]
        fifty = any(name.startswith("MBart50") for name in classes) or both[0].get("language_codes") == "ML50"
        known = "mbart50" if fifty else known
    if known not in MARKS:
        raise ModelError(
            f"models of the type {known!r} cannot be used to write yet.", hint=f"Known are {', '.join(MARKS)}."
        )
    return known


def _prefix(config: Mapping[str, Any], request: Request) -> str:
    """What a T5 that learned many tasks wants in front of the text, as its configuration says."""
    told = config.get("task_specific_params")
    names = {"summarise": "summarization", "translate": f"translation_{'_to_'.join(request.languages)}"}
    found = (told or {}).get(names.get(request.writes or "", ""), {})
    return str(found.get("prefix", "")) if isinstance(found, Mapping) else ""


# ---------------------------------------------------------------- the model


def assemble(net: nn.Module, recipe: Mapping[str, Any], words: Words, name: str, card: Card) -> Model:
    """A network as stages, with its head."""
    config: Any = net.config
    quicken(net)
    start = _start(recipe, config, words)
    pad = float(words.pad)
    encoder = Encoder(words, recipe, pad=int(pad))
    model = Model(
        name=name,
        net=net,
        encode=encoder.encode,
        inputs={"ids": Field("source", pad), "labels": Field("target", IGNORED), "bytes": Field()},
        stages=stages_of(net, int(words.pad), start),
        width=int(config.d_model),
        summary=summary,
        recipe=dict(recipe),
        card=card,
        prepare=prepare,
        limit=int(recipe["max_length"]),
        lengths=encoder.lengths,
        assets=words.assets,
        heads={"write": partial(_head, net, words, recipe, start)},
        teaches=True,
    )
    return replace(model, untie=partial(untied, model))


def _start(recipe: Mapping[str, Any], config: Any, words: Words) -> int:
    """The token that the decoder begins with."""
    match MARKS[recipe["marks"]].start:
        case "eos":
            return words.eos
        case "language":
            return _language(words, recipe["languages"][1])
    found = getattr(config, "decoder_start_token_id", None)
    return words.pad if found is None else int(found)


def _language(words: Words, code: str) -> int:
    found = words.language(code)
    if found is None:  # refused when it was loaded
        raise ModelError(f"the model has no language {code!r}.")
    return found


def untied(model: Model, cut: int) -> Model:
    """The same model, weights that stages on both sides of a cut share made two: the copy goes to those above."""
    net: Any = model.net
    lower = [stage.module for stage in model.stages[:cut]]
    upper = [*(stage.module for stage in model.stages[cut:]), net.lm_head]
    if not tied.untie(lower, upper):
        return model
    recipe = {**model.recipe, "untied": [*model.recipe["untied"], cut]}
    return assemble(net, recipe, from_assets(model.assets), model.name, model.card)


def prepare(live: Tensors) -> Tensors:
    """Adds `seen`, a boolean (rows, 1, 1, tokens), where some of the sources are padded."""
    if "source_mask" not in live:
        return live
    there = live["source_mask"] > 0
    return live if bool(there.all()) else {**live, "seen": there[:, None, None, :]}


def summary(live: Tensors) -> Tensor:
    """The mean over the tokens of a row's text, as the encoder leaves them."""
    mask = live["source_mask"]
    share = mask.float() / mask.sum(1, keepdim=True).clamp(min=1)
    return (live["memory"].float() * share[..., None]).sum(1)


class Encoder:
    """Texts to tokens: the source and, where it is known, the answer."""

    def __init__(self, words: Words, recipe: Mapping[str, Any], pad: int) -> None:
        marks, languages = MARKS[recipe["marks"]], recipe["languages"] or ["", ""]
        self.words, self.most, self.prefix, self.pad = words, int(recipe["max_length"]), recipe["prefix"], pad
        self.source = [self._marks(side, languages[0]) for side in (marks.before, marks.after)]
        if recipe["marks"] == "marian" and recipe["languages"]:  # of several targets: told which before the text
            self.source[0].append(_language(words, languages[1]))
        self.target = [self._marks(side, languages[1]) for side in (marks.before, marks.after)]

    def _marks(self, roles: Sequence[str], language: str) -> list[int]:
        numbers = {"bos": lambda: self.words.bos, "eos": lambda: self.words.eos}
        return [_language(self.words, language) if role == "language" else numbers[role]() for role in roles]

    def encode(self, inputs: Sequence[tuple[Any, ...]], draws: Sequence[int]) -> list[Tensors]:
        """Unpadded rows: "ids", "labels" (one that is ignored where no answer is given), "bytes" of the answer.

        Raises
        ------
        DataError
            If a row has more than a text and its answer.
        """
        del draws
        if any(len(texts) not in (1, 2) for texts in inputs):
            raise DataError("a row has several texts; a model that writes takes one.", hint="Name one with --source.")
        before, after = self.source
        left = self.most - len(before) - len(after)
        sources = self.words.ids([self.prefix + texts[0] for texts in inputs], left)
        found: list[Tensors] = [{"ids": torch.tensor([*before, *ids, *after])} for ids in sources]
        answers = iter(self._taught([texts[1] for texts in inputs if len(texts) == 2]))
        for row, texts in zip(found, inputs, strict=True):
            labels, size = next(answers) if len(texts) == 2 else ([IGNORED], 0)
            row["labels"], row["bytes"] = torch.tensor(labels), torch.tensor(size)
        return found

    def _taught(self, texts: Sequence[str]) -> list[tuple[list[int], int]]:
        before, after = self.target
        taught = self.words.answers.taught(texts, self.most - len(before) - len(after)) if texts else []
        return [([*before, *ids, *after], size) for ids, size in taught]

    def lengths(self, inputs: Sequence[tuple[Any, ...]]) -> list[tuple[int, ...]]:
        """The tokens of each row before it is cut: of the source and, where there is one, of the answer."""
        sources = self.words.counts([self.prefix + texts[0] for texts in inputs])
        answers = iter(self.words.answers.counts([texts[1] for texts in inputs if len(texts) == 2]))
        around = [sum(map(len, side)) for side in (self.source, self.target)]
        return [
            (count + around[0], *([next(answers) + around[1]] if len(texts) == 2 else []))
            for count, texts in zip(sources, inputs, strict=True)
        ]


# ---------------------------------------------------------------- the head


def _head(net: nn.Module, words: Words, recipe: Mapping[str, Any], start: int, kind: str) -> Speaker:
    return Speaker(net, words, recipe, start, kind)


class Speaker(nn.Module):
    """The layer that turns the decoder's last states to words: the loss of the answer taught, and writing one."""

    continues = False

    def __init__(self, net: Any, words: Words, recipe: Mapping[str, Any], start: int, kind: str) -> None:
        super().__init__()
        self.lm_head = net.lm_head
        self._net = [net]  # in a list: it is no part of the head
        self._words, self._start = words, start
        self._smoothing = SMOOTHING if kind == "translate" else 0.0
        self._scale = float(net.config.d_model**-0.5) if getattr(net.config, "scale_decoder_outputs", False) else 1.0
        marks = MARKS[recipe["marks"]]
        self._first = _language(words, recipe["languages"][1]) if marks.forced else None
        self._most = getattr(net.config, "max_position_embeddings", None)
        self._short = kind == "translate"
        self._last: tuple[Tensor, Loss] | None = None

    def forward(self, live: Tensors) -> Tensor:
        """Scores of all words at each place, (rows, tokens, vocabulary)."""
        logits: Tensor = self.lm_head(self._scaled(live["x"]))
        bias = getattr(self._net[0], "final_logits_bias", None)
        return logits if bias is None else logits + bias.to(logits.device, logits.dtype)

    def _scaled(self, x: Tensor) -> Tensor:
        return x if self._scale == 1.0 else x * self._scale

    def loss(self, live: Tensors, target: Tensors) -> Loss:  # noqa: ARG002 - what is taught is live
        """The sum over each row's tokens; smoothed in training alone."""
        labels, bias = live["labels"], getattr(self._net[0], "final_logits_bias", None)
        smoothing = self._smoothing if self.training else 0.0
        bias = None if bias is None else bias.flatten()
        found = taught_loss(self.lm_head, self._scaled(live["x"]), labels, labels != IGNORED, smoothing, bias)
        self._last = None if self.training else (live["x"], found)
        return found

    def predict(self, live: Tensors, decoding: Writing) -> list[Written]:
        """What is written for each row, and what the answer taught has cost."""
        known = self._last is not None and self._last[0] is live["x"]
        loss = self._last[1] if known and self._last is not None else self.loss(live, {})
        self._last = None
        tokens = loss.counts.tolist()
        sums = [total if count else float("nan") for total, count in zip(loss.sums.tolist(), tokens, strict=True)]
        texts = [self._words.answers.text(ids) for ids in self._written(live, decoding)]
        return list(map(Written, texts, sums, tokens, live["bytes"].tolist()))

    def stream(self, row: Tensors, trunk: Callable[[], Tensors], decoding: Writing, streamer: Any) -> None:
        """Write for one row as `encode` gives it; `trunk` gives what the stages make of it."""
        del row
        self._written(trunk(), decoding, streamer)

    def speech(self, row: Tensors) -> Callable[[Sequence[int]], str]:
        """New tokens as text."""
        del row
        return self._words.answers.text

    def _written(self, live: Tensors, decoding: Writing, streamer: Any = None) -> list[list[int]]:
        from transformers.modeling_outputs import BaseModelOutput

        memory, mask = live["memory"], live["source_mask"]
        net = generation.placed(self._net[0], memory.device)
        most = decoding.tokens if self._most is None else min(decoding.tokens, int(self._most) - 1)
        if self._short:
            most = min(most, TIMES * int(mask.sum(1).max()) + MORE)
        given = {"encoder_outputs": BaseModelOutput(last_hidden_state=memory), "attention_mask": mask}
        found = generation.generate(
            net, given, decoding, self._words, most=most, first=self._first, start=self._start, streamer=streamer
        )
        if not self._short:
            return found
        return [ids[: TIMES * size + MORE] for ids, size in zip(found, mask.sum(1).tolist(), strict=True)]


__all__ = ["END", "FAMILY", "START", "adapt", "build", "load"]
