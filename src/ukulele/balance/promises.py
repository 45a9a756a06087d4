"""What each balancer promises, as a table. No torch: options are checked and plans are shown without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """What holds for every step of a balancer; each mark has a test.

    `order_invariant`: the order of the tasks does not matter. `non_conflicting`: to first order, no task's loss rises
    (a method on gradients can promise that for the shared parameters). `deterministic`: no draw is made.
    """

    order_invariant: bool
    non_conflicting: bool
    deterministic: bool
    memory: str  # what is held beside the parameters: "one gradient", or "one gradient a task"


_ONE, _EACH = "one gradient", "one gradient a task"

PROMISES: Mapping[str, Promise] = {
    "first": Promise(order_invariant=True, non_conflicting=False, deterministic=True, memory=_ONE),
    "sum": Promise(order_invariant=True, non_conflicting=False, deterministic=True, memory=_ONE),
    "uncertainty": Promise(order_invariant=True, non_conflicting=False, deterministic=True, memory=_ONE),
    "dwa": Promise(order_invariant=True, non_conflicting=False, deterministic=True, memory=_ONE),
    "famo": Promise(order_invariant=True, non_conflicting=False, deterministic=True, memory=_ONE),
    "stch": Promise(order_invariant=True, non_conflicting=False, deterministic=True, memory=_ONE),
    "geometric": Promise(order_invariant=True, non_conflicting=False, deterministic=True, memory=_ONE),
    "random": Promise(order_invariant=False, non_conflicting=False, deterministic=False, memory=_ONE),
    "pcgrad": Promise(order_invariant=False, non_conflicting=False, deterministic=False, memory=_EACH),
    "cagrad": Promise(order_invariant=True, non_conflicting=False, deterministic=True, memory=_EACH),
    "gradvac": Promise(order_invariant=False, non_conflicting=False, deterministic=False, memory=_EACH),
    "mgda": Promise(order_invariant=True, non_conflicting=True, deterministic=True, memory=_EACH),
    "imtl-g": Promise(order_invariant=True, non_conflicting=False, deterministic=True, memory=_EACH),
    "aligned-mtl": Promise(order_invariant=True, non_conflicting=False, deterministic=True, memory=_EACH),
    "upgrad": Promise(order_invariant=True, non_conflicting=True, deterministic=True, memory=_EACH),
}
