"""The methods that torchjd supplies, each as weights from a Gramian. The only file that imports torchjd.

torchjd's own GradVac, DWA and FAMO keep state outside their `state_dict` and take a task that a batch lacks for one
that is solved; its CAGrad and Nash-MTL need solvers of their own. What we offer of these is written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ukulele.balance.balancer import Method
from ukulele.balance.gramians import Rule, non_negative, through_gramian, unit_vectors
from ukulele.errors import MissingExtraError


def require(name: str) -> None:
    """Raise MissingExtraError if torchjd is not installed."""
    try:
        import torchjd.aggregation  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"The balancer {name!r}", "multitask") from error


def _pcgrad(gramian: Tensor) -> Tensor:
    """Projecting conflicting gradients (Yu et al. 2020), algorithm 1; the others come in random order."""
    from torchjd.aggregation import PCGradWeighting

    weights: Tensor = PCGradWeighting()(gramian)
    return weights


def _imtl_g(gramian: Tensor) -> Tensor:
    """Impartial multi-task learning (Liu et al. 2021), also for gradients that depend on each other."""
    from torchjd.aggregation import IMTLGWeighting

    weights: Tensor = IMTLGWeighting()(gramian)
    return weights


def _aligned_mtl(gramian: Tensor) -> Tensor:
    """Independent component alignment (Senushkin et al. 2023), algorithm 1."""
    from torchjd.aggregation import AlignedMTLWeighting

    weights: Tensor = AlignedMTLWeighting()(gramian)
    return weights


def _upgrad(gramian: Tensor) -> Tensor:
    """Unconflicting projection of gradients (Quinton and Rey 2024)."""
    from torchjd.aggregation import UPGradWeighting

    projector: Any = _project  # nothing but the call is asked of it
    weights: Tensor = UPGradWeighting(projector=projector)(gramian)
    return weights


def _project(combinations: Tensor, gramian: Tensor) -> Tensor:
    """Each combination u of the gradients to the v >= u that is the shortest: what of it harms no task.

    By non-negative least squares, in place of torchjd's solver, which is under the GPL.
    """
    vectors, lengths = unit_vectors(gramian)
    found = [non_negative(vectors, -vectors @ (u * lengths)) / lengths for u in combinations.numpy()]
    return combinations + torch.from_numpy(np.stack(found))


def _supplied(rule: Rule) -> Method:
    return replace(through_gramian(rule), check=require)


METHODS: Mapping[str, Method] = {
    "pcgrad": _supplied(_pcgrad),
    "imtl-g": _supplied(_imtl_g),
    "aligned-mtl": _supplied(_aligned_mtl),
    "upgrad": _supplied(_upgrad),
}
