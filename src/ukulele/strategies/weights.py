"""Static weights of several tasks' losses: those worth trying, and a plan with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ukulele.types import Plan

RAISED = 3.0  # times its weight that a task is tried at


def search(base: Plan, tasks: Sequence[str]) -> tuple[tuple[str, Plan], ...]:
    """The plan in a third of its epochs: with the weights it has, and with each task's raised; by a name.

    >>> from ukulele.types import Group, Phase
    >>> base = Plan("x", (Phase((Group("head.*", 1.0),), "probe"), Phase((Group("*", 1e-3),), epochs=6)))
    >>> [(name, plan.weights, plan.phases[-1].epochs) for name, plan in search(base, ("a", "b"))]
    [('given', (), 2), ('a', (('a', 3.0),), 2), ('b', (('b', 3.0),), 2)]
    """
    phases = tuple(phase.lasting(max(1, phase.epochs // 3)) for phase in base.phases)
    shorter, given = replace(base, phases=phases), dict(base.weights)
    raised = [(task, weighed(shorter, {**given, task: RAISED * given.get(task, 1.0)})) for task in tasks]
    return (("given", shorter), *raised)


def weighed(base: Plan, weights: Mapping[str, float]) -> Plan:
    """The plan with other weights."""
    return replace(base, weights=tuple(weights.items()))


def in_words(weights: Mapping[str, float], tasks: Sequence[str]) -> str:
    """Weights for people.

    >>> in_words({"b": 3.0}, ("a", "b"))
    'weights a 1, b 3'
    """
    return "weights " + ", ".join(f"{task} {weights.get(task, 1.0):g}" for task in tasks)
