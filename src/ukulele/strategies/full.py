"""Full fine-tuning: every stage, rates falling towards the stem, from the probe's head."""

from __future__ import annotations

from ukulele.strategies.facts import Facts, Wishes, frozen_stages, probe_first
from ukulele.strategies.finetune import PICTURES, READS, tuning
from ukulele.types import Plan

__all__ = ["READS", "plan"]


def plan(facts: Facts, wishes: Wishes) -> Plan:
    """As fine-tuning, with nothing frozen unless asked."""
    frozen = frozen_stages(facts, wishes.freeze, default=0)
    views = wishes.views if wishes.views is not None else (0 if facts.modality in PICTURES else 1)
    return Plan("full", (*probe_first(facts), tuning(facts, wishes, frozen)), views=views, seed=wishes.seed)
