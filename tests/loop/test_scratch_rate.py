"""The rate of a network from scratch, where validation cannot tell several apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ukulele.strategies import Facts, Wishes, make
from ukulele.trial import rates
from ukulele.types import Candidate

FACTS = Facts("text", 500, ("embed", "block0", "pool"), frozenset({"pool"}), 1000)


def test_of_equal_scores_less_loss_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make("scratch", FACTS, Wishes())
    losses = iter([0.7, 0.6, 0.65, 0.69, 0.68])
    monkeypatch.setattr(rates, "_judged", lambda _candidate, _context: (next(losses), 0.5))
    tried: list[Any] = []
    context: Any = SimpleNamespace(
        options=SimpleNamespace(given_rate=None, controls="all"), boxes=False, writes=None,
        data=SimpleNamespace(modality="text"), hear=tried.append, decide=lambda _name, how: how(),
    )  # fmt: skip
    found = rates.tuned_scratch(Candidate("scratch", "x", plan, "control", pretrained=False), context)
    second = float(tried[1].text.rsplit(" ", 1)[1])
    assert found.plan.phases[0].groups[0].rate == second
