"""Rounds of a ranking: what orders the models, and who goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from ukulele.events import Event
from ukulele.tasks import Classify
from ukulele.trial import ranking
from ukulele.trial.evidence import Held
from ukulele.trial.ranking import Candidacy

TASK = Classify("mood", ("a", "b"))


def table(right: int) -> Any:
    """Row statistics of 100 answers, the first of them right."""
    answers = np.where(np.arange(100)[:, None] < right, [[0.9, 0.1]], [[0.1, 0.9]])
    return TASK.table(answers, ["a"] * 100)


def candidate(name: str, probe: int, near: int) -> Candidacy:
    held = Held(TASK, table(probe), table(50), ())
    return Candidacy(name, rows=100, held={"mood": held}, near={"mood": {1: table(near)}})


def test_neighbours_decide_where_probes_are_all_the_same() -> None:
    running = [candidate("a", 0, 0), candidate("b", 0, 40), candidate("c", 0, 20)]
    ranking._fuse(running)
    assert running[0].regret > running[2].regret > running[1].regret


def test_those_that_are_tied_with_the_last_of_the_better_half_go_on() -> None:
    heard: list[Event] = []
    context: Any = SimpleNamespace(hear=heard.append)
    for regrets, kept in [([0, 0.1, 0.2, 0.3], 2), ([0, 0.1, 0.1, 0.3], 3), ([0, 0, 0, 0], 4), ([0, 0.5], 2)]:
        running = [Candidacy(str(place), regret=regret) for place, regret in enumerate(regrets)]
        assert ranking._kept(running, context) == kept
    assert len(heard) == 1
