"""From random weights: the control that says what pre-training is worth, and a way to make a source model."""

from __future__ import annotations

from dataclasses import replace

from ukulele.strategies.facts import Facts, Wishes, balanced_batch
from ukulele.strategies.finetune import AVERAGE, PICTURES, epochs_of
from ukulele.types import Group, Phase, Plan

READS = frozenset(
    {"epochs", "rate", "batch", "views", "mosaic", "patience", "balance", "sampling", "private_stages", "group"}
)
RATES = {
    "text": (1e-4, 3e-4, 1e-3),
    "pair": (1e-4, 3e-4, 1e-3),
    "image": (3e-4, 1e-3, 3e-3),
    "boxes": (1e-3, 2e-3, 4e-3),
    "writing": (5e-4, 1e-3, 2e-3),
}


def plan(facts: Facts, wishes: Wishes) -> Plan:
    """One phase: everything at one rate, BatchNorm's statistics included."""
    views = wishes.views if wishes.views is not None else (0 if facts.modality in PICTURES else 1)
    boxes = facts.modality == "boxes"
    epochs = wishes.epochs or _usual(facts)
    phase = Phase(
        groups=(Group("*", wishes.rate or RATES[facts.modality][1] * facts.pace),),
        epochs=epochs,
        batch=wishes.batch or (8 if boxes and facts.rows < 1000 else balanced_batch(facts)),
        decay=0.01,
        schedule="cosine" if boxes else "linear",
        clip=10.0 if boxes else 1.0,
        norm="trained",
        patience=wishes.patience or (8 if boxes else 5),
        average=AVERAGE if boxes else None,
        plain=epochs // 10 if boxes else 0,
    )
    return Plan("scratch", (phase,), views=views, seed=wishes.seed, mosaic=wishes.mosaic if boxes else 0.0)


def _usual(facts: Facts) -> int:
    """Passes over the rows: of boxes as many as of the rest, as more would be another budget."""
    match facts.modality:
        case "boxes":
            return epochs_of(facts)
        case "writing" if facts.windows:
            return 2 * epochs_of(facts)
        case "writing":
            return 40 if facts.rows < 5000 else epochs_of(facts)
        case _:
            return 40 if facts.rows < 1000 else 20 if facts.rows < 5000 else 8


def search(base: Plan, modality: str) -> tuple[Plan, ...]:
    """The same plan at several rates and a third of its epochs, to choose the rate by on validation."""
    epochs = max(1, base.phases[0].epochs // 3)
    shorter = replace(base, phases=(base.phases[0].lasting(epochs),))
    pace = base.phases[0].groups[0].rate / RATES[modality][1]
    return tuple(at_rate(shorter, rate * pace) for rate in RATES[modality])


def at_rate(base: Plan, rate: float) -> Plan:
    """The same plan at another rate."""
    return replace(base, phases=(replace(base.phases[0], groups=(Group("*", rate),)),))
