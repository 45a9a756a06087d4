"""Counts of single tokens, or of five in a row, as controls of models that continue texts: no network at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ukulele.errors import ModelError
from ukulele.models.passages import reader_of
from ukulele.models.words import Words, from_assets
from ukulele.tools.kneser_ney import KneserNey, fit
from ukulele.types import Card, Field, Loss, Model, Request, Tensors, Written, with_answer

FAMILY = "ngram"
LENGTHS: Mapping[str, int] = {"unigram": 1, "5-gram": 5}  # by the control's name
CARD = Card(origin="built in", source_task="none: it counts the training rows", licence="Apache-2.0")
INPUTS = {"ids": Field("token"), "taught": Field("token")}


def load(request: Request) -> Model:
    """The control of a name, counted on the training rows as the decoder that it is held against reads them.

    Raises
    ------
    ModelError
        If it is asked for without rows or tokens.
    """
    if request.rows is None or not request.reads:
        raise ModelError(f"{request.name} counts the training rows by a model's tokens, and was given none.")
    words = from_assets(request.vocabulary)
    reader = reader_of(request.reads, words)
    inputs = [with_answer(row, task) for row in request.rows for task in row.targets]
    rows = [row["ids"].tolist() for row in reader.encode(inputs, [])]
    longest = LENGTHS[request.name]
    counted = fit(rows, longest, max(words.size, 1 + max(map(max, rows))))
    return Model(
        name=request.name,
        net=nn.Identity(),
        encode=reader.encode,
        inputs=INPUTS,
        stages=(),
        width=1,
        summary=_nothing,
        recipe={"family": FAMILY, "name": request.name, "longest": longest},
        card=CARD,
        heads={"write": partial(_head, counted, words)},
        teaches=True,
        assets=words.assets,
    )


def _nothing(live: Tensors) -> Tensor:
    return torch.zeros(len(live["ids"]), 1)


def _head(counted: KneserNey, words: Words, kind: str) -> Counts:
    del kind
    return Counts(counted, words)


class Counts:
    """The loss of what is taught, by counts. It writes nothing."""

    def __init__(self, counted: KneserNey, words: Words) -> None:
        self._counted, self._words = counted, words

    def loss(self, live: Tensors, target: Tensors) -> Loss:
        """Of each row, in nats, summed over its taught tokens."""
        del target
        sums = [float(self._counted.losses(ids)[marks].sum()) for ids, marks in _rows(live)]
        counts = [int(marks.sum()) for _, marks in _rows(live)]
        return Loss(torch.tensor(sums), torch.tensor(counts))

    def predict(self, live: Tensors, decoding: Any) -> list[Written]:
        """What each row's reference cost."""
        del decoding
        found = []
        for ids, marks in _rows(live):
            text = self._words.text([token for token, mark in zip(ids[1:], marks.tolist(), strict=True) if mark])
            losses = self._counted.losses(ids)[marks]
            found.append(Written("", float(losses.sum()), len(losses), len(text.encode())))
        return found


def _rows(live: Tensors) -> Iterator[tuple[list[int], NDArray[np.bool_]]]:
    """Each row's tokens, and of all but the first whether they are taught."""
    for ids, taught, there in zip(live["ids"], live["taught"], live["token_mask"].sum(1).tolist(), strict=True):
        yield ids[:there].tolist(), taught[1:there].cpu().numpy() > 0
