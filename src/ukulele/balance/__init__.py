"""Several tasks' losses, or the Jacobian of the parameters they share, to one descent. No torch until `make`.

On losses (one backward pass a step, for the memory of one gradient), w the static weights:

    first        sum of w loss / its own first value: the default; starts as the sum of w
    sum          sum of w loss
    uncertainty  sum of w (loss / (2 v) + log v / 2), v learnt; starts as half the sum (Kendall 2018)
    dwa          sum of w loss, more of those that fall slowly; factors sum to the number of tasks (Liu 2019)
    famo         all fall at one rate; a convex combination of gradients (Liu 2023); one more forward pass a step
    stch         smooth maximum of w loss, w summing to 1 (Lin 2024)
    geometric    geometric mean, w as exponents, summing to 1 (Chennupati 2019)
    random       sum of w loss with random factors that sum to 1: the control (Lin 2022)

On gradients (one backward pass a task; w multiplies the rows):

    pcgrad       sum, without what points against another task (Yu 2020)
    gradvac      sum, each pair turned to its usual angle (Wang 2021)
    cagrad       mean, turned to help the worst task, within half its length (Liu 2021)
    mgda         the shortest convex combination (Désidéri 2012); a larger w makes a task count for less
    imtl-g       the same advance along every task's direction; factors sum to 1, some may be negative (Liu 2021)
    aligned-mtl  mean of the gradients made orthogonal and as long as the least (Senushkin 2023)
    upgrad       mean of the projections on what harms no task (Quinton 2024)

A sum and a mean differ by the number of tasks, and by so much does the rate that suits them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from math import isfinite

from ukulele.balance.balancer import Balancer
from ukulele.balance.promises import PROMISES, Promise
from ukulele.errors import PlanError

__all__ = ["NAMES", "Balancer", "Promise", "make", "promises"]

NAMES: tuple[str, ...] = tuple(PROMISES)
"""All that are offered; the first is the default."""


def promises(name: str) -> Promise:
    """What a balancer promises.

    >>> promises("mgda")
    Promise(order_invariant=True, non_conflicting=True, deterministic=True, memory='one gradient a task')

    Raises
    ------
    PlanError
        If there is no such balancer.
    """
    if name not in PROMISES:
        raise PlanError(f"no balancer {name!r}.", hint=f"{_near(name, NAMES)}Choose one of: {', '.join(NAMES)}.")
    return PROMISES[name]


def make(name: str, tasks: Sequence[str], weights: Mapping[str, float], device: str = "cpu") -> Balancer:
    """A balancer at its start.

    >>> import torch
    >>> balancer = make("first", ("mood", "topic"), {"topic": 0.5})
    >>> float(balancer.combine(torch.tensor([0.2, 9.0])))
    1.5

    Parameters
    ----------
    name
        One of `NAMES`.
    tasks
        In the order of the losses and of the Jacobian's rows.
    weights
        Static weights by task, 0 or more; 1 for those that are not in it.
    device
        Where the losses are.

    Raises
    ------
    PlanError
        If there is no such balancer, or a weight is none.
    MissingExtraError
        If the method comes from a library that is not installed.
    """
    promises(name)
    faults = [fault for task, weight in weights.items() for fault in _faults(task, weight, tasks)]
    if not any(weights.get(task, 1.0) > 0 for task in tasks):
        faults.append("no task has a weight above 0.")
    if faults:
        raise PlanError("\n".join(faults), hint="A weight is a number of 0 or more for the name of a task.")
    from ukulele.balance import gramians, jacobians, losses

    method = {**losses.METHODS, **gramians.METHODS, **jacobians.METHODS}[name]
    method.check(name)
    return Balancer(tasks, weights, device, method)


def _faults(task: str, weight: float, tasks: Sequence[str]) -> list[str]:
    unknown = f"a weight for {task!r}, which is no task. {_near(task, tasks)}The tasks: {', '.join(tasks)}."
    number = f"{weight} as the weight of task {task!r}; a finite number of 0 or more was expected."
    return [unknown] * (task not in tasks) + [number] * (not isfinite(weight) or weight < 0)


def _near(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 3, 0.4)
    return f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
