"""Several tasks in one run, as a user meets them: fit, report, predict, resume."""

from __future__ import annotations

import csv
import html
import json
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from e2e_kit import PLAIN, Answer, Death, in_a_process, record_of, rows_of, write_csv
from safetensors.torch import load_file

from ukulele import evaluate
from ukulele.loop.train import NotFiniteError
from ukulele.story import ladder, pipeline
from ukulele.story.measuring import Line
from ukulele.tasks.heads import SquaredError
from ukulele.trial import attempt as attempt_module
from ukulele.trial import grouping as grouping_module
from ukulele.types import Candidate

Uke = Callable[..., Answer]
FAST = ("--strategy", "finetune", "--epochs", 2, "--batch", 16, "--rate", 0.003, "--layer", "last", "--threads", 1)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three tables of different kinds and sizes."""
    folder = tmp_path_factory.mktemp("sources")
    return {
        "mood": write_csv(folder / "mood.csv", rows_of(90, 0), ["text", "label"]),
        "marks": write_csv(folder / "marks.csv", rows_of(60, 1), ["text", "marks"]),
        "score": write_csv(folder / "score.csv", rows_of(120, 2), ["text", "score"]),
    }


@pytest.fixture(scope="module")
def holes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One table with three targets, two cells in five of them empty, but never a whole row."""
    rows = rows_of(150, 3)
    for number, row in enumerate(rows):
        for place, name in enumerate(("label", "score", "shop")):
            if (number + place) % 5 < 2:
                row[name] = ""
        row["shop"] = row["shop"] and ("near" if row["shop"][-1] in "01234" else "far")
    return write_csv(tmp_path_factory.mktemp("holes") / "table.csv", rows, ["text", "label", "score", "shop"])


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Path], bert: Path) -> Path:
    """A finished run of three sources, through Python."""
    import ukulele

    out, cache = tmp_path_factory.mktemp("together") / "run", str(tmp_path_factory.mktemp("cache"))
    run = ukulele.fit(
        {name: str(path) for name, path in sources.items()}, model=str(bert), strategy="finetune", epochs=2, batch=16,
        rate=0.003, layer="last", threads=1, out=out, cache=cache,
    )  # fmt: skip
    return run.path


def test_the_record_tells_of_every_task(together: Path) -> None:
    record = record_of(together)
    several = record["multitask"]
    assert [task["name"] for task in several["tasks"]] == ["mood", "marks", "score"] == record["data"]["tasks"]
    assert [task["kind"] for task in several["tasks"]] == ["classify", "multilabel", "regress"]
    assert {task["column"] for task in several["tasks"]} == {"label", "marks", "score"}
    for task in several["tasks"]:
        assert task["rows"]["train"] > task["rows"]["test"] > 0
        assert task["multi"]["n"] == task["single"]["n"] == task["rows"]["test"]
        assert task["multi"]["low"] <= task["multi"]["value"] <= task["multi"]["high"]
        assert task["verdict"]["against"] == f"{task['name']} alone"
        assert task["control"]["name"] in {"majority", "tfidf"}
        assert task["verdict"]["outcome"] in {"helped", "hurt", "inconclusive"}
        assert task["test"].keys() == record["test"][task["name"]].keys()
    assert (
        several["delta_m_percent"]["low"] <= several["delta_m_percent"]["value"] <= several["delta_m_percent"]["high"]
    )
    assert len(several["affinity"]["matrix"]) == 3
    assert all(len(row) == 3 for row in several["affinity"]["matrix"])
    assert sorted(name for group in several["grouping"]["groups"] for name in group) == ["marks", "mood", "score"]
    assert {c["epoch"] for c in several["conflicts"]} == {0, 1}
    assert {c["name"] for c in record["controls"]} >= {"mood alone", "marks alone", "score alone", "tfidf", "majority"}
    assert record["verdict"] is None
    grouping = several["grouping"]
    assert [one["task"] for one in grouping["evidence"]] == ["mood", "marks", "score"]
    for one in grouping["evidence"]:
        assert one["difference"]["low"] <= one["difference"]["value"] <= one["difference"]["high"]
        scores = {c["name"]: c["validation"] for c in record["candidates"]}
        assert one["together"] == pytest.approx(scores["finetune"][one["task"]][one["metric"]]["value"])
        assert one["alone"] == pytest.approx(scores[f"{one['task']} alone"][one["task"]][one["metric"]]["value"])
        worse = one["difference"]["value"] < 0
        assert (f"{one['task']}: together {one['together']:.3f}" in grouping["reason"]) == worse
    assert grouping["reason"] in " ".join(html.unescape((together / "report.html").read_text("utf-8")).split())
    for task in several["tasks"]:
        assert task["gain_over_probe"]["against"] == "probe"
        assert task["verdict"]["p_adjusted"] >= task["verdict"]["p"]
        assert task["verdict"]["comparisons"] == 3
        assert task["transfer"]["comparisons"] == 6  # three tasks, majority and tfidf
    assert len(several["comparisons"]) == 3 + 6 + 3
    assert record["gain_over_probe"]["against"] == "probe"
    assert record["gain_over_probe"]["metric"] == "delta_m_percent"
    assert record["gain_over_probe"]["difference"]["n"] == several["delta_m_percent"]["n"]
    assert sum(task["rows"]["train"] for task in several["tasks"]) == record["data"]["rows"]["train"]


