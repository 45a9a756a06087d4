"""How long plain text is trained on: its rows are windows, many times as long as a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ukulele import strategies
from ukulele.strategies import Facts, Wishes

FACTS = Facts("writing", 1200, ("embed", "block0", "norm"), frozenset(), 5_000_000, probes=False)


@pytest.mark.parametrize("name", ["finetune", "full", "scratch"])
def test_windows_are_passed_less_often_than_sentences(name: str) -> None:
    windows, sentences = (
        strategies.make(name, replace(FACTS, windows=there), Wishes()).phases[-1].epochs for there in (True, False)
    )
    assert windows * 2 < sentences


@pytest.mark.parametrize("name", ["finetune", "scratch"])
def test_more_text_is_passed_less_often_and_never_in_vaster_steps(name: str) -> None:
    plans = [
        strategies.make(name, replace(FACTS, windows=True, rows=rows), Wishes()).phases[-1]
        for rows in (1200, 14_000, 200_000)
    ]
    epochs = [phase.epochs for phase in plans]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] > epochs[-1] >= 1
    assert {phase.batch for phase in plans} == {32}
    assert strategies.make(name, replace(FACTS, windows=True), Wishes(epochs=9)).phases[-1].epochs == 9
