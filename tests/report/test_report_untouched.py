"""A model that was better before it was trained: held against that, and no verdict reads well without it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ukulele.api import Run
from ukulele.doors.show import summary
from ukulele.report import compare, render
from ukulele.story.record import Story, _verdict
from ukulele.story.verdicts import comparisons, gain, untouched, verdict
from ukulele.tasks import Classify
from ukulele.types import Candidate, Plan

TASK, TRUTH = Classify("t", ("a", "b")), ["a", "b"] * 60
RIGHT, WRONG, HALF = [[0.9, 0.1], [0.1, 0.9]] * 60, [[0.1, 0.9], [0.9, 0.1]] * 60, [[0.9, 0.1]] * 120


def outcome(name: str, answers: Any, role: Any = "control", *, pretrained: bool = True) -> Any:
    """What is looked at of a fitted candidate."""
    return SimpleNamespace(
        candidate=Candidate(name, "tiny.safetensors", Plan("x"), role, pretrained),
        tasks={"t": TASK},
        table=lambda _split, _name: TASK.table(answers, TRUTH),
        groups=lambda _split, _name: None,
        cost=SimpleNamespace(seconds=2.0),
    )


def told(chosen: Any, before: Any, scratch: Any) -> dict[str, Any]:
    """The two verdicts of a record."""
    shown = [chosen, before, scratch]
    one, over = verdict(shown, chosen, None), gain(shown, chosen, None, "zero-shot")
    context: Any = SimpleNamespace(run=SimpleNamespace(manifest={}))
    story = Story(context, shown, chosen, {}, one, None, None, over)
    return {"verdict": _verdict(one, chosen, story), "gain_over_untouched": _verdict(over, chosen, story)}


def test_a_model_made_worse_is_said_in_the_first_sentence() -> None:
    chosen, scratch = outcome("finetune", HALF, "rung"), outcome("scratch", WRONG, pretrained=False)
    before = outcome("zero-shot", RIGHT)
    found = told(chosen, before, scratch)
    assert found["verdict"]["outcome"] == "helped"
    said = found["verdict"]["sentence"]
    assert said.startswith("Transfer helped, but the untouched model (zero-shot) is better: finetune against scratch")
    assert found["gain_over_untouched"]["sentence"].startswith("Fine-tuning hurt: finetune against zero-shot -0.500")
    over = gain([chosen, before, scratch], chosen, None, "zero-shot")
    assert [one.code for one in untouched(over, chosen)] == ["worse-than-untouched"]
    alike = told(chosen, outcome("zero-shot", HALF), scratch)
    assert alike["verdict"]["sentence"].startswith("Transfer helped: ")
    assert alike["gain_over_untouched"]["outcome"] == "inconclusive"


def test_the_untouched_model_is_no_rival_and_needs_to_be_there() -> None:
    chosen, before = outcome("finetune", HALF, "rung"), outcome("zero-shot", RIGHT)
    assert comparisons([chosen, before], chosen, None) == []
    assert verdict([chosen, before], chosen, None) is None
    assert gain([chosen], chosen, None, "zero-shot") is None
    assert untouched(None, chosen) == []


def test_report_screen_and_comparison_say_so(
    text: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    over = {**text["verdict"], "outcome": "hurt", "against": "zero-shot", "sentence": "Fine-tuning hurt: by much."}
    text["gain_over_untouched"] = over
    page = render(text)
    assert "Worse than untouched" in page
    assert "Fine-tuning hurt: by much." in page
    assert 'class="hero hurt"' in page
    assert summary(text, tmp_path).split("\n")[1] == "Fine-tuning hurt: by much."
    assert ["training", "hurt, +0.063 (+0.044 to +0.082) against zero-shot"] in compare([text])
    monkeypatch.setattr("ukulele.api.read_record", lambda _: text)
    assert "helped, worse than untouched" in repr(Run(tmp_path))
    text["gain_over_untouched"] = over | {"outcome": "helped"}
    assert "Worse than untouched" not in render(text)