def test_a_task_alone_is_what_a_run_of_its_own_would_be(
    together: Path, sources: dict[str, Path], bert: Path, uke: Uke, tmp_path: Path
) -> None:
    """The single-task control is no straw man: same rows, same plan."""
    fit = uke("fit", sources["mood"], "--model", bert, *FAST, "--controls", "none", "--out", tmp_path / "run")
    assert fit.code == 0, fit.err
    own, joint = record_of(tmp_path / "run"), record_of(together)
    alone = next(c for c in joint["candidates"] if c["name"] == "mood alone")
    assert alone["plan"] == next(c for c in own["candidates"] if c["name"] == "finetune")["plan"]
    assert len(alone["history"]) == len(own["candidates"][-1]["history"])
    own = own["test"]["accuracy"]
    single = next(t for t in joint["multitask"]["tasks"] if t["name"] == "mood")["single"]
    assert single["n"] == own["n"]
    assert abs(single["value"] - own["value"]) <= 0.35  # other companions in the encode pass, other order


def test_predict_answers_every_task_or_one(together: Path, uke: Uke, tmp_path: Path) -> None:
    all_of_them = uke("predict", together, "w1 good fine w2 song string")
    assert all_of_them.code == 0, all_of_them.err
    assert all(f"{name}: " in all_of_them.out for name in ("mood", "marks", "score"))
    one = uke("predict", together, "w1 good fine w2", "--task", "mood")
    assert one.code == 0
    assert one.out.split()[0] in {"good", "bad"}
    assert "marks" not in one.out
    wrong = uke("predict", together, "w1", "--task", "moods")
    assert wrong.code == 2
    assert "mood" in wrong.flat
    new = write_csv(tmp_path / "new.csv", rows_of(7, 9), ["text"])
    assert uke("predict", together, new, "--out", tmp_path / "answers.csv").code == 0
    with (tmp_path / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    assert {"mood.label", "score.value"} <= set(rows[0])


def test_from_python_answers_come_by_task(together: Path) -> None:
    import ukulele

    (answer,) = ukulele.load(together).predict(["w1 good fine w2"])
    assert set(answer) == {"mood", "marks", "score"}
    assert answer["mood"]["label"] in {"good", "bad"}
    assert isinstance(answer["score"]["value"], float)


def test_the_bundle_is_a_backbone_for_a_further_task(together: Path, tables: Path, uke: Uke, tmp_path: Path) -> None:
    args = ("--strategy", "probe", "--layer", "last", "--controls", "none", "--out", tmp_path / "next")
    further = uke("fit", tables / "reviews.csv", "--target", "label", "--model", together, *args)
    assert further.code == 0, further.err
    assert record_of(tmp_path / "next")["model"]["parents"]


def test_the_report_is_written_and_the_summary_speaks_of_tasks(together: Path, uke: Uke) -> None:
    page = (together / "report.html").read_text("utf-8")
    assert "Δm" in page
    assert all(name in page for name in ("mood", "marks", "score"))
    assert uke("report", together).code == 0
    assert uke("compare", together, together).code == 0


def test_targets_of_one_table_with_empty_cells(holes: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    targets = ("--target", "label", "--target", "score", "--target", "shop")
    fit = uke("fit", holes, *targets, "--model", bert, *FAST, "--controls", "tasks", "--out", tmp_path / "run")
    assert fit.code == 0, fit.err
    record = record_of(tmp_path / "run")
    assert sum(record["data"]["rows"].values()) == 150
    assert record["data"]["quarantined"] == 0
    labelled = {task["name"]: sum(task["rows"].values()) for task in record["multitask"]["tasks"]}
    assert labelled == {"label": 90, "score": 90, "shop": 90}


def test_a_file_of_tasks(sources: dict[str, Path], bert: Path, uke: Uke, tmp_path: Path) -> None:
    lines = ["sampling: sqrt", "tasks:"]
    for name, path in sources.items():
        lines += [f"  - name: {name}", f"    data: {path}", f"    weight: {2 if name == 'mood' else 1}"]
    (tmp_path / "tasks.yaml").write_text("\n".join(lines))
    fit = uke("fit", tmp_path / "tasks.yaml", "--model", bert, *FAST, "--controls", "none", "--out", tmp_path / "run")
    assert fit.code == 0, fit.err
    record = record_of(tmp_path / "run")
    assert record["plan"]["sampling"] == "sqrt"
    assert record["plan"]["weights"] == [["mood", 2]]
    assert record["multitask"]["delta_m_percent"] is None


def test_evaluate_on_labelled_rows_of_each_task(together: Path, uke: Uke, tmp_path: Path) -> None:
    mood = write_csv(tmp_path / "mood.csv", rows_of(30, 11), ["text", "label"])
    score = write_csv(tmp_path / "score.csv", rows_of(40, 12), ["text", "score"])
    found = uke("evaluate", together, f"mood={mood}", f"score={score}", "--json")
    assert found.code == 0, found.err
    scores = json.loads(found.out)
    assert scores["test"]["mood"]["accuracy"]["n"] == 30
    assert scores["test"]["score"]["r2"]["n"] == 40


def test_killed_and_resumed(sources: dict[str, Path], bert: Path, tmp_path: Path) -> None:
    data = {name: str(path) for name, path in sources.items()}
    wished: dict[str, Any] = {
        "model": str(bert), "strategy": "finetune", "epochs": 2, "batch": 16, "rate": 0.003, "layer": "last",
        "threads": 1, "controls": "tasks", "save_every": 0.0, "cache": str(tmp_path / "cache"), "sampling": "equal",
    }  # fmt: skip
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert in_a_process(data, whole, wished, None, False) == 0
    deaths = (Death("event:Stepped", 6), Death("event:Lookahead", 5), Death("event:Judged", 2))
    for number, death in enumerate(deaths):
        assert in_a_process(data, run, {} if number else wished, death, bool(number)) == -signal.SIGKILL
    assert in_a_process(data, run, {}, None, True) == 0
    ours, theirs = ((path / "bundle" / "weights.safetensors").read_bytes() for path in (run, whole))
    assert ours == theirs
    told = [record_of(path)["multitask"] for path in (run, whole)]
    for block in told:
        block.pop("seconds"), block.pop("sentence")
        for task in block["tasks"]:
            task.pop("control")
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("mood={mood}", "mood={marks}"), "mood"),
        (("mood={mood}", "{marks}"), "NAME=PATH"),
        (("mood={mood}", "={marks}"), "such as reviews=/"),
        (("{mood}", "--target", "label", "--target", "label"), "--target label was given twice"),
        (("mood={mood}", "marks={marks}", "--balance", "pcgra"), "pcgrad"),
        (("mood={mood}", "marks={marks}", "--sampling", "often"), "temperature"),
        (("{mood}", "--group", "auto"), "several tasks"),
        (("{mood}", "--private-stages", "1"), "several tasks"),
        (("{mood}", "--weights", "tuned"), "several tasks"),
        (("mood={mood}", "marks={marks}", "--weights", "tuned", "--strategy", "probe"), "each by itself"),
        (("mood={mood}", "marks={marks}", "--weights", "heavy"), "given, tuned"),
        (("{mood}", "--balance", "pcgrad", "--dry-run"), "several tasks"),
    ],
)
def test_refused_with_the_way_out(
    args: tuple[str, ...], said: str, sources: dict[str, Path], bert: Path, uke: Uke, tmp_path: Path
) -> None:
    given = [arg.format(**sources) for arg in args]
    refused = uke("fit", *given, "--model", bert, "--out", tmp_path / "run")
    assert refused.code == 2, refused.flat
    assert said in refused.flat
    assert "Traceback" not in refused.flat


