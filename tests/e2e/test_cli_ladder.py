"""The ladder within a budget: what is tried, why, what it was predicted to take, and what a killed run remembers."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import Answer, Death, in_a_process, record_of, rows_of, write_csv

from ukulele.story import ladder
from ukulele.story.measuring import Line

Uke = Callable[..., Answer]
FAST = ("--epochs", 4, "--batch", 16, "--rate", 0.003, "--threads", 1, "--controls", "none")


def accuracy(record: dict[str, Any], name: str) -> float:
    found = next(c for c in record["candidates"] if c["name"] == name)
    return float(found["validation"]["accuracy"]["value"])


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Line]:
    """What the rungs are said to take, in the place of what is measured; those not named take nothing."""
    told: dict[str, Line] = {}

    def measured(self: ladder.Climb, rung: Any) -> Line:
        found = told.get(rung.name) or Line(rung, "", "", 1, 1, {}, 0.0, 0.0)
        planned = max((p.epochs for p in rung.plan.phases if p.optimiser != "probe"), default=0)
        return replace(found, training=found.training + planned * found.epoch)

    monkeypatch.setattr(ladder.Climb, "_measured", measured)
    return told


def taking(epoch: float) -> Line:
    """A rung whose epochs take so many seconds."""
    return Line(None, "", "", 1, 1, {}, 0.0, 0.0, epoch=epoch)  # type: ignore[arg-type]


def test_it_climbs_as_long_as_that_pays_and_says_why(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit = uke("fit", tables / "reviews.csv", "--model", bert, "--budget", "10m", *FAST, "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    steps = {step["name"]: step for step in record["ladder"]}
    assert list(steps) == ["probe", "stages", "finetune", "full", "lora"]
    taken = [name for name, step in steps.items() if step["taken"]]
    assert taken == [c["name"] for c in record["candidates"]]
    assert taken[:3] == ["probe", "stages", "finetune"]
    for name in taken:
        step = steps[name]
        assert step["predicted_seconds"] > 0
        assert step["seconds"] > 0
        assert step["left_seconds"] < 600
        assert step["validation"]["value"] == accuracy(record, name)
        assert f"{name}: about" in fit.err
    for name in taken[2:-1]:  # it went on after a gain alone
        assert steps[name]["better"]
    for name in steps.keys() - set(taken):
        assert f"{name}: not tried, the {taken[-1]} gained nothing" in fit.err
    assert accuracy(record, record["chosen"]) >= accuracy(record, "probe")
    assert accuracy(record, record["chosen"]) == max(accuracy(record, name) for name in taken)
    assert record["run"]["budget_seconds"] == 600
    page = (run / "report.html").read_text("utf-8")
    assert 'id="ladder"' in page
    assert "against the time of the run" in page


def test_what_does_not_fit_is_not_tried(
    tables: Path, bert: Path, uke: Uke, tmp_path: Path, costs: dict[str, Line]
) -> None:
    run = tmp_path / "run"
    costs["finetune"] = taking(1000)
    fit = uke("fit", tables / "reviews.csv", "--model", bert, "--budget", "10m", *FAST, "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    assert record["chosen"] in {"probe", "stages"}
    assert [step["taken"] for step in record["ladder"]] == [True, True, False, False, False]
    assert record["ladder"][2]["predicted_seconds"] == pytest.approx(4000)
    assert "finetune: not tried, it takes about 67 min" in fit.err
    assert "full: not tried, a cheaper one did not fit the budget" in fit.err
    said = next(found for found in record["findings"] if found["code"] == "beyond-budget")
    assert "finetune was not tried: it takes about 67 min" in said["message"]
    assert "--budget 2h" in said["advice"]


def test_as_many_epochs_as_fit(tables: Path, bert: Path, uke: Uke, tmp_path: Path, costs: dict[str, Line]) -> None:
    run = tmp_path / "run"
    costs["finetune"] = taking(200)
    fit = uke("fit", tables / "reviews.csv", "--model", bert, "--budget", "10m", *FAST, "--out", run)
    assert fit.code == 0, fit.err
    step = record_of(run)["ladder"][2]
    assert (step["taken"], step["epochs"], step["planned_epochs"]) == (True, 2, 4)
    assert step["predicted_seconds"] == pytest.approx(400)
    assert "2 of 4 epochs" in fit.err
    assert "fewer-epochs" in {found["code"] for found in record_of(run)["findings"]}
    history = next(c for c in record_of(run)["candidates"] if c["name"] == "finetune")["history"]
    assert len(history) == 2


def test_a_control_that_is_trained_has_its_part_of_the_budget(
    tables: Path, bert: Path, uke: Uke, tmp_path: Path, costs: dict[str, Line]
) -> None:
    costs |= {"finetune": taking(100), "scratch": taking(200)}
    fit = uke(
        "fit", tables / "reviews.csv", "--model", bert, "--budget", "10m", *FAST, "--controls", "all", "--out", tmp_path
    )
    assert fit.code == 0, fit.err
    record = record_of(tmp_path)
    assert next(step for step in record["ladder"] if step["name"] == "finetune")["epochs"] == 3  # of .65 x 570 s
    histories = {one["name"]: len(one["history"]) for one in record["candidates"]}
    assert histories["scratch"] == 2  # in the rest of 570 s
    step = record["ladder"][-1]
    told = ("name", "role", "taken", "epochs", "planned_epochs", "stopped")
    assert [step[what] for what in told] == ["scratch", "control", True, 2, 4, False]
    assert step["seconds"] > 0
    assert "scratch: about 13 min, 9 min of the budget left: 2 of 4 epochs" in fit.err
    found = next(finding for finding in record["findings"] if finding["code"] == "control-fewer-epochs")
    assert found["message"] == "The control scratch had 2 of 4 epochs: what it could have reached is not known."
    compared = {one["against"]: one for one in record["comparisons"]}
    assert "scratch" in compared
    if record["verdict"]["against"] == "scratch":
        assert "against scratch (2 of its 4 epochs)" in record["verdict"]["sentence"]
    assert record["gain_over_probe"] is None or "epochs" not in record["gain_over_probe"]["sentence"]
    assert "The control scratch had 2 of 4 epochs" in (tmp_path / "report.html").read_text("utf-8")


def test_a_verdict_against_a_control_that_was_stopped_says_so(
    tables: Path, bert: Path, uke: Uke, tmp_path: Path, costs: dict[str, Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ukulele.story import verdicts

    real, rival = ladder.Climb._judged, verdicts.best_rival

    def judged(self: ladder.Climb, one: Any, kept: float) -> dict[str, Any]:
        return real(self, one, kept) | ({"until": 0.0} if one.name == "scratch" else {})

    def scratch(shown: Any, chosen: Any, task: str) -> Any:
        return next((one for one in shown if one.candidate.name == "scratch"), rival(shown, chosen, task))

    monkeypatch.setattr(ladder.Climb, "_judged", judged)
    monkeypatch.setattr(verdicts, "best_rival", scratch)
    fit = uke(
        "fit", tables / "reviews.csv", "--model", bert, "--budget", "10m", *FAST, "--controls", "all", "--out", tmp_path
    )
    assert fit.code == 0, fit.err
    record = record_of(tmp_path)
    step = record["ladder"][-1]
    assert (step["name"], step["epochs"], step["planned_epochs"], step["stopped"]) == ("scratch", 1, 4, True)
    assert "scratch: time was up after 1 of 4 epochs" in fit.err
    assert "against scratch (1 of its 4 epochs)" in record["verdict"]["sentence"]
    again = uke("fit", tables / "reviews.csv", "--resume", tmp_path)
    assert again.code == 0, again.err
    assert record_of(tmp_path)["ladder"] == record["ladder"]


def test_tasks_alone_that_were_cut_short_are_told_where_they_are_compared(
    bert: Path, uke: Uke, tmp_path: Path, costs: dict[str, Line]
) -> None:
    costs |= {"mood alone": taking(200)}
    data = [
        f"mood={write_csv(tmp_path / 'mood.csv', rows_of(60, 0), ['text', 'label'])}",
        f"score={write_csv(tmp_path / 'score.csv', rows_of(60, 2), ['text', 'score'])}",
    ]
    from ukulele.story import pipeline

    pick = pytest.MonkeyPatch()
    pick.setattr(pipeline, "choose", lambda rungs, _context: rungs[-1])  # one that is trained
    try:
        fit = uke("fit", *data, "--model", bert, "--budget", "10m", *FAST[:-1], "tasks", "--out", tmp_path / "run")
    finally:
        pick.undo()
    assert fit.code == 0, fit.err
    record = record_of(tmp_path / "run")
    step = next(step for step in record["ladder"] if step["name"] == "mood alone")
    assert (step["role"], step["tasks"], step["epochs"], step["planned_epochs"]) == ("control", ["mood"], 2, 4)
    block = record["multitask"]
    mood, score = block["tasks"]
    assert mood["verdict"]["sentence"].endswith("against mood alone (2 of its 4 epochs).")
    assert score["verdict"]["sentence"].endswith("against score alone.")
    assert "against a model for each (mood alone: 2 of its 4 epochs)" in block["sentence"]
    found = next(finding for finding in record["findings"] if finding["code"] == "control-fewer-epochs")
    assert "The control mood alone had 2 of 4 epochs" in found["message"]
    assert "Δm and the suggested groups compare with it" in found["message"]


def test_a_control_that_does_not_fit_the_budget_is_left_out_and_that_is_said(
    tables: Path, bert: Path, uke: Uke, tmp_path: Path, costs: dict[str, Line]
) -> None:
    costs |= {"scratch": taking(9000)}
    fit = uke(
        "fit", tables / "reviews.csv", "--model", bert, "--budget", "10m", *FAST, "--controls", "all", "--out", tmp_path
    )
    assert fit.code == 0, fit.err
    record = record_of(tmp_path)
    assert "scratch" not in {one["name"] for one in record["candidates"]}
    step = record["ladder"][-1]
    assert (step["name"], step["taken"]) == ("scratch", False)
    assert "scratch: not tried, it takes about 600 min" in fit.err
    assert {one["name"] for one in record["controls"]} >= {"majority", "tfidf"}


@pytest.mark.parametrize(("controls", "epochs"), [("tasks", 3), ("none", 4)])
def test_tasks_alone_have_their_part_of_the_budget(
    bert: Path, uke: Uke, tmp_path: Path, costs: dict[str, Line], controls: str, epochs: int
) -> None:
    """An epoch takes 100 of 570 s: 4 are within all of them, 3 within .65 of them."""
    costs |= {"finetune": taking(100), "mood alone": taking(40), "score alone": taking(40)}
    data = [
        f"mood={write_csv(tmp_path / 'mood.csv', rows_of(60, 0), ['text', 'label'])}",
        f"score={write_csv(tmp_path / 'score.csv', rows_of(60, 2), ['text', 'score'])}",
    ]
    fit = uke("fit", *data, "--model", bert, "--budget", "10min", *FAST[:-1], controls, "--out", tmp_path / "run")
    assert fit.code == 0, fit.err
    record = record_of(tmp_path / "run")
    steps = {step["name"]: step for step in record["ladder"]}
    assert (steps["finetune"]["epochs"], steps["finetune"]["planned_epochs"]) == (epochs, 4)


def test_a_task_alone_that_does_not_fit_the_budget_is_left_out(
    bert: Path, uke: Uke, tmp_path: Path, costs: dict[str, Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "is_still", lambda plan: plan.strategy == "zero-shot")  # so that probes are judged
    costs |= {"mood alone": replace(taking(0), training=90_000.0)}
    data = [
        f"mood={write_csv(tmp_path / 'mood.csv', rows_of(60, 0), ['text', 'label'])}",
        f"score={write_csv(tmp_path / 'score.csv', rows_of(60, 2), ['text', 'score'])}",
    ]
    quick = ("--model", bert, "--budget", "10min", *FAST[:-1], "tasks")
    fit = uke("fit", *data, *quick, "--out", tmp_path / "run")
    assert fit.code == 0, fit.err
    record = record_of(tmp_path / "run")
    assert "mood alone: not tried, it takes about" in fit.err
    tasks = {task["name"]: task for task in record["multitask"]["tasks"]}
    assert (tasks["mood"]["single"] is None, tasks["score"]["single"] is None) == (True, False)


def test_time_that_is_up_ends_a_phase_between_epochs(
    tables: Path, bert: Path, uke: Uke, tmp_path: Path, costs: dict[str, Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rung that takes longer than predicted is stopped, and keeps its best epoch."""
    real = ladder.Climb._judged

    def judged(self: ladder.Climb, rung: Any, kept: float) -> dict[str, Any]:
        return real(self, rung, kept) | ({"until": 0.0} if rung.name == "finetune" else {})

    monkeypatch.setattr(ladder.Climb, "_judged", judged)
    run = tmp_path / "run"
    fit = uke("fit", tables / "reviews.csv", "--model", bert, "--budget", "10m", *FAST, "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    assert record["ladder"][2]["stopped"] is True
    assert len(next(c for c in record["candidates"] if c["name"] == "finetune")["history"]) == 1
    assert "stopped when time was up" in (run / "report.html").read_text("utf-8")
    decisions = json.loads((run / "manifest.json").read_text())["decisions"]
    assert decisions["finetune: time was up before epoch 1 of phase 1"] is True


def test_a_budget_that_is_spent_leaves_the_first_rung(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit = uke("fit", tables / "reviews.csv", "--model", bert, "--budget", "0.1s", *FAST, "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    assert record["chosen"] == "probe"
    assert "stages: not tried, the budget of 0 s is spent" in fit.err
    assert uke("predict", run, "w1 good").code == 0


def test_few_labels_are_taught_in_pairs(bert: Path, uke: Uke, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "few.csv", rows_of(36), ["text", "label"])
    run = tmp_path / "run"
    fit = uke("fit", data, "--model", bert, "--budget", "5m", "--epochs", 2, "--controls", "none", "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    assert [step["name"] for step in record["ladder"]] == ["probe", "fewshot"]
    assert accuracy(record, record["chosen"]) >= accuracy(record, "probe")


def test_numbers_and_several_tasks(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    for name, target in (("scores.csv", ("score",)), ("reviews.csv", ("label", "shop"))):
        run = tmp_path / name
        targets = [part for column in target for part in ("--target", column)]
        fit = uke("fit", tables / name, "--model", bert, *targets, "--budget", "5m", *FAST[:2], *FAST[6:], "--out", run)
        assert fit.code == 0, fit.err
        record = record_of(run)
        steps = {step["name"]: step for step in record["ladder"]}
        assert ("stages" in steps) == (len(target) == 1)
        assert steps["finetune"]["taken"] is True
        assert (steps["finetune"]["validation"] is None) == (len(target) > 1)
        assert steps["finetune"]["gain"] is not None


def test_the_cut_lies_behind_the_stage_that_a_probe_does_best_on(
    tables: Path, bert: Path, uke: Uke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ukulele.trial import layers

    scores = {"embed": 0.9, "block0": 0.6, "block1": 0.5, "pool": 0.5}
    told = {
        stage: {"value": v, "error": 0.01, "low": v - 0.02, "high": v + 0.02, "gain": v - 0.5, "gain_error": 0.01}
        for stage, v in scores.items()
    }
    monkeypatch.setattr(layers, "layer_scores", lambda *_args: told)
    run = tmp_path / "run"
    fit = uke("fit", tables / "reviews.csv", "--model", bert, "--budget", "10m", *FAST, "--out", run)
    assert fit.code == 0, fit.err
    assert "finetune: cut behind embed, where a probe does best" in fit.err
    finetune = next(c for c in record_of(run)["candidates"] if c["name"] == "finetune")
    assert "frozen: embed" in finetune["plan"]
    assert "block0 … block1" in finetune["plan"]


def test_no_stage_is_chosen_where_most_classes_have_one_training_row(
    bert: Path, uke: Uke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ukulele.trial import layers

    asked: list[object] = []
    monkeypatch.setattr(layers, "layer_scores", lambda *some: asked.append(some))
    sides = ["train"] * 12 + ["dev"] * 12 + ["test"] * 12
    rows = [
        {"text": f"thing {at % 12} seen on day {at}", "label": f"c{at % 12}", "split": side}
        for at, side in enumerate(sides)
    ]
    data = write_csv(tmp_path / "one.csv", rows, ["text", "label", "split"])
    run = tmp_path / "run"
    fit = uke("fit", data, "--model", bert, "--strategy", "probe", "--controls", "none", "--out", run)
    assert fit.code == 0, fit.err
    assert "the probe stands on the last stage: most classes have a single training row" in fit.flat
    assert record_of(run)["layers"] == asked == []


DEATHS = [
    Death("ukulele.story.ladder:Sample.line", 1),  # while the first rung is measured
    Death("ukulele.runs.folder:RunFolder.save_result", 1, True),
    Death("ukulele.story.ladder:Sample.line", 1, True),
    Death("ukulele.runs.folder:RunFolder.save_result", 1),
    Death("event:Judged", 2),
    Death("ukulele.runs.folder:RunFolder.save_result", 1),
    Death("ukulele.story.pipeline:pack", 1),
]


def test_killed_and_resumed_it_climbs_the_same_way(bert: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "mood.csv", rows_of(80, 0), ["text", "label"])
    options: dict[str, Any] = {
        "budget": "20m", "epochs": 3, "batch": 16, "rate": 0.003, "save_every": 0.0, "threads": 1, "controls": "none",
        "model": str(bert), "cache": str(tmp_path / "cache"),
    }  # fmt: skip
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert in_a_process(data, whole, options, None, False) == 0
    for number, death in enumerate(DEATHS):
        assert in_a_process(data, run, {} if number else options, death, bool(number)) == -signal.SIGKILL, death
        if number == 2:
            decided = json.loads((run / "manifest.json").read_text())["decisions"]
    assert in_a_process(data, run, {}, None, True) == 0
    ours, theirs = ((path / "bundle" / "weights.safetensors").read_bytes() for path in (run, whole))
    assert ours == theirs
    assert record_of(run)["test"] == record_of(whole)["test"]
    after = json.loads((run / "manifest.json").read_text())["decisions"]
    assert {what: after[what] for what in decided} == decided
    steps = record_of(run)["ladder"]
    assert [(s["name"], s["taken"], s["epochs"], s.get("better")) for s in steps] == [
        (s["name"], s["taken"], s["epochs"], s.get("better")) for s in record_of(whole)["ladder"]
    ]
    assert all(s["predicted_seconds"] == after[f"rung {s['name']}"]["predicted"] for s in steps if s["taken"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--budget", "soon"), "--budget soon: a stretch of time such as 90s"),
        (("--budget", "0s"), "--budget 0s"),
        (("--budget", "10m", "--strategy", "full"), "it is for auto"),
    ],
)
def test_refused_with_the_way_out(args: Any, said: str, tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    refused = uke("fit", tables / "reviews.csv", "--model", bert, *args, "--out", tmp_path / "run")
    assert refused.code == 2, refused.flat
    assert said in refused.flat


def test_a_dry_run_shows_every_rung(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    dry = uke("fit", tables / "reviews.csv", "--model", bert, "--budget", "10m", *FAST, "--dry-run")
    assert dry.code == 0, dry.err
    assert "budget  10 min: a dearer strategy" in dry.out
    assert [line for line in dry.out.splitlines() if line in ladder.strategies.LADDER] == [
        "probe", "stages", "finetune", "full", "lora",
    ]  # fmt: skip
