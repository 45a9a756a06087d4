"""Full fine-tuning in which each stage's rate follows its relative gradient norm, measured anew before every epoch.

Auto-RGN (Lee et al., 2023, arXiv:2210.11466): where the data differ from the source's in their pictures alone, the
lower stages ask for change; where their answers differ, the upper ones.
"""

from __future__ import annotations

from dataclasses import replace

from ukulele.strategies import full
from ukulele.strategies.facts import Facts, Wishes
from ukulele.types import Plan

READS = full.READS - {"layer_decay", "private_stages"}


def plan(facts: Facts, wishes: Wishes) -> Plan:
    """As full fine-tuning, at one rate for all stages, of which each gets its share."""
    base = full.plan(facts, replace(wishes, layer_decay=1.0))
    *before, last = base.phases
    return replace(base, strategy="autorgn", phases=(*before, replace(last, relative=True)))
