"""What a budget left out is told with the time that it would take."""

from __future__ import annotations

from typing import Any

from ukulele.config import FitOptions
from ukulele.diagnose import beyond_budget

PROBE: dict[str, Any] = {
    "name": "probe", "taken": True, "why": "about 5 s", "left_seconds": 560.0, "predicted_seconds": 5.0, "epochs": 0,
    "planned_epochs": 0, "stopped": False,
}  # fmt: skip
TUNED = PROBE | {"name": "finetune", "epochs": 10, "planned_epochs": 10}
DEAR = {
    "name": "full", "taken": False, "why": "it takes about 20 min, 400 s of the budget left", "left_seconds": 400.0,
    "predicted_seconds": 1200.0, "epochs": 5, "planned_epochs": 5,
}  # fmt: skip
AFTER = {"name": "lora", "taken": False, "why": "a cheaper one did not fit the budget", "predicted_seconds": None}


def test_nothing_to_tell() -> None:
    assert beyond_budget([], None) == []
    assert beyond_budget([PROBE, TUNED, AFTER], None) == []
    assert beyond_budget([PROBE, TUNED, AFTER], 600) == []  # left out because nothing was gained: time would not help


def test_the_first_that_was_too_dear_says_what_it_would_take() -> None:
    (found,) = beyond_budget([PROBE, TUNED, DEAR, AFTER], 600)
    assert (found.severity, found.code) == ("info", "beyond-budget")
    assert "full was not tried: it takes about 20 min" in found.message
    word = found.advice.split("--budget ")[1].split()[0]
    assert word == "28m"
    seconds = FitOptions(budget=word).seconds
    assert seconds is not None
    assert seconds > 600 - 400 + 1200


def test_fewer_epochs_and_time_that_was_up() -> None:
    few, late = beyond_budget([PROBE, TUNED | {"epochs": 4}, TUNED | {"name": "full", "stopped": True}], 600)
    assert few.code == late.code == "fewer-epochs"
    assert "finetune: 4 of 10 epochs fitted the budget" in few.message
    assert "full: time was up before the end" in late.message
