"""Rows side by side in lines: nothing is lost, nothing stands twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ukulele.tools.collate import collate
from ukulele.tools.packing import lines, packed
from ukulele.types import Field

FIELDS = {"ids": Field("token", pad=9.0), "x": Field("token")}


@pytest.mark.parametrize("seed", range(5))
def test_every_token_stands_once_and_rows_stay_whole(seed: int) -> None:
    draw = np.random.default_rng(seed)
    sizes = draw.integers(1, 30, 20).tolist()
    rows = [{"ids": torch.arange(n) + 100 * i, "x": torch.randn(n, 3)} for i, n in enumerate(sizes)]
    batch = collate(rows, FIELDS)
    line = packed(batch, FIELDS, "token")
    mask = line["token_mask"]
    assert mask.shape[1] == max(sizes)
    assert len(mask) < len(sizes)
    assert sorted(line["ids"][mask > 0].tolist()) == sorted(torch.cat([row["ids"] for row in rows]).tolist())
    assert set(line["ids"][mask == 0].tolist()) <= {9}
    found = [
        (line["ids"][at][mask[at] == n], line["x"][at][mask[at] == n])
        for at in range(len(mask))
        for n in range(1, int(mask[at].max()) + 1)
    ]
    for ids, x in found:
        row = rows[int(ids[0]) // 100]
        assert torch.equal(ids, row["ids"])
        assert torch.equal(x, row["x"])


def test_rows_of_like_length_stay_as_they_are() -> None:
    batch = collate([{"ids": torch.arange(n), "x": torch.zeros(n, 1)} for n in (7, 6, 7)], FIELDS)
    assert packed(batch, FIELDS, "token") is batch


def test_no_line_is_overfull() -> None:
    sizes = [5, 4, 3, 3, 2, 1, 1]
    found = lines(sizes, 6)
    assert sorted(row for line in found for row in line) == list(range(len(sizes)))
    assert all(sum(sizes[row] for row in line) <= 6 for line in found)
