"""Tiny decoders, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from language_kit import decoder

Folders = Callable[..., Path]


@pytest.fixture(scope="session")
def decoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Makes the folder of a tiny decoder with random weights: decoder_folder("gpt2", n_layer=2)."""
    made: dict[str, Path] = {}

    def make(model_type: str, **changes: Any) -> Path:
        key = f"{model_type} {sorted(changes.items())}"
        if key not in made:
            made[key] = decoder(tmp_path_factory.mktemp(model_type), model_type, **changes)
        return made[key]

    return make
