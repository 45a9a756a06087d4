"""Full fine-tuning: every stage, rates falling towards the stem, from the probe's head."""

from __future__ import annotations

from ukulele.errors import PlanError
from ukulele.strategies.facts import Facts, Wishes, frozen_stages, probe_first
from ukulele.strategies.finetune import PICTURES, tuning
from ukulele.strategies.finetune import READS as BELOW
from ukulele.types import Plan

READS = BELOW | {"mosaic"}


def plan(facts: Facts, wishes: Wishes) -> Plan:
    """As fine-tuning, with nothing frozen unless asked."""
    frozen = frozen_stages(facts, wishes.freeze, default=0)
    views = wishes.views if wishes.views is not None else (0 if facts.modality in PICTURES else 1)
    mosaic = wishes.mosaic if facts.modality == "boxes" else 0.0
    if mosaic and frozen:
        raise PlanError(
            f"--mosaic {mosaic:g} with --freeze {wishes.freeze}: what is frozen is stored, and pictures that are put "
            "together anew in every epoch cannot be.",
            hint="Leave one of them out.",
        )
    phases = (*probe_first(facts), tuning(facts, wishes, frozen))
    return Plan("full", phases, views=views, seed=wishes.seed, mosaic=mosaic)
