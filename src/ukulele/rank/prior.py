"""What is expected of a model before it has seen a row: a weak opinion that decides between equals."""

from __future__ import annotations

import math


def prior(parameters: int, source: str) -> float:
    """Larger models transfer better on the whole (Kornblith, Shlens, Le, 2019; Kaplan et al., 2020), by about as
    much for every factor of ten; one that was trained on nothing transfers nothing.

    >>> prior(25_000_000, "ImageNet-1k") > prior(2_500_000, "ImageNet-1k") > prior(25_000_000, "none")
    True
    """
    return math.log10(max(parameters, 1)) - (10.0 if source == "none" else 0.0)
