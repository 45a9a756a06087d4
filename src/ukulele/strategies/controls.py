"""The controls: what a run must beat to have been worth it. They are candidates like any other."""

from __future__ import annotations

from dataclasses import replace

from ukulele.strategies import probe
from ukulele.strategies.facts import Facts, Wishes
from ukulele.types import Candidate

WORDS = {"text": "tfidf", "pair": "tfidf", "image": "histogram"}


def cheap(facts: Facts, wishes: Wishes) -> tuple[Candidate, ...]:
    """The majority class (or the mean), and a model without pre-training that people really use."""
    plan = probe.plan(replace(facts, probes=True), wishes)
    names = ("majority", WORDS[facts.modality])
    return tuple(Candidate(name, name, plan, role="control", pretrained=False) for name in names)
