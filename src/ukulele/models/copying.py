"""Texts written without a model, as controls: the source itself, or its first three sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ukulele.types import Card, Field, Loss, Model, Request, Tensors, Written

FAMILY = "copying"
SENTENCES = 3
CARD = Card(origin="built in", source_task="none: it copies", licence="Apache-2.0")
END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[^\W_])|\n{2,}")


def load(request: Request) -> Model:
    """The control of a name: "copy" or "lead-3"."""
    return build({"family": FAMILY, "name": request.name})


def build(recipe: Mapping[str, Any]) -> Model:
    """The control that a recipe describes."""
    return Model(
        name=str(recipe["name"]),
        net=nn.Identity(),
        encode=partial(_encode, lead=recipe["name"] == "lead-3"),
        inputs={"letters": Field("letter")},
        stages=(),
        width=1,
        summary=_nothing,
        recipe=dict(recipe),
        card=CARD,
        heads={"write": _head},
    )


def lead(text: str, sentences: int = SENTENCES) -> str:
    """The first sentences of a text.

    >>> lead("One. Two! Three? Four.")
    'One. Two! Three?'
    """
    ends = [match.start() for match in END.finditer(text.strip())]
    return text.strip() if len(ends) < sentences else text.strip()[: ends[sentences - 1]].strip()


def _encode(inputs: Sequence[tuple[Any, ...]], draws: Sequence[int], *, lead: bool) -> list[Tensors]:
    del draws
    texts = [_lead(given[0]) if lead else given[0] for given in inputs]
    return [{"letters": torch.tensor(list(text.encode()), dtype=torch.uint8)} for text in texts]


_lead = lead


def _nothing(live: Tensors) -> Tensor:
    return torch.zeros(len(live["letters"]), 1)


def _head(kind: str) -> Copy:  # noqa: ARG001 - it writes all kinds alike
    return Copy()


class Copy:
    """Writes what it was given; it has no loss."""

    def loss(self, live: Tensors, target: Tensors) -> Loss:  # noqa: ARG002 - there is none
        """Nothing, of no token."""
        rows = len(live["letters"])
        return Loss(torch.zeros(rows), torch.zeros(rows))

    def predict(self, live: Tensors, decoding: Any) -> list[Written]:  # noqa: ARG002 - nothing is decoded
        """The texts."""
        lengths = live["letter_mask"].sum(1).tolist()
        rows = zip(live["letters"], lengths, strict=True)
        return [Written(bytes(row[:length].tolist()).decode("utf-8", "replace")) for row, length in rows]
