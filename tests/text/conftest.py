"""Tiny models that write, with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from text_kit import folder


@pytest.fixture(scope="session")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("tiny") / "t5", "t5")


@pytest.fixture(scope="session")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("tiny") / "marian", "marian", scale_embedding=True)
