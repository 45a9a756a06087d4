"""Signs that a model learned its training rows by heart, or that training went wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ukulele.types import Estimate, Finding, Verdict

WIDE = 0.1  # of a metric between 0 and 1
SCALED = frozenset({"classify", "multilabel"})  # kinds of tasks whose probabilities have a temperature


def training(history: Sequence[Mapping[str, Any]], kinds: Collection[str]) -> list[Finding]:
    """Validation loss that rises while training loss still falls, in training for tasks of some kinds."""
    judged = [epoch for epoch in history if epoch.get("validation_loss") is not None]
    if len(judged) < 3:
        return []
    best = min(range(len(judged)), key=lambda i: judged[i]["validation_loss"])
    last = judged[-1]
    rose = last["validation_loss"] / max(judged[best]["validation_loss"], 1e-12)
    if best >= len(judged) - 2 or rose < 1.1 or last["train_loss"] >= judged[best]["train_loss"]:
        return []
    scores = [epoch.get("score") for epoch in judged]
    return [
        Finding(
            "info",
            "overfitting-loss",
            f"Validation loss was least after epoch {best + 1} and {rose:.1f} times that at the end, "
            f"while training loss still fell{_stalled(scores, best)}.",
            {"validation_loss": [epoch["validation_loss"] for epoch in judged], "score": scores},
            "The best epoch's weights were kept. Fewer epochs (--epochs), a lower rate (--rate) or more frozen "
            "stages (--freeze) cost less"
            + "; temperature scaling has corrected the confidence" * (not SCALED.isdisjoint(kinds))
            + ".",
        )
    ]


def lost(history: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Tasks whose loss became no number while the others were trained on."""
    first: dict[str, int] = {}
    for number, epoch in enumerate(history, 1):
        for task in epoch.get("lost", ()):
            first.setdefault(task, number)
    return [
        Finding(
            "warning",
            "loss-no-number",
            f"The loss of {task} became no number in epoch {epoch}: the others were trained without it from then on.",
            {"task": task, "epoch": epoch},
            f"Look at the targets of {task}, lower the rate (--rate), or train in full precision (--precision fp32).",
        )
        for task, epoch in first.items()
    ]


def _stalled(scores: Sequence[float | None], best: int) -> str:
    """What the score did from the epoch of the least loss on; nothing where it is not known."""
    before, last = scores[best], scores[-1]
    if before is None or last is None:
        return ""
    return f" and the score went from {before:.3f} to {last:.3f}"


def gap(
    metric: str, train: Estimate, validation: Estimate, probe: tuple[Estimate, Estimate] | None = None
) -> list[Finding]:
    """A training score far above the validation score, beyond both intervals.

    `probe` are the same two of the linear probe beside it; None where the probe was chosen, or there is none.
    """
    if not (0 <= validation.value <= 1 and train.value - validation.value > WIDE and train.low > validation.high):
        return []
    beside, evidence = "", {"train": train.value, "validation": validation.value}
    if probe is not None:
        beside = f" The linear probe beside it: {probe[0].value:.3f} and {probe[1].value:.3f}."
        evidence |= {"probe_train": probe[0].value, "probe_validation": probe[1].value}
    return [
        Finding(
            "warning",
            "overfitting-gap",
            f"{metric} is {train.value:.3f} on the training rows and {validation.value:.3f} on validation.{beside}",
            evidence,
            _next_step(validation, probe),
        )
    ]


def _next_step(validation: Estimate, probe: tuple[Estimate, Estimate] | None) -> str:
    """The next thing to try."""
    labels = "More labels help most: uke curve says how many a gain takes, uke label-next which rows."
    if probe is None:
        return f"{labels} A smaller or nearer model has less to learn by heart: uke choose ranks those there are."
    if probe[1].value >= validation.value:
        return f"Next: take the probe (--strategy probe), which is no worse on validation. {labels}"
    return f"Next: freeze more stages (--freeze), or train adapters alone (--strategy lora). {labels}"


def behind(chosen: str, cheaper: str, why: str) -> Finding:
    """What was asked for is worse on validation than what is cheaper."""
    return Finding(
        "warning",
        "worse-than-cheaper",
        f"{chosen} was asked for and is handed over; on validation the {cheaper} is better: {why}.",
        {"chosen": chosen, "better": cheaper},
        f"Take it (--strategy {cheaper}), or leave the choice to validation (--strategy auto).",
    )


def untouched(chosen: str, verdict: Verdict, use: str) -> list[Finding]:
    """The model as it was loaded does no worse on the test rows than what was made of it.

    `verdict` is the chosen candidate's against the untouched model; `use` the command that answers with that, or "".
    """
    if verdict.outcome == "helped":
        return []
    worse, found = verdict.outcome == "hurt", verdict.difference
    said = f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f}) in {verdict.metric}"
    return [
        Finding(
            "warning",
            "worse-than-untouched" if worse else "no-better-than-untouched",
            f"{chosen} is handed over, and on the test rows it is {'worse' if worse else 'not clearly better'} than "
            f"the untouched model ({verdict.against}): {said}.",
            {"chosen": chosen, "difference": found.value, "low": found.low, "high": found.high},
            f"Use the model as it is{f' ({use})' * bool(use)}, or train at a lower rate (--rate) or for more epochs "
            "(--epochs).",
        )
    ]


def forgetting(
    name: str, metric: str, values: tuple[float, float], change: tuple[float, float, float], outcome: str
) -> Finding:
    """What training did to the score of another text: `values` before and after, and the change with its interval."""
    verb = {"hurt": "forgot", "helped": "got better at"}.get(outcome, "kept")
    value, low, high = change
    return Finding(
        "warning" if outcome == "hurt" else "info",
        "retention",
        f"The model {verb} {name}: {metric} was {values[0]:.3f} before and is {values[1]:.3f} "
        f"({value:+.3f}, {low:+.3f} to {high:+.3f}; positive is better).",
        {"data": name, "metric": metric, "before": values[0], "after": values[1], "low": low, "high": high},
        "A lower --rate, more frozen stages, --strategy lora or l2sp keep more." if outcome == "hurt" else "",
    )
