"""Conversations: rows of a column `messages`, whose last answer of the assistant is the target."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

from ukulele.tools.mapped import MappedRows
from ukulele.types import Dataset, Row, Rows, Split

MESSAGES = "messages"
ROLES = ("system", "user", "assistant", "tool")
EXPECTED = '[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'


def parted(cell: str) -> tuple[str, str]:
    """A conversation as what was said before the last answer, as JSON, and that answer.

    >>> parted('[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]')
    ('[{"role": "user", "content": "Hi"}]', 'Hello!')
    """
    messages = json.loads(cell)
    last = max(at for at, message in enumerate(messages) if message["role"] == "assistant")
    return json.dumps(messages[:last], ensure_ascii=False), str(messages[last]["content"])


def in_words(cell: str) -> str:
    """A conversation for people.

    >>> in_words('[{"role": "user", "content": "Hi"}]')
    'user: Hi'
    """
    return "\n".join(f"{message['role']}: {message['content']}" for message in json.loads(cell))


def fault(cell: Any) -> str:
    """What is wrong with a cell; nothing if it is a conversation that can be learned from."""
    try:
        messages = json.loads(cell or "")
    except (TypeError, ValueError):
        return f"{MESSAGES} is not JSON; expected {EXPECTED}"
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        return f"{MESSAGES} is no list of messages; expected {EXPECTED}"
    for number, message in enumerate(messages, 1):
        if message.get("role") not in ROLES:
            return f"message {number} has the role {message.get('role')!r}; expected one of {', '.join(ROLES)}"
        if not isinstance(message.get("content"), str):
            return f"message {number} has no content that is text"
    said = [message["content"] for message in messages if message["role"] == "assistant"]
    if not said or not said[-1].strip():
        return "no answer of the assistant in it" if not said else "the assistant's last answer is empty"
    return ""


def _parted(task: str, row: Row) -> Row:
    before, answer = parted(row.inputs[0])
    return replace(row, inputs=(before,), targets={task: answer})


def conversations(dataset: Dataset) -> Dataset:
    """A data set of conversations with its rows parted as they are read; any other as it is."""
    if dataset.columns != (MESSAGES,) or [target.kind for target in dataset.targets] != ["generate"]:
        return dataset
    change = partial(_parted, dataset.targets[0].name)
    splits: dict[Split, Rows] = {split: MappedRows(rows, change) for split, rows in dataset.splits.items()}
    return replace(dataset, splits=splits)
