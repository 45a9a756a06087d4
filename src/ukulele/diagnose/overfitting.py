"""Signs that a model learned its training rows by heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ukulele.types import Estimate, Finding

WIDE = 0.1  # of a metric between 0 and 1


def training(history: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Validation loss that rises while training loss still falls."""
    judged = [epoch for epoch in history if epoch.get("validation_loss") is not None]
    if len(judged) < 3:
        return []
    best = min(range(len(judged)), key=lambda i: judged[i]["validation_loss"])
    last = judged[-1]
    rose = last["validation_loss"] / max(judged[best]["validation_loss"], 1e-12)
    if best >= len(judged) - 2 or rose < 1.1 or last["train_loss"] >= judged[best]["train_loss"]:
        return []
    return [
        Finding(
            "info",
            "overfitting-loss",
            f"Validation loss was least after epoch {best + 1} and {rose:.1f} times that at the end, "
            "while training loss still fell.",
            {"validation_loss": [epoch["validation_loss"] for epoch in judged]},
            "The best epoch's weights were kept. Fewer epochs (--epochs), a lower rate (--rate) or more frozen "
            "stages (--freeze) cost less; temperature scaling has corrected the confidence.",
        )
    ]


def gap(metric: str, train: Estimate, validation: Estimate) -> list[Finding]:
    """A training score far above the validation score, beyond both intervals."""
    if not (0 <= validation.value <= 1 and train.value - validation.value > WIDE and train.low > validation.high):
        return []
    return [
        Finding(
            "warning",
            "overfitting-gap",
            f"{metric} is {train.value:.3f} on the training rows and {validation.value:.3f} on validation.",
            {"train": train.value, "validation": validation.value},
            "More labelled rows help most; else freeze more stages (--freeze), or take the probe (--strategy probe).",
        )
    ]


def behind(chosen: str, cheaper: str, why: str) -> Finding:
    """What was asked for is worse on validation than what is cheaper."""
    return Finding(
        "warning",
        "worse-than-cheaper",
        f"{chosen} was asked for and is handed over; on validation the {cheaper} is better: {why}.",
        {"chosen": chosen, "better": cheaper},
        f"Take it (--strategy {cheaper}), or leave the choice to validation (--strategy auto).",
    )
