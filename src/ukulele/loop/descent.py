"""Losses to gradients: the only place with backward() and autograd.grad()."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ukulele.loop.engine import Engine
from ukulele.loop.selection import Selection

if TYPE_CHECKING:
    from ukulele.balance import Balancer


SHORT = 0.02  # share of a task's loss that a look ahead steps down


class Forward(Protocol):
    """Every task's mean loss, of the weights as they are."""

    def __call__(self) -> dict[str, Tensor]: ...


def descend(losses: Mapping[str, Tensor], chosen: Selection, balancer: Balancer | None, engine: Engine) -> None:
    """Leave one gradient on every trained parameter.

    The losses of one task, or those that a balancer makes one of, are differentiated once; a balancer of gradients
    is given the Jacobian of the shared part, a pass for each task, while the heads get their own on the way.
    """
    values = torch.stack(list(losses.values()))
    if balancer is None:
        engine.backward(values.sum())
    elif balancer.on == "losses":
        engine.backward(balancer.combine(values + (engine.shown(values) - values).detach()))
    else:
        rows = jacobian(losses, chosen, engine)
        if chosen.shared:
            put_gradient(engine.average(balancer.combine(rows)), chosen)  # who draws at random, draws in each process
        for task, parameters in chosen.own.items():
            for parameter in parameters:
                weight = balancer.weight(task)
                parameter.grad = parameter.grad * weight if weight and parameter.grad is not None else None


def _split(flat: Tensor, chosen: Selection) -> Sequence[Tensor]:
    sizes = [parameter.numel() for parameter in chosen.shared]
    return torch.split(flat, sizes)


def jacobian(losses: Mapping[str, Tensor], chosen: Selection, engine: Engine, *, keep_own: bool = True) -> Tensor:
    """The gradient of each loss with respect to what the tasks share, (tasks, numbers).

    Where `keep_own`, the heads' parameters get their own task's gradient.
    """
    rows = []
    for task, loss in losses.items():
        own = chosen.own.get(task, ()) if keep_own else ()
        if not loss.requires_grad:  # a task that is no longer trained
            rows.append(loss.new_zeros(sum(parameter.numel() for parameter in chosen.shared), dtype=torch.float32))
            continue
        found = torch.autograd.grad(
            loss, (*chosen.shared, *own), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        found = tuple(engine.average(gradient) for gradient in found)
        flat = [gradient.flatten().float() for gradient in found[: len(chosen.shared)]]
        rows.append(torch.cat([*flat, loss.new_zeros(0, dtype=torch.float32)]))  # nothing may be shared
        for parameter, gradient in zip(own, found[len(chosen.shared) :], strict=True):
            parameter.grad = gradient
    return torch.stack(rows)


def put_gradient(flat: Tensor, chosen: Selection) -> None:
    """A gradient (numbers,) onto the shared parameters."""
    for parameter, part in zip(chosen.shared, _split(flat, chosen), strict=True):
        parameter.grad = part.view_as(parameter).to(parameter.dtype)


def look_ahead(forward: Forward, chosen: Selection, engine: Engine) -> tuple[list[list[float]], float]:
    """What a step on each task alone would do to every task's loss, on the same rows; weights stay as they are.

    The step goes down one task's gradient of the shared part, as far as would lower its own loss by `SHORT` of
    itself if that were straight; and no farther than a step of Adam at the full rate.

    Returns
    -------
    tuple
        1 - loss after / loss before, (acting, acted upon), NaN where a task has no row or gradient here; and the
        share of pairs of tasks whose gradients point apart.

    References
    ----------
    Fifty et al., 2021, arXiv:2109.04617, equation 1.
    """
    losses = forward()
    rows = jacobian(losses, chosen, engine, keep_own=False)
    before = torch.stack([loss.detach().float() for loss in losses.values()])
    kept = [parameter.detach().clone() for parameter in chosen.shared]
    own = {id(parameter) for parameters in chosen.own.values() for parameter in parameters}
    most = math.sqrt(
        sum(group["rate"] ** 2 * p.numel() for group in chosen.groups for p in group["params"] if id(p) not in own)
    )
    found = []
    for row, loss in zip(rows, before.tolist(), strict=True):
        norm = float(row.norm())
        if not 0 < norm < math.inf:
            found.append([math.nan] * len(rows))
            continue
        length = min(SHORT * loss / norm, most)
        with torch.no_grad():
            for parameter, part in zip(chosen.shared, _split(row * (length / norm), chosen), strict=True):
                parameter.sub_(part.view_as(parameter))
            after = torch.stack([loss.float() for loss in forward().values()])
            for parameter, value in zip(chosen.shared, kept, strict=True):
                parameter.copy_(value)
        gain = torch.where(before > 0, 1 - after / before, torch.nan)
        found.append([float(value) for value in gain])
    return found, conflicts(rows)


def conflicts(rows: Tensor) -> float:
    """The share of pairs of gradients (tasks, numbers) that point apart; those that are nothing do not count.

    >>> conflicts(torch.tensor([[1.0, 0.0], [-1.0, 0.1], [1.0, 1.0], [0.0, 0.0]]))  # two of three pairs
    0.6666666666666666
    """
    rows = rows[rows.norm(dim=1) > 0]
    pairs = torch.triu_indices(len(rows), len(rows), 1)
    products = (rows @ rows.T)[pairs[0], pairs[1]]
    return float((products < 0).double().mean()) if len(products) else 0.0
