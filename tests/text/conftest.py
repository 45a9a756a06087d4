"""`uke` in this process, and tiny models with random weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from text_kit import folder

sys.path.append(str(Path(__file__).parents[1] / "e2e"))  # e2e_kit: processes that are killed


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@pytest.fixture
def uke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Answer]:
    from ukulele import cli

    for name, value in {
        "UKULELE_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "COLUMNS": "100", "NO_COLOR": "1",
        "HF_HUB_CACHE": str(tmp_path / "hub"), "UKULELE_DEBUG": "",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    def run(*args: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["uke", *map(str, args)])
        capsys.readouterr()
        code = cli.answer(sys.argv[1:])
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("tiny") / "t5", "t5")


@pytest.fixture(scope="session")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("tiny") / "marian", "marian", scale_embedding=True)
