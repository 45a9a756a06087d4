"""What tests of the cache have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ukulele.features import Cache
from ukulele.types import Rows, Tensors

Folders = Callable[..., Path]
Make = Callable[..., Rows]
CUT = 2


def quiet(event: object) -> None:
    """Hears nothing."""


def equal(left: Sequence[Tensors], right: Sequence[Tensors]) -> bool:
    return len(left) == len(right) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(left, right, strict=True)
    )


def close(left: Sequence[Tensors], right: Sequence[Tensors]) -> None:
    for a, b in zip(left, right, strict=True):
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-5)


def read(source: Any) -> list[Tensors]:
    return source.rows(range(len(source)))


def files(cache: Cache) -> list[Path]:
    return [path for path, _, _ in cache.entries()]
