"""A tiny model and rows for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cache_kit import Folders, Make

from ukulele import models
from ukulele.types import Model, Request, Rows


@pytest.fixture
def model(encoder_folder: Folders) -> Model:
    return models.load(Request(str(encoder_folder("bert"))), "text")


@pytest.fixture
def rows(make_rows: Make, texts: Callable[..., list[str]]) -> Rows:
    return make_rows(texts(50, longest=20))
