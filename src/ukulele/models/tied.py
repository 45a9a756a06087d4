"""Weights that several modules share, made two where a cut parts them.

Below a cut all is frozen, and a shared weight belongs to its lowest place: without this nothing of it could be trained
above.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def shared(lower: Iterable[nn.Module], upper: Iterable[nn.Module]) -> set[nn.Parameter]:
    """The parameters that are in both."""
    below = {parameter for module in lower for parameter in module.parameters()}
    return {parameter for module in upper for parameter in module.parameters() if parameter in below}


def untie(lower: Iterable[nn.Module], upper: Iterable[nn.Module]) -> bool:
    """Give `upper` one copy of each parameter that it shares with `lower`; whether there was any.

    What modules of `upper` share among themselves they go on sharing.

    >>> below, above, top = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    >>> above.weight = top.weight = below.weight
    >>> untie([below], [above, top]), above.weight is below.weight, above.weight is top.weight
    (True, False, True)
    """
    uppers = list(upper)
    copies = {parameter: nn.Parameter(parameter.detach().clone()) for parameter in shared(lower, uppers)}
    for root in uppers:
        for module in root.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter in copies:
                    setattr(module, name, copies[parameter])
    return bool(copies)
