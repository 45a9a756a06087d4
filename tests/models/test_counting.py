"""Lengths in tokens, with no weights loaded, and what of them a model reads at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ukulele import models
from ukulele.features.encode import Frozen, Pass
from ukulele.models import counting
from ukulele.types import Request


@pytest.mark.parametrize("separate", [False, True])
def test_pairs_are_counted_as_they_are_read(
    encoder_folder: Callable[..., Path], tmp_path: Path, separate: bool
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(encoder_folder("bert"), folder)
    if separate:
        (folder / "modules.json").write_text("[]")
    rows = [("w1 w2 w3", "w4"), ("w1", "w2 w3 w4 w5"), ("w1 " * 20, "w2 " * 30)]
    request = Request(str(folder), inputs=2, max_length=16)
    whole = [(5, 3), (3, 6), (22, 32)] if separate else [(7,), (8,), (53,)]
    model = models.load(request, "pair")
    frozen = Frozen(model, Pass(len(model.stages)))
    assert [int(row["length"]) for row in frozen.run(model.encode(rows, [0] * 3))] == [
        min(16, max(texts)) for texts in whole
    ]
    assert model.lengths is not None
    assert model.lengths(rows) == whole
    (folder / "model.safetensors").unlink()
    assert counting.tokens(request, rows) == (16, [length for texts in whole for length in texts])
