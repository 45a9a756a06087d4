"""Fine-tuning that pulls weights back to where they started, instead of to zero.

L2-SP (Li, Grandvalet & Davoine, 2018, arXiv:1802.01483).
"""

from __future__ import annotations

from dataclasses import replace

from ukulele.strategies import full
from ukulele.strategies.facts import Facts, Wishes
from ukulele.types import Plan

# stages of a task's own have no one start to be pulled to
READS = (full.READS | {"penalty"}) - {"private_stages"}
PENALTY = 0.1  # not tuned here


def plan(facts: Facts, wishes: Wishes) -> Plan:
    """As full fine-tuning, with the penalty; stages above `freeze` alone where that is asked for."""
    base = full.plan(facts, wishes)
    *before, last = base.phases
    return replace(base, strategy="l2sp", phases=(*before, replace(last, penalty=wishes.penalty or PENALTY)))
