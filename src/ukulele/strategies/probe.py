"""Feature extraction: a linear head on the frozen model, fitted to its optimum."""

from __future__ import annotations

from ukulele.strategies.facts import Facts, Wishes, probe_first
from ukulele.types import Plan

READS = frozenset({"layer"})  # options, besides those of every run


def plan(facts: Facts, wishes: Wishes) -> Plan:
    """One phase, the heads alone; the penalty's strength is chosen by cross-validation."""
    return Plan("probe", probe_first(facts), views=1, seed=wishes.seed)
