"""Models that write, by name: a hub id, a folder, or a configuration to be trained from scratch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ukulele.errors import ModelError
from ukulele.models import configs, words
from ukulele.types import Card, Model, Request


def load(request: Request) -> Model:
    """The model of a name that is no bundle's.

    Raises
    ------
    ModelError
        If there is no such model within reach, it does not write, or it has no weights and is asked for some.
    """
    from ukulele.models import hub

    folder: Path | None = None
    if configs.knows(request.name):
        configs.find(request.name)
        if request.pretrained:
            raise ModelError(
                f"{request.name} is a configuration: it has no weights to transfer.", hint="Add --strategy scratch."
            )
        tokens = _learned(request)
        config, licence = configs.make(request.name, tokens), "none needed"
    else:
        folder = hub.text_folder(request.name)
        config = hub.writing_config(folder)
        tokens, licence = words.load(folder, config), hub.licence(folder)
    card = Card(request.name if request.pretrained else f"{request.name}, random weights", "unknown", licence)
    if not request.pretrained:
        card = replace(card, source_task="none")
    return _made(request, folder, config, (tokens, hub.display_name(request.name), card))


def _learned(request: Request) -> words.Words:
    if request.vocabulary:
        return words.from_assets(request.vocabulary)
    if request.rows is None:
        raise ModelError(f"{request.name} learns its vocabulary from the training rows, and was given none.")
    return words.learn(request.rows)


def _made(request: Request, folder: Path | None, config: Any, rest: tuple[words.Words, str, Card]) -> Model:
    if not config.is_encoder_decoder:
        from ukulele.models import causal

        return causal.load(request, folder, config, *rest)
    from ukulele.models import seq2seq

    return seq2seq.load(request, folder if request.pretrained else None, config, *rest)
