"""How a decoder reads a row: a prompt, what is taught behind it, or a conversation, as tokens each marked if taught."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from ukulele.errors import ModelError
from ukulele.models.words import Words
from ukulele.types import Tensors

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)  # of conversations, where the model has none of its own
HERE = "\ue000"  # for private use: no text has it
Piece = tuple[list[int], bool]  # token ids, and whether they are taught


@dataclass(frozen=True)
class Reader:
    """Rows to tokens for a model that takes `limit` of them.

    A row is (prompt,), or (prompt, answer), or (prompt, answer, GOES_ON) where the answer is not ended by the token
    `end`. Every row begins with `start`. With a `chat` template a prompt is a conversation: its messages as JSON, or
    what the user says first. What the assistant says is taught where the row has an answer; where it asks for one,
    nothing is, and the answer that a conversation ends with is left out. Its answers begin with how they were thought
    of, or are asked for without that.
    """

    words: Words
    start: int
    end: int
    limit: int
    chat: str | None = None
    reasons: bool = False

    def encode(self, inputs: Sequence[tuple[Any, ...]], draws: Sequence[int]) -> list[Tensors]:
        """`ids` and `taught` of each row, (tokens,). Text has no augmentation: `draws` are not looked at."""
        del draws
        return [self._row(pieces) for pieces in self._pieces(inputs)]

    def lengths(self, inputs: Sequence[tuple[Any, ...]]) -> list[tuple[int, ...]]:
        """The tokens of each row, prompt and answer together, before any is cut."""
        return [(1 + sum(len(ids) for ids, _ in pieces),) for pieces in self._pieces(inputs)]

    def _pieces(self, inputs: Sequence[tuple[Any, ...]]) -> list[list[Piece]]:
        drafts = [list(self._drafts(row)) for row in inputs]
        ids = iter(self.words.ids([text for draft in drafts for text, _ in draft], None))
        found = []
        for row, draft in zip(inputs, drafts, strict=True):
            pieces = [(next(ids), taught) for _, taught in draft]
            ended = self.chat is not None and pieces and pieces[-1][1] and self.end in pieces[-1][0][-2:]
            if len(row) == 2 and not ended:
                pieces.append(([self.end], True))
            found.append(pieces)
        return found

    def _drafts(self, row: tuple[Any, ...]) -> Iterator[tuple[str, bool]]:
        """A row's texts in their order, and which are taught."""
        if self.chat is None:
            yield str(row[0]), False
            if len(row) > 1:
                yield str(row[1]), True
            return
        messages, asks = conversation(str(row[0])), len(row) == 1
        if not asks:
            messages.append({"role": "assistant", "content": str(row[1])})
        if asks and len(messages) > 1 and messages[-1]["role"] == "assistant":
            messages.pop()
        names = named(self.words, self.start, self.end)
        begin = names["bos_token"]
        texts = rendered(self.chat, messages, asks=asks, names=names, reasons=self.reasons)
        for number, (text, taught) in enumerate(texts):
            text = text if number or not begin else text.removeprefix(begin)  # noqa: PLW2901 - `start` is there anyway
            if text:
                yield text, taught and not asks

    def _row(self, pieces: Sequence[Piece]) -> Tensors:
        """What does not fit is cut: what comes before the last answer on its left, down to half of the room; then the
        end of all.
        """
        ids = [token for piece, _ in pieces for token in piece]
        taught = [mark for piece, mark in pieces for _ in piece]
        over = 1 + len(ids) - self.limit
        if over > 0:
            prompt = answer_at(taught)
            spare = prompt if prompt == len(ids) else max(0, prompt - self.limit // 2)
            cut = min(over, spare)
            ids, taught = ids[cut:][: self.limit - 1], taught[cut:][: self.limit - 1]
        return {"ids": torch.tensor([self.start, *ids]), "taught": torch.tensor([False, *taught]).to(torch.uint8)}


def answer_at(taught: Sequence[bool | int]) -> int:
    """Where the last tokens that are taught begin: all of them, where none is.

    >>> answer_at([0, 1, 1, 0, 1, 1, 0]), answer_at([0, 0])
    (4, 2)
    """
    last = next((at for at in range(len(taught) - 1, -1, -1) if taught[at]), None)
    if last is None:
        return len(taught)
    return next((at + 1 for at in range(last, -1, -1) if not taught[at]), 0)


def reader_of(recipe: Mapping[str, Any], words: Words) -> Reader:
    """How the decoder of a recipe reads rows."""
    template = (recipe["template"] or TEMPLATE) if recipe["chat"] else None
    reasons = recipe.get("reasons", False)
    return Reader(words, recipe["start"], recipe["end"], recipe["max_length"], template, reasons)


def windows(words: Words, room: int, text: str) -> list[tuple[int, int]]:
    """A text in spans of characters that follow each other, each of at most `room` tokens where it is read alone.

    They are cut between words, where a word alone does not fill one.
    """
    (read,) = words.encodings([text])
    begins, word = [begin for begin, _ in read.offsets], read.word_ids
    edges, at = [0], 0
    while at + room < len(begins):
        stop = at + room
        while stop > at and word[stop] is not None and word[stop] == word[stop - 1]:
            stop -= 1
        at = stop if stop > at else at + room
        if begins[at] > edges[-1]:
            edges.append(begins[at])
    found: list[tuple[int, int]] = []
    spans = list(pairwise([*edges, len(text)])) if text else []
    counts = words.counts([text[begin:end] for begin, end in spans])
    for (begin, end), count in zip(spans, counts, strict=True):
        if count <= room or end - begin < 2:
            found.append((begin, end))
            continue
        middle = (begin + end) // 2  # a few families read a text otherwise at its begin than within another
        for start, part in ((begin, text[begin:middle]), (middle, text[middle:end])):
            found += [(start + first, start + second) for first, second in windows(words, room, part)]
    return found


def conversation(given: str) -> list[dict[str, str]]:
    """The messages of a conversation from their JSON; any other text is what the user says first."""
    try:
        found = json.loads(given) if given.lstrip().startswith("[") else None
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, dict) and "content" in one for one in found):
        return [{"role": "user", "content": given}]
    return [{"role": str(one.get("role", "user")), "content": str(one["content"] or "")} for one in found]


