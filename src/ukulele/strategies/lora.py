"""Low-rank adapters: the head from the probe, then small matrices beside the weights of the stages above the cut.

LoRA (Hu et al., 2021, arXiv:2106.09685), DoRA (Liu et al., 2024, arXiv:2402.09353).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ukulele.errors import PlanError
from ukulele.strategies import finetune
from ukulele.strategies.facts import Facts, Wishes, frozen_stages, probe_first
from ukulele.strategies.finetune import LARGE, LARGE_RATE, PICTURES, RATE, tuning, views_of
from ukulele.types import Adapters, Group, Plan

# one rate for all; adapters of each task's own are the counterpart of private stages
READS = finetune.READS - {"private_stages", "layer_decay"}
# the upper half on 2,500 rows of sst2, 2 epochs: .845 on the dev split, .837 at half the rate; all blocks at half the
# rate .851 in twice the time; fine-tuning .846, of 32 times as many parameters; standard error .012
RANK, SCALE, TIMES = 8, 2, 10  # alpha is SCALE times the rank; the rate TIMES that of fine-tuning


def plan(facts: Facts, wishes: Wishes) -> Plan:
    """Two phases: the probe, then head and adapters."""
    return _plan("lora", facts, wishes)


def dora(facts: Facts, wishes: Wishes) -> Plan:
    """The same, direction and magnitude of each weight apart."""
    return _plan("dora", facts, wishes)


def _plan(kind: Literal["lora", "dora"], facts: Facts, wishes: Wishes) -> Plan:
    frozen = frozen_stages(facts, wishes.freeze, default=len(facts.stages) // 2)
    above = [stage for stage in facts.stages[frozen:] if stage not in facts.bare]
    stages = tuple(stage for stage in above if stage in facts.linear)
    if above and not stages:
        raise PlanError(
            f"--strategy {kind}: adapters stand beside linear layers and convolutions; there are none in "
            f"{', '.join(above)}.",
            hint="Choose another --freeze, or --strategy finetune.",
        )
    large = facts.modality not in PICTURES and facts.parameters > LARGE
    rate = wishes.rate or facts.pace * TIMES * (LARGE_RATE if large else RATE[facts.modality])
    rank = wishes.rank or RANK
    phase = tuning(facts, replace(wishes, rate=rate), len(facts.stages))
    alpha = wishes.alpha or float(SCALE * rank)
    adapters = Adapters(kind, stages, rank, alpha, wishes.own, wishes.bits) if stages else None
    groups = (Group("*lora_*", rate), Group("head.*", rate)) if stages else (Group("head.*", rate),)
    return Plan(
        kind,
        (*probe_first(facts), replace(phase, groups=groups)),
        views=views_of(facts, wishes),
        seed=wishes.seed,
        adapters=adapters,
    )