def test_stages_of_a_tasks_own(holes: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    targets = ("--target", "label", "--target", "score", "--target", "shop")
    args = ("--model", bert, *FAST, "--freeze", 1, "--controls", "tasks", "--private-stages", 1)
    fit = uke("fit", holes, *targets, *args, "--out", tmp_path / "run")
    assert fit.code == 0, fit.err
    weights = load_file(tmp_path / "run" / "bundle" / "weights.safetensors")
    own = {task: weights[f"head.{task}.stages.0.layer.output.dense.weight"] for task in ("label", "score")}
    assert not torch.equal(own["label"], own["score"])
    assert not torch.equal(own["label"], weights["net.encoder.layer.1.output.dense.weight"])
    answer = uke("predict", tmp_path / "run", "w1 good fine w2")  # and it answers its own examples as it did
    assert answer.code == 0, answer.err
    assert "label: " in answer.out
    refused = uke("fit", holes, *targets, *args[:-1], 9, "--out", tmp_path / "other")
    assert refused.code == 2
    assert "--private-stages 9" in refused.flat


def test_groups_that_had_better_be_trained_apart(
    sources: dict[str, Path], bert: Path, uke: Uke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which groups, and that validation likes them, is settled here: what follows from it is tested."""
    apart = evaluate.Grouping((("mood",), ("marks", "score")), {"mood": 0.0, "marks": 0.1, "score": 0.1})
    real = grouping_module.delta_m

    def liked(ours: Any, theirs: Any, split: Any) -> Any:
        found = real(ours, theirs, split)
        return replace(found, value=1.0) if split == "validation" else found

    monkeypatch.setattr(grouping_module, "looked_ahead", lambda outcome: apart)
    monkeypatch.setattr(grouping_module, "delta_m", liked)
    data = [f"{name}={path}" for name, path in sources.items()]
    fit = uke("fit", *data, "--model", bert, *FAST, "--group", "auto", "--controls", "tasks", "--out", tmp_path / "run")
    assert fit.code == 0, fit.err
    record = record_of(tmp_path / "run")
    grouping = record["multitask"]["grouping"]
    assert grouping["groups"] == [["mood"], ["marks", "score"]]
    assert (grouping["text"], grouping["carried_out"]) == (evaluate.in_words(apart), True)
    assert grouping["validation"]["value"] == 1.0
    assert "On validation these groups are Δm +1.0 %" in grouping["reason"]
    assert {c["name"] for c in record["candidates"]} >= {"mood alone", "marks + score"}
    assert next(t for t in record["multitask"]["tasks"] if t["name"] == "mood")["verdict"]["difference"]["value"] == 0
    assert (tmp_path / "run" / "bundle" / "groups.json").is_file()
    answer = uke("predict", tmp_path / "run", "w1 good fine w2")
    assert all(f"{name}: " in answer.out for name in sources)
    next_ones = uke("label-next", tmp_path / "run", sources["mood"], "-n", 3, "--out", tmp_path / "next.csv")
    assert next_ones.code == 0, next_ones.err
    lines = (tmp_path / "next.csv").read_text("utf-8").splitlines()
    assert len(lines) == 4
    assert all(line.count(" / ") == 2 for line in lines[1:])
    one = uke("predict", tmp_path / "run", "w1 good fine w2", "--task", "score")
    assert one.code == 0
    assert "mood" not in one.out
    refused = uke("fit", sources["mood"], "--model", tmp_path / "run", "--out", tmp_path / "next")
    assert refused.code == 2
    assert "group-1" in refused.flat


@pytest.mark.parametrize(("epoch", "fits"), [(150.0, True), (9000.0, False)])
def test_groups_keep_to_the_budget(
    epoch: float, fits: bool, sources: dict[str, Path], bert: Path, uke: Uke, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    apart = evaluate.Grouping((("mood",), ("marks", "score")), {"mood": 0.0, "marks": 0.1, "score": 0.1})

    def measured(self: ladder.Climb, rung: Candidate) -> Line:
        planned = max((phase.epochs for phase in rung.plan.phases if phase.optimiser != "probe"), default=0)
        one = epoch if rung.name == "marks + score" else 0.0
        return Line(rung, "", "", 1, 1, {}, planned * one, 0.0, epoch=one)

    monkeypatch.setattr(ladder.Climb, "_measured", measured)
    monkeypatch.setattr(grouping_module, "looked_ahead", lambda outcome: apart)
    monkeypatch.setattr(pipeline, "choose", lambda rungs, _context: rungs[-1])  # one that is trained
    data = [f"{name}={path}" for name, path in sources.items()]
    args = ("--epochs", 4, *FAST[4:], "--budget", "10m", "--group", "auto", "--controls", "tasks")
    fit = uke("fit", *data, "--model", bert, *args, "--out", tmp_path / "run")
    assert fit.code == 0, fit.err
    record = record_of(tmp_path / "run")
    step = next(step for step in record["ladder"] if step["name"] == "marks + score")
    assert (step["role"], step["tasks"], step["taken"]) == ("group", ["marks", "score"], fits)
    codes = {finding["code"]: finding["message"] for finding in record["findings"]}
    history = [c["history"] for c in record["candidates"] if c["name"] == "marks + score"]
    if fits:
        assert [len(epochs) for epochs in history] == [step["epochs"]] == [3]  # of 570 s
        assert "The group marks + score had 3 of 4 epochs" in codes["group-fewer-epochs"]
        assert "marks + score: about 10 min" in fit.flat
        return
    assert history == []
    grouping = record["multitask"]["grouping"]
    assert grouping["carried_out"] is False
    assert "so one model for all is kept" in grouping["reason"]
    assert "marks + score: not tried, it takes about 600 min" in fit.flat
    assert "one model for all is kept: not every group could be fitted" in fit.flat
    assert "One model for all tasks is kept: the group marks + score was left out" in codes["group-left-out"]


def test_a_task_whose_loss_is_no_number_costs_the_others_nothing(
    sources: dict[str, Path], bert: Path, uke: Uke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SquaredError.loss

    def broken(self: SquaredError, outputs: torch.Tensor, target: Any) -> Any:
        found = real(self, outputs, target)
        return replace(found, sums=found.sums / 0) if outputs.requires_grad else found

    monkeypatch.setattr(SquaredError, "loss", broken)
    data = [f"{name}={sources[name]}" for name in ("mood", "score")]
    fit = uke("fit", *data, "--model", bert, *FAST, "--controls", "tasks", "--out", tmp_path / "run")
    assert fit.code == 0, fit.err
    assert "the control score alone is left out: the loss became" in fit.flat
    record = record_of(tmp_path / "run")
    found = next(finding for finding in record["findings"] if finding["code"] == "loss-no-number")
    assert found["evidence"] == {"task": "score", "epoch": 1}
    history = next(c for c in record["candidates"] if c["name"] == "finetune")["history"]
    assert [epoch["lost"] for epoch in history] == [["score"]] * 2
    assert {"mood alone", "finetune"} <= {c["name"] for c in record["candidates"]}
    tasks = {task["name"]: task for task in record["multitask"]["tasks"]}
    assert (tasks["mood"]["single"] is None, tasks["score"]["single"] is None) == (False, True)
    gain = record["multitask"]["delta_m_percent"]
    assert gain["method"].startswith("mean over 1 task,")
    assert gain["method"].endswith("; no model of its own: score")
    assert "against a model for each but score, of which there is none." in record["multitask"]["sentence"]
    assert uke("predict", tmp_path / "run", "w1 good", "--task", "mood").code == 0


def test_a_group_whose_loss_is_no_number_leaves_one_model_for_all(
    sources: dict[str, Path], bert: Path, uke: Uke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = evaluate.Grouping((("mood",), ("marks", "score")), {"mood": 0.0, "marks": 0.1, "score": 0.1})
    real = attempt_module.attempt

    def broken(candidate: Candidate, context: Any, *more: Any, **how: Any) -> Any:
        if candidate.name == "marks + score":
            raise NotFiniteError("the loss became nan in step 1", hint="A lower --rate.")
        return real(candidate, context, *more, **how)

    monkeypatch.setattr(grouping_module, "looked_ahead", lambda outcome: apart)
    monkeypatch.setattr(attempt_module, "attempt", broken)
    data = [f"{name}={path}" for name, path in sources.items()]
    fit = uke("fit", *data, "--model", bert, *FAST, "--group", "auto", "--controls", "tasks", "--out", tmp_path / "run")
    assert fit.code == 0, fit.err
    assert "the group marks + score is left out: the loss became nan in step 1 A lower --rate." in fit.flat
    assert "one model for all is kept: not every group could be fitted" in fit.flat
    assert record_of(tmp_path / "run")["multitask"]["grouping"]["carried_out"] is False


def test_weights_tuned_on_validation(sources: dict[str, Path], bert: Path, uke: Uke, tmp_path: Path) -> None:
    run, data = tmp_path / "run", [f"{name}={path}" for name, path in sources.items()]
    args = ("--model", bert, *FAST[:-2], "--controls", "none", "--weights", "tuned", "--threads", 1)
    fit = uke("fit", *data, *args, "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    weighing = record["multitask"]["weighing"]
    tried = [one["weights"] for one in weighing["tried"]]
    assert tried == [{}, {"mood": 3.0}, {"marks": 3.0}, {"score": 3.0}]
    gains = [one["gain"]["value"] for one in weighing["tried"]]
    assert gains[0] == 0
    assert weighing["weights"] == tried[gains.index(max(gains))]
    assert dict(record["plan"]["weights"]) == weighing["weights"]
    assert {t["name"]: t["weight"] for t in record["multitask"]["tasks"]} == {
        name: weighing["weights"].get(name, 1.0) for name in sources
    }
    assert "trying weights mood 3, marks 1, score 1" in fit.flat
    assert "over those given, on validation" in fit.flat
    assert "Weights tuned on validation" in (run / "report.html").read_text("utf-8")
    dry = uke("fit", *data, *args, "--out", tmp_path / "dry", "--dry-run")
    assert dry.code == 0, dry.err


def test_tuned_weights_are_decided_once(sources: dict[str, Path], bert: Path, tmp_path: Path) -> None:
    """Killed during the search, and behind it: the rest is done as it was decided."""
    options: dict[str, Any] = {
        "model": str(bert), "strategy": "finetune", "epochs": 1, "batch": 16, "rate": 0.003, "layer": "last",
        "controls": "none", "weights": "tuned", "threads": 1, "save_every": 0.0, "cache": str(tmp_path / "cache"),
    }  # fmt: skip
    data: Any = {name: str(path) for name, path in sources.items()}
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert in_a_process(data, whole, options, None, False) == 0
    deaths = [Death("ukulele.runs.folder:RunFolder.save_result", 3, True), Death("ukulele.story.pipeline:pack")]
    for number, death in enumerate(deaths):
        assert in_a_process(data, run, {} if number else options, death, bool(number)) == -signal.SIGKILL
    assert in_a_process(data, run, {}, None, True) == 0
    first, second = record_of(whole), record_of(run)
    assert first["multitask"]["weighing"] == second["multitask"]["weighing"]
    assert first["test"] == second["test"]
    weights = [(path / "bundle" / "weights.safetensors").read_bytes() for path in (whole, run)]
    assert weights[0] == weights[1]


def pairs_of(count: int, seed: int) -> list[dict[str, Any]]:
    """A sentence about a song, and one that is as much about it as the score says."""
    draw, rows = random.Random(seed), []
    for _ in range(count):
        same = draw.randint(0, 3)
        first, second = [*draw.choices(PLAIN, k=4), "song"], [*draw.choices(PLAIN, k=3), *["song"] * same]
        second += ["rain"] * (3 - same)
        draw.shuffle(second)
        score = round(5 * same / 3 + draw.uniform(-0.3, 0.3), 2)
        texts = {"first": " ".join(first), "second": " ".join(second)}
        rows.append({**texts, "score": score, "same": "yes" if same > 1 else "no"})
    return rows


@pytest.mark.slow
def test_similarity_and_paraphrase_together(bert: Path, uke: Uke, tmp_path: Path) -> None:
    """A number and a class on pairs of texts, from two sources."""
    scores = write_csv(tmp_path / "scores.csv", pairs_of(900, 0), ["first", "second", "score"])
    same = write_csv(tmp_path / "same.csv", pairs_of(700, 1), ["first", "second", "same"])
    run = tmp_path / "run"
    args = ("--model", bert, "--strategy", "full", "--epochs", 12, "--rate", 0.003, "--layer", "last", "--threads", 1)
    fit = uke("fit", f"near={scores}", f"same={same}", "--text", "first", "second", *args, "--out", run)
    assert fit.code == 0, fit.err
    record = record_of(run)
    near, paraphrase = record["multitask"]["tasks"]
    assert (near["kind"], paraphrase["kind"]) == ("regress", "classify")
    assert record["data"]["modality"] == "pair"
    chance = next(c for c in record["candidates"] if c["name"] == "majority")["test"]
    assert near["multi"]["low"] > chance["near"][near["metric"]]["value"]
    assert paraphrase["multi"]["low"] > chance["same"][paraphrase["metric"]]["value"]
    assert near["single"]["n"] == near["rows"]["test"]
    again = uke("evaluate", run, f"near={scores}", "--json")
    assert again.code == 0, again.flat
    asked = uke("predict", run, "good tea w1", "good tea w2")
    assert asked.code == 0, asked.err
    assert "near: " in asked.out
    assert "same: " in asked.out


@pytest.mark.slow
def test_cells_that_are_empty_cost_no_more_than_their_rows(bert: Path, uke: Uke, tmp_path: Path) -> None:
    """Two cells in five are empty in training: what is labelled teaches as much as in a table without gaps."""
    rows = rows_of(1000, 5)
    for number, row in enumerate(rows):
        row["split"] = "train" if number < 600 else "validation" if number < 750 else "test"
    gaps = [dict(row) for row in rows]
    draw = random.Random(0)
    for row in gaps[:600]:
        if draw.random() < 0.8:  # one of two: two cells in five
            row[draw.choice(["label", "score"])] = ""
    empty = sum(row[name] == "" for row in gaps[:600] for name in ("label", "score")) / 1200
    assert 0.37 < empty < 0.43
    columns = ["text", "label", "score", "split"]
    records = {}
    for name, some in (("whole", rows), ("gaps", gaps)):
        table = write_csv(tmp_path / f"{name}.csv", some, columns)
        args = ("--target", "label", "--target", "score", "--split", "split", "--model", bert, "--strategy", "full")
        more = ("--epochs", 6, "--rate", 0.003, "--layer", "last", "--controls", "none", "--threads", 1)
        fit = uke("fit", table, *args, *more, "--out", tmp_path / name)
        assert fit.code == 0, fit.err
        records[name] = record_of(tmp_path / name)
    whole, holed = (records[name]["multitask"]["tasks"] for name in ("whole", "gaps"))
    assert [task["rows"]["test"] for task in whole] == [task["rows"]["test"] for task in holed] == [250, 250]
    assert all(0.5 < h["rows"]["train"] / w["rows"]["train"] < 0.7 for w, h in zip(whole, holed, strict=True))
    assert records["gaps"]["data"]["quarantined"] == 0
    for one, other in zip(whole, holed, strict=True):
        a, b = one["multi"], other["multi"]
        assert a["low"] <= b["high"]
        assert b["low"] <= a["high"]
