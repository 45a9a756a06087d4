"""The rate of a plan: those worth trying, and a plan at another one."""

from __future__ import annotations

from dataclasses import replace

from ukulele.types import Plan

FACTORS = (1 / 3, 1.0, 3.0)  # of the usual rate


def search(base: Plan) -> tuple[tuple[float, Plan], ...]:
    """The plan in a third of its epochs, at several rates; by the factor of the usual one.

    >>> from ukulele.types import Group, Phase
    >>> base = Plan("x", (Phase((Group("head.*", 1.0),), "probe"), Phase((Group("*", 3e-3),), epochs=6)))
    >>> [(round(plan.phases[-1].groups[0].rate, 6), plan.phases[-1].epochs) for _, plan in search(base)]
    [(0.001, 2), (0.003, 2), (0.009, 2)]
    """
    phases = tuple(
        phase if phase.optimiser == "probe" else replace(phase.lasting(max(1, phase.epochs // 3)), soup=0)
        for phase in base.phases
    )
    shorter = replace(base, phases=phases, wise_ft=None)
    return tuple((factor, scaled(shorter, factor)) for factor in FACTORS)


def scaled(base: Plan, factor: float) -> Plan:
    """The plan with all rates of its phases that train multiplied: those of stages keep their proportions."""
    phases = tuple(
        phase
        if phase.optimiser == "probe"
        else replace(phase, groups=tuple(replace(group, rate=group.rate * factor) for group in phase.groups))
        for phase in base.phases
    )
    return replace(base, phases=phases)


def highest(plan: Plan) -> float:
    """The highest rate of the phases that train, or 0 where none does."""
    found = [group.rate for phase in plan.phases if phase.optimiser != "probe" for group in phase.groups]
    return max(found, default=0.0)
