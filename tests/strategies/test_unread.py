"""What a strategy says that it reads is what changes its plan, and nothing else is let pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ukulele.config import FitOptions
from ukulele.errors import PlanError
from ukulele.story.unread import refuse_unread
from ukulele.strategies import READS, STRATEGIES, Facts, Wishes, make, rungs
from ukulele.types import Dataset, Modality

STAGES = ("stem", "block0", "block1", "head", "pool")
ALL = frozenset(STAGES[:-1])
FACTS = Facts("image", 500, STAGES, frozenset({"pool"}), 1_000_000, linear=ALL, biased=ALL)
WISHED: dict[str, Any] = {
    "freeze": 1,
    "epochs": 7,
    "rate": 0.5,
    "batch": 3,
    "views": 3,
    "patience": 9,
    "layer_decay": 0.5,
}
WISHED |= {"penalty": 0.3, "wise_ft": 0.5, "soup": True}
OTHER: dict[str, Any] = {"balance": "sum", "sampling": "sqrt", "private_stages": 1, "group": "auto", "layer": "last"}


def data(modality: Modality = "image") -> Dataset:
    return Dataset("made", modality, ("x",), (), {})


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("wish", WISHED)
def test_a_strategy_reads_what_it_says(strategy: str, wish: str) -> None:
    facts = replace(FACTS, modality="text") if strategy == "fewshot" else FACTS
    changed = make(strategy, facts, replace(Wishes(), **{wish: WISHED[wish]})) != make(strategy, facts, Wishes())
    assert changed == (wish in READS[strategy])


@pytest.mark.parametrize("strategy", ["auto", *STRATEGIES])
def test_what_is_not_read_is_refused_and_the_rest_is_not(strategy: str) -> None:
    refuse_unread(FitOptions(strategy=strategy), data())
    for option, value in {**WISHED, **OTHER}.items():
        given: dict[str, Any] = {option: str(value) if option == "freeze" else value}
        if any(option in READS[rung] for rung in rungs(strategy)):
            refuse_unread(FitOptions(strategy=strategy, **given), data())
        else:
            with pytest.raises(PlanError, match=option.replace("_", "-")):
                refuse_unread(FitOptions(strategy=strategy, **given), data())


def test_a_control_from_scratch_reads_too_but_no_rate() -> None:
    refuse_unread(FitOptions(strategy="probe", controls="all", epochs=3, batch=8, views=2), data())
    with pytest.raises(PlanError, match=r"--rate 0\.1"):
        refuse_unread(FitOptions(strategy="probe", controls="all", rate=0.1), data())


@pytest.mark.parametrize(
    ("modality", "option", "value"), [("image", "max_length", 9), ("image", "long", "chunk"), ("pair", "views", 2)]
)
def test_options_of_another_kind_of_data(modality: Modality, option: str, value: Any) -> None:
    other: Modality = "text" if modality == "image" else "image"
    refuse_unread(FitOptions(**{option: value}), data(other))
    with pytest.raises(PlanError, match="these are"):
        refuse_unread(FitOptions(**{option: value}), data(modality))
