"""Rows of one text among rows of two."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ukulele import models
from ukulele.errors import DataError
from ukulele.models import classical, counting
from ukulele.models.bundle import read_bundle, write_bundle
from ukulele.models.encoder_stages import LAYOUTS
from ukulele.tools.collate import collate
from ukulele.types import Model, Request, Row, Where

Folders = Callable[..., Path]
ROWS = [("good tea", "rain song"), ("bad w1 w2 w3",), ("fine",), ("w4", "w5 w6 tea")]
ABOUT = {
    "modality": "pair", "columns": ["first", "second"], "tasks": {}, "trained_on": "rows", "licence": "CC0-1.0",
    "parents": [], "test": {}, "precision": "fp32",
}  # fmt: skip


def pooled(model: Model, rows: Sequence[tuple[str, ...]]) -> torch.Tensor:
    for stage in model.stages:
        stage.module.eval()
    with torch.inference_mode():
        return model.run(collate(model.encode(rows, [0] * len(rows)), model.inputs))["pooled"]


@pytest.mark.parametrize("family", [*LAYOUTS, "albert", "mpnet"])
def test_each_row_is_read_as_its_own_kind(encoder_folder: Folders, family: str) -> None:
    folder = str(encoder_folder(family))
    mixed = models.load(Request(folder, inputs=2, mixed=True), "pair")
    pair, single = models.load(Request(folder, inputs=2), "pair"), models.load(Request(folder), "text")
    assert mixed.recipe["pairs"] == "either"
    assert mixed.width == single.width == 32
    found = pooled(mixed, ROWS)
    for at, row in enumerate(ROWS):
        expected = pooled(pair if len(row) == 2 else single, [row])[0]
        torch.testing.assert_close(found[at], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="3 texts; the model takes one or two"):
        mixed.encode([("a", "b", "c")], [0])


def test_side_by_side_whatever_the_folder_is_for(encoder_folder: Folders, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(encoder_folder("bert"), tmp_path / "sentences"))
    (folder / "modules.json").write_text("[]")
    assert models.load(Request(str(folder), inputs=2), "pair").recipe["pairs"] == "separate"
    mixed = models.load(Request(str(folder), inputs=2, mixed=True), "pair")
    joint = models.load(Request(str(encoder_folder("bert")), inputs=2), "pair")
    assert mixed.recipe["pairs"] == "either"
    torch.testing.assert_close(pooled(mixed, ROWS[:1]), pooled(joint, ROWS[:1]))


def test_a_bundle_of_mixed_rows(encoder_folder: Folders, tmp_path: Path) -> None:
    mixed = models.load(Request(str(encoder_folder("bert")), inputs=2, mixed=True), "pair")
    path = tmp_path / "bundle"
    write_bundle(path, mixed, {}, ABOUT, {"inputs": [], "answers": []})
    again = read_bundle(path, models.build).model
    assert torch.equal(pooled(again, ROWS), pooled(mixed, ROWS))
    assert json.loads(json.dumps(again.recipe)) == json.loads(json.dumps(mixed.recipe))
    for request, pairs in (
        ({"inputs": 1}, "none"), ({"inputs": 2}, "joint"), ({"inputs": 2, "mixed": True}, "either"),
    ):  # fmt: skip
        assert models.load(Request(str(path), **request), "pair").recipe["pairs"] == pairs


@pytest.mark.parametrize(
    ("first", "then", "pairs"),
    [
        ({"inputs": 1}, {"inputs": 2, "mixed": True}, "either"),
        ({"inputs": 2}, {"inputs": 2, "mixed": True}, "either"),
        ({"inputs": 2}, {"inputs": 2}, "joint"),
        ({"inputs": 1}, {"inputs": 2}, "separate"),
    ],
)
def test_a_bundle_serves_rows_of_another_kind(
    encoder_folder: Folders, tmp_path: Path, first: dict[str, Any], then: dict[str, Any], pairs: str
) -> None:
    model = models.load(Request(str(encoder_folder("bert")), **first), "text")
    write_bundle(tmp_path / "bundle", model, {}, ABOUT, {"inputs": [], "answers": []})
    again = models.load(Request(str(tmp_path / "bundle"), **then), "pair")
    assert again.recipe["pairs"] == pairs
    assert len(pooled(again, ROWS if then.get("mixed") else ROWS[:1])) in {1, 4}


def test_tokens_of_mixed_rows_are_counted(encoder_folder: Folders) -> None:
    request = Request(str(encoder_folder("bert")), inputs=2, mixed=True, max_length=16)
    assert counting.tokens(request, ROWS) == (16, [7, 6, 3, 7])


def test_tfidf_reads_one_text_or_two() -> None:
    rows = [Row(texts, {}, Where("rows")) for texts in ROWS]
    model = classical.load(Request("tfidf", inputs=2, mixed=True, rows=rows))  # type: ignore[arg-type]
    encoded = model.encode(ROWS, [0] * len(ROWS))
    size = (model.width - len(classical.PAIR)) // 3
    single = np.asarray(encoded[1]["index"])
    assert len(single) == 7  # four words and three pairs of neighbours
    assert (single < size).all()
    assert (np.asarray(encoded[0]["index"]) >= size).any()
    assert all(int(row["index"].max()) < model.width for row in encoded)
    alone = classical.load(Request("tfidf", inputs=1, rows=rows))  # type: ignore[arg-type]
    assert torch.equal(alone.encode(ROWS[1:2], [0])[0]["value"], encoded[1]["value"])
    assert len(model.encode([("",)], [0])[0]["index"]) == 1


def test_the_majority_reads_anything() -> None:
    model = classical.load(Request("majority", inputs=2, mixed=True))
    assert [row["pooled"].tolist() for row in model.encode(ROWS, [0] * 4)] == [[1.0]] * 4
