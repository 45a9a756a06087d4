"""Gradual unfreezing: the head from the probe, then one group of stages after the other, from the top to the stem.

ULMFiT (Howard & Ruder, 2018, arXiv:1801.06146): gradual unfreezing, discriminative rates, and in each phase a slanted
triangle of the rate, up over a tenth of its steps and down over the rest.
"""

from __future__ import annotations

from dataclasses import replace

from ukulele.strategies import finetune
from ukulele.strategies.facts import Facts, Wishes, frozen_stages, probe_first
from ukulele.strategies.finetune import tuning, views_of
from ukulele.types import Phase, Plan

READS = finetune.READS
STEPS = 4  # groups of stages at most, each with a phase: a deep network would pass its rows once for every stage
DECAY = 1 / 2.6  # of the rate from a group of stages to the one below it, as in ULMFiT


def plan(facts: Facts, wishes: Wishes) -> Plan:
    """The probe, then a phase for each group of stages: one epoch each, and the rest of the epochs for the last."""
    frozen = frozen_stages(facts, wishes.freeze, default=0)
    trained = [stage for stage in range(frozen, len(facts.stages)) if facts.stages[stage] not in facts.bare]
    steps = min(STEPS, max(1, len(trained)))
    decay = wishes.layer_decay or DECAY ** (steps / max(1, len(trained)))
    last = tuning(facts, replace(wishes, layer_decay=decay), frozen)
    cuts = [trained[-round(len(trained) * step / steps)] for step in range(1, steps)] if trained else []
    early = [_until(facts, last, cut) for cut in cuts]
    phases = (*probe_first(facts), *early, last)
    return Plan("gradual", phases, views=views_of(facts, wishes), seed=wishes.seed)


def _until(facts: Facts, last: Phase, cut: int) -> Phase:
    """The last phase's groups down to a stage, for one epoch."""
    kept = {"head.*", *(facts.pattern(stage) for stage in facts.stages[cut:])}
    return replace(last.lasting(1), groups=tuple(group for group in last.groups if group.names in kept))