def rendered(
    template: str, messages: Sequence[Mapping[str, str]], *, asks: bool, names: Mapping[str, str], reasons: bool = False
) -> Iterator[tuple[str, bool]]:
    """A conversation by its template, in texts that are taught (what the assistant says) and texts that are not.

    `asks` adds what the template puts before the next answer. Where a template shows earlier messages otherwise once
    later ones are there, the last answer is taught alone.

    Raises
    ------
    ModelError
        If the template refuses the messages.
    """
    whole = openings(template, messages, names, reasons)[0] if asks else _render(template, messages, False, names)
    edges = [0]
    for at, message in enumerate(messages):
        if message["role"] == "assistant":
            after = _render(template, messages[: at + 1], False, names)
            ways = openings(template, messages[:at], names, reasons) if whole.startswith(after) else []
            before = next((len(way) for way in ways if after.startswith(way)), -1)
            if before >= edges[-1]:
                edges += [before, len(after)]
    for place, (begin, end) in enumerate(zip(edges, [*edges[1:], len(whole)], strict=True)):
        if end > begin:
            yield whole[begin:end], place % 2 == 1


def openings(
    template: str, messages: Sequence[Mapping[str, str]], names: Mapping[str, str], reasons: bool
) -> list[str]:
    """All that may stand before the next answer, what it is asked by first.

    That is all up to the answer as the template shows one, as some templates invite to think before it, or say less
    when they ask. Where answers begin with thoughts, or only spaces lie between, it is what the template asks by.
    """
    marked = _render(template, [*messages, {"role": "assistant", "content": HERE}], False, names)
    shown = [marked[: marked.rindex(HERE)]] if HERE in marked else []
    asked = [_render(template, messages, True, names)] if messages else []
    plain = bool(shown and asked) and shown[0].startswith(asked[0]) and not shown[0][len(asked[0]) :].strip()
    found = asked if plain else [*asked, *shown] if reasons or not shown else [*shown, *asked]
    return found or [""]


def thoughtful(template: str, rows: Iterable[tuple[str, str]], names: Mapping[str, str]) -> bool:
    """Whether most answers of some rows begin with what the template takes for thoughts."""
    votes = []
    for given, answer in rows:
        messages = conversation(given)
        whole = _render(template, [*messages, {"role": "assistant", "content": answer}], False, names)
        first, *others = openings(template, messages, names, False)
        votes.append(not whole.startswith(first) and any(whole.startswith(way) for way in others))
    return 2 * sum(votes) > len(votes)


def named(words: Words, start: int, end: int) -> dict[str, str]:
    """The special tokens that templates call by name."""
    begin, end_ = (words.tokenizer.id_to_token(token) or "" for token in (start, end))
    return {"bos_token": begin, "eos_token": end_}


def _render(template: str, messages: Sequence[Mapping[str, str]], asks: bool, names: Mapping[str, str]) -> str:
    from jinja2 import TemplateError, TemplateSyntaxError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        made: Any = render_jinja_template(
            [[dict(message) for message in messages]], chat_template=template, add_generation_prompt=asks, **names
        )
    except TemplateSyntaxError as error:
        raise ModelError(
            f"the model's chat template cannot be read: {error}",
            hint="Mend chat_template.jinja, or chat_template in tokenizer_config.json, of the model's folder.",
        ) from error
    except (TemplateError, TypeError, KeyError) as error:
        raise ModelError(
            f"the model's chat template refuses a conversation: {error}",
            hint="Look at the roles and their order; many templates want user and assistant in turn.",
        ) from error
    return str(made[0][0])
