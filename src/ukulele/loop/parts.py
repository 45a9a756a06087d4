"""The rows of a step as the loop takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ukulele.types import Tensors


@dataclass(frozen=True)
class Piece:
    """Rows that pass the trunk together: live values at the cut, and targets by task."""

    live: Tensors
    targets: Mapping[str, Tensors]


Part = tuple[Piece, ...]  # the rows of a step: where they are ragged, in pieces of like length
