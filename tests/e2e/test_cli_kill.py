"""A run killed at any moment and resumed ends bit-identical to one that was never interrupted."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import Death, in_a_process, record_of, rows_of, shell, spawn, write_csv

FINETUNE = {
    "strategy": "finetune", "epochs": 4, "patience": 2, "batch": 16, "rate": 0.003, "save_every": 0.0, "threads": 1,
    "controls": "none", "layer": "last",
}  # fmt: skip


def figures(run: Path) -> dict[str, Any]:
    """All of a record that no clock has a part in."""
    record = record_of(run)
    kept = {name: record[name] for name in ("test", "plan", "layers", "mistakes", "chosen", "learning_curve")}
    kept["candidates"] = [{k: v for k, v in c.items() if k != "cost"} for c in record["candidates"]]
    return kept


def same(run: Path, other: Path) -> None:
    """Both ended with the same bits."""
    ours, theirs = ((path / "bundle" / "weights.safetensors").read_bytes() for path in (run, other))
    assert ours == theirs
    assert figures(run) == figures(other)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("killed") / "reviews.csv", rows_of(80), ["text", "label"])


def options(bert: Path, folder: Path, **more: Any) -> dict[str, Any]:
    return {**FINETUNE, "model": str(bert), "cache": str(folder / "cache"), **more}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, data: Path, bert: Path) -> Path:
    """The run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("untouched")
    assert in_a_process(data, folder / "run", options(bert, folder), None, False) == 0
    return folder / "run"


DEATHS = [
    Death("ukulele.features.blocks:replace_atomic"),  # before the first block is written
    Death("ukulele.features.blocks:_describe", 3),  # within the encode pass
    Death("event:Progress", 2),
    Death("event:Stepped", 1),  # the probe is fitted
    Death("event:Saved", 1),
    Death("event:Saved", 2, True),
    Death("event:Stepped", 4),  # within an epoch
    Death("event:Stepped", 9),
    Death("event:Saved", 7),
    Death("ukulele.tools.files:os.fsync", 6),  # while a checkpoint is written
    Death("ukulele.runs.folder:save_tree", 5, True),  # just behind one
    Death("ukulele.loop.feed:Feed.judge", 2),  # while validating
    Death("event:Judged", 1),
    Death("event:Judged", 3),  # between epochs
    Death("ukulele.loop.train:put", 1),  # the best weights are about to be put back
    Death("ukulele.runs.folder:RunFolder.save_result", 2),
    Death("ukulele.runs.folder:RunFolder.save_result", 2, True),
    Death("ukulele.evaluate.estimates:resamples", 1),  # while evaluating
    Death("ukulele.story.pipeline:pack"),
    Death("ukulele.models.bundle:write_json", 2),  # while packing
    Death("ukulele.story.pipeline:pack", 1, True),
    Death("ukulele.story.pipeline:report.write"),
]


@pytest.mark.parametrize("death", DEATHS, ids=lambda d: f"{d.at.split(':')[1]}-{d.nth}{'-behind' if d.behind else ''}")
def test_killed_and_resumed(death: Death, tmp_path: Path, data: Path, bert: Path, untouched: Path) -> None:
    run = tmp_path / "run"
    assert in_a_process(data, run, options(bert, tmp_path), death, False) == -signal.SIGKILL
    assert in_a_process(data, run, {}, None, True) == 0
    same(run, untouched)
    assert not list(run.rglob("*.part"))


def test_killed_twice(tmp_path: Path, data: Path, bert: Path, untouched: Path) -> None:
    run = tmp_path / "run"
    assert in_a_process(data, run, options(bert, tmp_path), Death("event:Stepped", 4), False) == -signal.SIGKILL
    assert in_a_process(data, run, {}, Death("event:Judged", 2), True) == -signal.SIGKILL
    assert in_a_process(data, run, {}, None, True) == 0
    same(run, untouched)


def test_killed_when_patience_had_just_run_out(tmp_path: Path, data: Path, bert: Path) -> None:
    """The epoch that ended it is saved, the decision to stop is not: it must be taken again."""
    wished = options(bert, tmp_path, patience=1, rate=1e-7)
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert in_a_process(data, whole, wished, None, False) == 0
    lines = [json.loads(line) for line in (whole / "events.jsonl").read_text().splitlines()]
    epochs = sum(line["event"] == "judged" for line in lines)
    steps = sum(line["event"] == "stepped" and line["rows"] > 0 for line in lines)
    assert epochs == 2, "early stopping did not end it"
    probes = 2  # that of the rung before, and the phase in front
    death = Death("ukulele.runs.folder:RunFolder.checkpoint", probes + steps + epochs, True)
    assert in_a_process(data, run, wished, death, False) == -signal.SIGKILL
    assert in_a_process(data, run, {}, None, True) == 0
    same(run, whole)


def test_scratch_with_its_search_for_a_rate(tmp_path: Path, data: Path, bert: Path) -> None:
    wished = options(bert, tmp_path, strategy="probe", controls="all", epochs=3, rate=None)
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert in_a_process(data, whole, wished, None, False) == 0
    for death, resume in (
        (Death("event:Stepped", 6), False),
        (Death("ukulele.runs.folder:RunFolder.save_result", 2), True),
        (Death("event:Judged", 3), True),
    ):
        assert in_a_process(data, run, {} if resume else wished, death, resume) == -signal.SIGKILL
    assert in_a_process(data, run, {}, None, True) == 0
    same(run, whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_the_command_killed_after_any_delay(seed: int, tmp_path: Path, data: Path, bert: Path, untouched: Path) -> None:
    run, draw, args = tmp_path / "run", random.Random(seed), arguments(data, bert)
    process = spawn(tmp_path, *args, "--out", run)
    end = time.monotonic() + 60
    while not (run / "manifest.json").exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(draw.uniform(0, 4))
    process.kill()
    process.communicate()
    assert shell(tmp_path, "fit", data, "--resume", run).code == 0
    same(run, untouched)


def test_interrupted_by_hand(tmp_path: Path, data: Path, bert: Path) -> None:
    """Ctrl-C ends with code 130 and says how to go on."""
    run, whole = tmp_path / "run", tmp_path / "whole"
    args = (*arguments(data, bert), "--epochs", 60, "--patience", 99)  # long enough to be met under way
    process = spawn(tmp_path, *args, "--out", run)
    end = time.monotonic() + 90
    while not list(run.glob("checkpoints/finetune*")) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"uke fit {data} --resume {run}" in said
    assert "Traceback" not in said
    assert shell(tmp_path, "fit", data, "--resume", run, "--quiet").code == 0
    assert shell(tmp_path, *args, "--out", whole).code == 0
    same(run, whole)


def arguments(data: Path, bert: Path) -> list[object]:
    """`FINETUNE` as one would type it."""
    typed = [item for name, value in FINETUNE.items() for item in (f"--{name.replace('_', '-')}", value)]
    return ["fit", data, "--model", bert, *typed]
