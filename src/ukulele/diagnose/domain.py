"""What the one pass says of data and model, as findings: what is learnt, by which stage, and how far rows lie apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ukulele.types import Finding, Verdict

CERTAIN = 0.01  # p of a permutation test
UNLIKE = 0.1  # share of rows unlike the source that is worth a word
TOLD = 0.8  # proxy A-distance from which most rows are told apart: seven of ten


def nothing_learnt(name: str, task: Mapping[str, Any]) -> Finding:
    """A probe does no better than the same answer for every row."""
    probe, same = task.get("probe") or {}, task.get("same for every row") or {}
    return Finding(
        "warning",
        "nothing-to-learn",
        f"Nothing to learn for {name!r}: a probe on the features does no better than the same answer for every row.",
        {"probe": probe.get("value"), "same": same.get("value"), "metric": task.get("metric")} if task else {},
        "Look at some rows: are the labels right, and is what they rest on in the input? Another model may see it.",
    )


def cannot_tell(name: str) -> Finding:
    """Too few rows, of each class or in all, to hold any out."""
    return Finding(
        "warning",
        "too-few-to-tell",
        f"The training rows of {name!r} are too few, of each class or in all, to tell whether a probe learns anything.",
        {},
        "Label more rows of each class; figures rest on little until then.",
    )


def far_domain(best: str, at_best: Mapping[str, Any], last: str, at_last: Mapping[str, Any]) -> Finding:
    """An inner stage serves the task better than the last one."""
    return Finding(
        "warning",
        "far-domain",
        f"Far from what the model was trained for: behind stage {best} a probe reaches {at_best['value']:.3f}, behind "
        f"the last ({last}) {at_last['value']:.3f}, more than two standard errors less.",
        {"stage": best, "value": at_best["value"], "last": at_last["value"]},
        "uke fit stands its probe there by itself; training upper stages (--strategy finetune) has most to give here.",
    )


def backbone(verdict: Verdict) -> list[Finding]:
    """Whether a detector gains when its backbone is trained, too: held against the same with the backbone frozen."""
    found = verdict.difference
    said = f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f}) in {verdict.metric} on validation"
    evidence = {"difference": found.value, "low": found.low, "high": found.high}
    match verdict.outcome:
        case "helped":
            return [
                Finding(
                    "info",
                    "far-domain",
                    f"Far from what the model was trained for: training the backbone, too, brings {said}.",
                    evidence,
                    "What the frozen backbone sees does not suffice here: more pictures pay, and a larger model may.",
                )
            ]
        case "hurt":
            return [
                Finding(
                    "info",
                    "near-domain",
                    f"Near what the model was trained for: training the backbone, too, brings {said}.",
                    evidence,
                    "A frozen backbone is enough for these pictures, and its features are computed once.",
                )
            ]
        case _:
            return []


def apart(distance: Mapping[str, Any] | None) -> list[Finding]:
    """Rows that differ clearly from those they are held against."""
    if distance is None or distance["mmd_p"] > CERTAIN or distance["proxy_a"] < TOLD:
        return []
    return [
        Finding(
            "info",
            "rows-differ",
            f"{_capital(distance['of'])} differ from {distance['from']}: a probe tells them apart (proxy A-distance "
            f"{distance['proxy_a']:.2f} of 2), and no random division is as uneven (p = {distance['mmd_p']:.3f}).",
            dict(distance),
            "Such distances predict transfer poorly. Look at what differs: scores on one may not hold on the other.",
        )
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def from_source(origin: Mapping[str, Any] | None) -> list[Finding]:
    """Many rows unlike all that a bundle was trained on."""
    if origin is None or not origin["known"] or origin["outside"] < UNLIKE:
        return []
    return [
        Finding(
            "info",
            "source-differs",
            f"{origin['outside']:.0%} of the training rows are unlike those that the model was trained on "
            f"({origin['trained_on']}); of rows like those it would be {origin['expected']:.0%}.",
            dict(origin),
            "Such distances predict transfer poorly: the probe's score says what the model is worth here.",
        )
    ]


def source_in_words(origin: Mapping[str, Any]) -> list[str]:
    """How far rows lie from those that a bundle was trained on, as lines, with what that is worth."""
    o, of = origin, origin["trained_on"]
    if not o["known"]:
        said = f"The bundle keeps no statistics of the rows that it was trained on ({of}): how far these lie from them"
        return [f"{said} is not known. With those rows at hand: --against DATA."]
    return [
        f"How far the training rows lie from those of the model, {of} ({o['rows'][0]:,} rows, and the bundle's "
        f"statistics of {o['rows'][1]:,})",
        f"  Fréchet distance   {o['frechet']:.4g}   ({o['frechet_of_drawn']:.4g} of as many rows drawn from them)",
        f"  unlike those       {o['outside']:.1%}   ({o['expected']:.0%} of rows like them)",
        "  They rest on a mean and a shrunk covariance: other shapes are not seen, and rows like those lie a little "
        "further off than drawn ones. Such distances predict transfer poorly.",
    ]


def apart_in_words(distance: Mapping[str, Any]) -> list[str]:
    """The distances as lines, with what they are worth."""
    d = distance
    return [
        f"How far {d['of']} lie from {d['from']} ({d['rows'][0]:,} and {d['rows'][1]:,} rows), as the model sees them",
        f"  Fréchet distance   {d['frechet']:.4g}   ({d['frechet_within']:.4g} within {d['of']})",
        f"  MMD²               {d['mmd']:.4g}   (p = {d['mmd_p']:.3f} that random divisions are as uneven)",
        f"  proxy A-distance   {d['proxy_a']:.2f}   (0: a probe cannot tell them apart; 2: it always can)",
        f"  CKA of features    {d['cka']:.3f}   ({d['cka_within']:.3f} within; 1: they vary alike)",
        "  Evidence that rows differ, not that a model fails on them: such distances predict transfer poorly.",
    ]
