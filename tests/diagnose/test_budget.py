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


SCRATCH = PROBE | {
    "name": "scratch", "role": "control", "why": "about 90 s: 10 of 40 epochs", "epochs": 10, "planned_epochs": 40,
}  # fmt: skip


def test_a_control_that_was_cut_short_is_told_with_what_follows() -> None:
    (found,) = beyond_budget([PROBE, TUNED, SCRATCH], 600)
    assert (found.severity, found.code) == ("warning", "control-fewer-epochs")
    assert found.message == "The control scratch had 10 of 40 epochs: what it could have reached is not known."
    assert beyond_budget([PROBE, SCRATCH | {"epochs": 40}], 600) == []
    (late,) = beyond_budget([SCRATCH | {"epochs": 30, "planned_epochs": 40, "stopped": True}], 600)
    assert "had 30 of 40 epochs" in late.message


def test_tasks_alone_that_were_cut_short_or_left_out_touch_what_compares_with_them() -> None:
    steps = [SCRATCH | {"name": f"{task} alone", "tasks": [task]} for task in ("mood", "score")]
    (found,) = beyond_budget(steps, 600)
    assert "The control mood alone had 10 of 40 epochs; the control score alone had 10 of 40 epochs" in found.message
    assert "Δm and the suggested groups compare with them" in found.message
    (left,) = beyond_budget([DEAR | {"name": "mood alone", "role": "control", "tasks": ["mood"]}], 600)
    assert left.code == "control-left-out"
    assert "The control mood alone was left out (it takes about 20 min, 400 s of the budget left)" in left.message
    assert "Δm and the suggested groups go without it" in left.message
    assert "--budget 28m there would be room for it" in left.advice


def test_a_group_that_did_not_fit_leaves_one_model() -> None:
    (found,) = beyond_budget([DEAR | {"name": "a + b", "role": "group"}], 600)
    assert (found.severity, found.code) == ("warning", "group-left-out")
    assert "One model for all tasks is kept: the group a + b was left out (it takes" in found.message
    (few,) = beyond_budget([SCRATCH | {"name": "a + b", "role": "group"}], 600)
    assert "The group a + b had 10 of 40 epochs" in few.message


def test_fewer_epochs_and_time_that_was_up() -> None:
    few, late = beyond_budget([PROBE, TUNED | {"epochs": 4}, TUNED | {"name": "full", "stopped": True}], 600)
    assert few.code == late.code == "fewer-epochs"
    assert "finetune: 4 of 10 epochs fitted the budget" in few.message
    assert "full: time was up before the end" in late.message
