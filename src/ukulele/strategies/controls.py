"""The controls: what a run must beat to have been worth it. They are candidates like any other."""

from __future__ import annotations

from dataclasses import replace

from ukulele.strategies import probe, scratch
from ukulele.strategies.facts import Facts, Wishes
from ukulele.types import Candidate, Plan

UNTOUCHED = "zero-shot"  # the control that is the model as it was loaded
WORDS = {"text": "tfidf", "pair": "tfidf", "image": "histogram"}


def detectors(facts: Facts, wishes: Wishes, name: str) -> tuple[Candidate, ...]:
    """Of detection: the model as it is where it knows classes of the data, and the same from scratch.

    Nobody uses anything cheaper, so the scratch control is always there; it has the epochs of the rest.
    """
    plan = scratch.plan(facts, replace(wishes, rate=None, freeze=None))
    untouched = Candidate(UNTOUCHED, name, Plan(UNTOUCHED, seed=wishes.seed), role="control")
    return (untouched,) * bool(facts.shared) + (Candidate("scratch", name, plan, "control", pretrained=False),)


def writers(facts: Facts, wishes: Wishes, name: str, kind: str, *, made: bool, reads: bool) -> tuple[Candidate, ...]:
    """Of texts that are written: a copy of the source, its beginning as a summary, counts of tokens, the model as it
    is, and scratch.

    The copies are there to show that a score is not for nothing. `made`: the model has no weights of before.
    `reads`: it is a decoder, by whose tokens can be counted.
    """
    counts = ("unigram", "5-gram") if reads else ("copy",)
    copies = {"translate": ("copy",), "summarise": ("lead-3", "copy"), "generate": counts}[kind]
    still = Plan("copy", seed=wishes.seed)
    found = [Candidate(copy, copy, still, "control", pretrained=False) for copy in copies]
    if made:
        return tuple(found)
    plan = scratch.plan(facts, replace(wishes, rate=None, freeze=None, epochs=None))
    untouched = Candidate(UNTOUCHED, name, Plan(UNTOUCHED, seed=wishes.seed), "control")
    return (*found, untouched, Candidate("scratch", name, plan, "control", pretrained=False))


def cheap(facts: Facts, wishes: Wishes) -> tuple[Candidate, ...]:
    """The majority class (or the mean), and a model without pre-training that people really use."""
    plan = probe.plan(replace(facts, probes=True), wishes)
    names = ("majority", WORDS[facts.modality])
    return tuple(Candidate(name, name, plan, role="control", pretrained=False) for name in names)
