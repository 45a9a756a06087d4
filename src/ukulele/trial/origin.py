"""How far rows lie from those that a bundle was trained on: its statistics of their features are the reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ukulele.models import is_bundle
from ukulele.models.bundle import read_statistics
from ukulele.tools.domain import FALSE, Domain

MOST = 2000  # rows that are looked at


@dataclass(frozen=True)
class Origin:
    """What a bundle was trained on, and how far other rows lie from that; no statistics: not known.

    `frechet` is the squared Fréchet distance of normal distributions, `frechet_of_drawn` that of as many rows drawn
    from the statistics themselves; `outside` the share of rows further off than all but `expected` of rows like those.
    """

    trained_on: str
    known: bool
    rows: tuple[int, int] = (0, 0)  # of ours, and that the statistics rest on
    frechet: float | None = None
    frechet_of_drawn: float | None = None
    outside: float | None = None
    expected: float = FALSE


def origin(name: str, features: Any, seed: int) -> Origin | None:
    """How far features (n, d) of rows behind the last stage of a bundle lie from its source; None: it is no bundle."""
    path = Path(name).expanduser()
    if not is_bundle(path):
        return None
    kept, trained_on = read_statistics(path)
    numbers = kept.plain.get("domain")
    if not numbers:
        return Origin(trained_on, known=False)
    domain = Domain.load({name: array.numpy() for name, array in kept.arrays.items()}, numbers)
    x: NDArray[np.float32] = np.asarray(features, np.float32)
    if x.shape[1] != domain.mean.shape[0]:  # it answers from the middle of its trunk
        return Origin(trained_on, known=False)
    generator = np.random.default_rng(seed)
    x = x[generator.permutation(len(x))[:MOST]]
    drawn = domain.drawn(len(x), generator)
    outside = float(domain.outside(x).mean())
    return Origin(trained_on, True, (len(x), domain.rows), domain.frechet(x), domain.frechet(drawn), outside)
