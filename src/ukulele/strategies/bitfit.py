"""Biases alone: the head from the probe, then the biases of the stages above the cut.

BitFit (Ben Zaken et al., 2021, arXiv:2106.10199).
"""

from __future__ import annotations

from dataclasses import replace

from ukulele.errors import PlanError
from ukulele.strategies import finetune
from ukulele.strategies.facts import Facts, Wishes, frozen_stages, probe_first
from ukulele.strategies.finetune import LARGE, LARGE_RATE, PICTURES, RATE, tuning, views_of
from ukulele.types import Group, Plan

READS = finetune.READS - {"layer_decay", "private_stages"}  # copies of stages would be trained whole
TIMES = 10  # the rate that of fine-tuning


def plan(facts: Facts, wishes: Wishes) -> Plan:
    """Two phases: the probe, then head and biases."""
    frozen = frozen_stages(facts, wishes.freeze, default=len(facts.stages) // 2)
    above = [stage for stage in facts.stages[frozen:] if stage not in facts.bare]
    stages = [stage for stage in above if stage in facts.biased]
    if above and not stages:
        raise PlanError(
            f"--strategy bitfit: there are no biases in {', '.join(above)}.",
            hint="Choose another --freeze, or --strategy lora.",
        )
    large = facts.modality not in PICTURES and facts.parameters > LARGE
    rate = wishes.rate or facts.pace * TIMES * (LARGE_RATE if large else RATE[facts.modality])
    phase = tuning(facts, replace(wishes, rate=rate), len(facts.stages))
    groups = (Group("head.*", rate), *(Group(f"{stage}.*bias", rate) for stage in stages))
    return Plan(
        "bitfit",
        (*probe_first(facts), replace(phase, groups=groups)),
        views=views_of(facts, wishes),
        seed=wishes.seed,
    )
