"""Conversations: what of them is taught, by templates of several kinds, and what is wrong with a cell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from ukulele import models
from ukulele.data.conversations import fault, parted
from ukulele.errors import ModelError
from ukulele.models.passages import TEMPLATE, conversation, rendered, thoughtful
from ukulele.tools.collate import collate
from ukulele.types import Request

MARKED = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
FORGETFUL = (  # shows an earlier answer only in part, as templates do that leave out how it was thought of
    "{% for m in messages %}[{{ m.role }}] {{ m.content if loop.last else m.content[:1] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
THINKS = (  # as Qwen3's: a last answer begins with its thoughts, or with none
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' and loop.last %}"
    "{% if '</think>' in m.content %}{{ m.content }}{% else %}<think></think>{{ m.content }}{% endif %}"
    "{% else %}{{ m.content.split('</think>')[-1] }}{% endif %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
INVITES = (  # as DeepSeek-R1's: asks for thoughts that it does not show
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
)
MUTE = "{% for m in messages %}### {{ m.role }}: {{ m.content }}\n{% endfor %}"  # does not say how an answer begins
SPACED = (
    "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}"
)
STRICT = "{% if messages[0].role != 'user' %}{{ raise_exception('the user begins') }}{% endif %}"
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Anna."},
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": "Today."},
]
NAMES = {"bos_token": "", "eos_token": "</s>"}


def split(
    template: str, messages: list[dict[str, Any]], *, asks: bool = False, reasons: bool = False
) -> tuple[str, list[str]]:
    """All of a conversation, and what of it is taught."""
    pieces = list(rendered(template, messages, asks=asks, names=NAMES, reasons=reasons))
    return "".join(text for text, _ in pieces), [text for text, taught in pieces if taught]


@pytest.mark.parametrize(
    ("template", "taught"),
    [(TEMPLATE, ["Anna.\n\n", "Today.\n\n"]), (MARKED, ["Anna.</s>", "Today.</s>"]), (FORGETFUL, ["Today.\n"])],
)
def test_what_the_assistant_says_is_taught_and_nothing_else(template: str, taught: list[str]) -> None:
    whole, found = split(template, TALK)
    assert found == taught
    assert all(message["content"][:1] in whole for message in TALK)
    asked, nothing = split(template, TALK[:2], asks=True)
    assert not any("Anna" in text for text in nothing)
    assert template == FORGETFUL or split(template, TALK[:3])[0].startswith(asked)


def talk(answer: str) -> list[dict[str, Any]]:
    return [*TALK[1:4], {"role": "assistant", "content": answer}]


@pytest.mark.parametrize(
    ("template", "taught"),
    [
        (TEMPLATE, ["Anna.\n\n", "Now.\n\n"]), (MARKED, ["Anna.</s>", "Now.</s>"]), (FORGETFUL, ["Now.\n"]),
        (THINKS, ["Now.</s>"]), (INVITES, ["Anna.</s>", "Now.</s>"]), (MUTE, ["Anna.\n", "Now.\n"]),
        (SPACED, [" Anna.</s>", " Now.</s>"]),
    ],
)  # fmt: skip
def test_it_is_asked_by_what_stands_before_the_answer_that_is_taught(template: str, taught: list[str]) -> None:
    whole, found = split(template, talk("Now."))
    asked, nothing = split(template, talk("Now.")[:-1], asks=True)
    assert found == taught
    assert whole == asked + taught[-1]
    assert not any("Now" in text for text in nothing)


def test_answers_with_thoughts_are_asked_for_as_the_template_asks() -> None:
    answer = "<think>It is late.</think>Now."
    assert thoughtful(THINKS, [("When?", answer)] * 2 + [("When?", "Now.")], NAMES)
    assert not thoughtful(THINKS, [("When?", answer), ("When?", "Now.")], NAMES)
    assert not thoughtful(INVITES, [("When?", answer)], NAMES)
    whole, found = split(THINKS, talk(answer), reasons=True)
    asked, _ = split(THINKS, talk(answer)[:-1], asks=True, reasons=True)
    assert found == [f"{answer}</s>"]
    assert whole == asked + found[0]
    assert split(THINKS, talk("Now."), reasons=True)[1] == ["<think></think>Now.</s>"]
    assert split(THINKS, talk(answer))[1] == [f"{answer}</s>"]


def test_the_assistant_may_begin() -> None:
    template = "{% if messages[0].role == 'system' %}S{% endif %}" + MARKED
    messages = [{"role": "assistant", "content": "Hello!"}, *talk("Now.")]
    assert split(template, messages)[1] == ["Hello!</s>", "Anna.</s>", "Now.</s>"]


def test_templates_may_use_all_that_the_library_gives_them() -> None:
    template = (
        "{{ strftime_now('%Y') }}{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
        "<{{ m.role }}>{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    whole, found = split(template, TALK)
    assert found == ["Anna.", "Today."]
    assert whole[4:] == "<user>Who?<assistant>Anna.<user>When?<assistant>Today."


def test_a_template_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ModelError, match=r"template cannot be read.*endfor"):
        split("{% for m in messages %}", TALK)


def test_a_template_may_refuse() -> None:
    with pytest.raises(ModelError, match="the user begins"):
        split(STRICT, TALK)


def test_a_template_has_no_way_out() -> None:
    with pytest.raises(ModelError):
        split("{{ messages.__class__.__mro__[1].__subclasses__() }}", TALK)


def test_tokens_that_are_taught_spell_the_answers(decoder_folder: Callable[..., Path]) -> None:
    model = models.load(
        Request(
            str(decoder_folder("llama", template=MARKED, max_position_embeddings=256)), writes="generate", chat=True
        ),
        "text",
    )
    assert model.recipe["template"] == MARKED
    before, answer = parted(json.dumps(TALK))
    (row,) = model.encode([(before, answer)], [0])
    head = model.heads["write"]("generate")
    marked = [token for token, mark in zip(row["ids"].tolist(), row["taught"].tolist(), strict=True) if mark]
    assert head.words.text(marked) == "Anna.Today."
    assert marked.count(0) == 2  # the template ends an answer itself: nothing is added
    (asked,) = model.encode([("Who?",)], [0])
    assert not asked["taught"].any()


def test_the_last_question_is_asked_whether_or_not_its_answer_is_there(decoder_folder: Callable[..., Path]) -> None:
    request = Request(
        str(decoder_folder("llama", template=MARKED, max_position_embeddings=256)), writes="generate", chat=True
    )
    model = models.load(request, "text")
    before, answer = parted(json.dumps(TALK))
    taught, asked, labelled = model.encode([(before, answer), (before,), (json.dumps(TALK),)], [0, 0, 0])
    assert torch.equal(asked["ids"], labelled["ids"])
    assert not asked["taught"].any()
    head = model.heads["write"]("generate")
    live = collate([taught, asked], model.inputs)
    (prompt, answers), (alone, nothing) = head._rows(live)  # type: ignore[attr-defined]
    assert prompt == alone == asked["ids"].tolist()
    assert head.words.text(answers) == "Anna.Today."  # type: ignore[attr-defined]
    assert nothing == []


def test_of_a_conversation_that_is_too_long_the_begin_is_cut(decoder_folder: Callable[..., Path]) -> None:
    request = Request(
        str(decoder_folder("llama", template=MARKED, max_position_embeddings=256)),
        writes="generate", chat=True, max_length=64,
    )  # fmt: skip
    model = models.load(request, "text")
    talk = [*TALK[1:3], {"role": "user", "content": "What did she see? " * 9}, TALK[4]]
    ((tokens,),) = model.lengths([parted(json.dumps(talk))])  # type: ignore[misc]
    (row,) = model.encode([parted(json.dumps(talk))], [0])
    assert len(row["ids"]) == 64 < tokens
    marked = [token for token, mark in zip(row["ids"].tolist(), row["taught"].tolist(), strict=True) if mark]
    assert model.heads["write"]("generate").words.text(marked) == "Today."  # type: ignore[attr-defined]


def test_a_template_may_begin_every_turn_with_the_token_that_begins_a_text(decoder_folder: Callable[..., Path]) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content }} [/INST]"
        "{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
    )
    folder = decoder_folder("llama", template=template, max_position_embeddings=256)
    model = models.load(Request(str(folder), writes="generate", chat=True), "text")
    (row,) = model.encode([(json.dumps(TALK[1:4]),)], [0])
    library = AutoTokenizer.from_pretrained(folder, bos_token="<|end|>")
    whole = library.apply_chat_template(TALK[1:4], tokenize=False)
    assert row["ids"].tolist() == library(whole, add_special_tokens=False)["input_ids"]
    assert row["ids"].tolist().count(0) == 3  # begin, end of the answer, begin


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (None, "not JSON"),
        ("hello", "not JSON"),
        ("{}", "no list of messages"),
        ("[]", "no list of messages"),
        ('[{"role": "robot", "content": "x"}]', "message 1 has the role 'robot'"),
        ('[{"role": "user"}]', "message 1 has no content"),
        ('[{"role": "user", "content": "x"}]', "no answer of the assistant"),
        ('[{"role": "assistant", "content": " "}]', "is empty"),
        (json.dumps(TALK), ""),
    ],
)
def test_what_is_wrong_with_a_conversation_is_told(cell: str | None, said: str) -> None:
    found = fault(cell)
    assert said in found
    assert bool(found) == bool(said)


def test_any_other_text_is_what_the_user_says() -> None:
    assert conversation("[1] is a reference") == [{"role": "user", "content": "[1] is a reference"}]
    assert conversation(json.dumps(TALK[:2])) == TALK[:2]
