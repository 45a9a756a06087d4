"""Trackers, and what a run that goes on is told about the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from ukulele.config import FitOptions
from ukulele.events import Judged, Place, Said, Stepped
from ukulele.loop.engine import Engine
from ukulele.runs import RunFolder
from ukulele.story.pipeline import _same_machine, tracking


class Recorder:
    """A tracker that keeps what it is fed."""

    requires_logging_directory = True
    made: list[Recorder] = []  # noqa: RUF012

    def __init__(self, name: str, folder: str) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.open = False
        Recorder.made.append(self)

    def start(self) -> None:
        self.open = True

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        assert values

    def log(self, values: dict[str, float], step: int) -> None:
        self.lines.append((step, values))

    def finish(self) -> None:
        self.open = False


def test_a_tracker_counts_on_after_a_resume_and_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", Recorder)
    monkeypatch.setattr("ukulele.loop.engine.find_spec", lambda name: name)
    options, engine = FitOptions(track=("tensorboard",)), Engine("cpu", "fp32")
    events = [Stepped(Place(), 1, 1, {"mood": 0.5}, 8), Judged(Place(0, 1), 0.25, 0.75, best=True)]
    run = RunFolder.create(tmp_path / "run", options.plain())

    def interrupted() -> None:
        with tracking(run, options, engine) as track:
            for event in events:
                track("finetune", event)
                run.log(event)
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    first, second = Recorder.made
    judged = {"finetune/validation/loss": 0.25, "finetune/validation/score": 0.75}
    assert first.lines == [(1, {"finetune/loss/mood": 0.5}), (2, judged)]
    assert [step for step, _ in second.lines] == [3, 4]
    assert not first.open
    assert not second.open
    run.close()


def test_another_kind_of_device_is_told(tmp_path: Path) -> None:
    run, heard = RunFolder.create(tmp_path / "run", {}), []
    engine = Engine("cpu", "fp32")
    _same_machine(run, engine, heard.append)
    _same_machine(run, engine, heard.append)
    assert heard == []
    engine.device = "cuda:1"
    run.manifest["decisions"]["machine"]["tokenizers"] = "0.1"
    _same_machine(run, engine, heard.append)
    (said,) = heard
    assert isinstance(said, Said)
    assert "device cpu is now cuda" in said.text
    assert "tokenizers 0.1 is now" in said.text
    run.close()


def test_a_run_that_fails_early_leaves_its_folder_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that cannot be used are refused before a tracker is opened; a later failure takes its files along."""
    import ukulele

    class Writer(Recorder):
        def __init__(self, name: str, folder: str) -> None:
            super().__init__(name, folder)
            (Path(folder) / name).mkdir(parents=True)
            (Path(folder) / name / "events.out").write_text("begun")

    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", Writer)
    monkeypatch.setattr("ukulele.loop.engine.find_spec", lambda name: name)
    out = tmp_path / "run"
    with pytest.raises(ukulele.UkuleleError, match="one class only"):
        ukulele.fit([("tea", "good"), ("rain", "good")] * 20, track="tensorboard", out=out)
    assert not Recorder.made
    assert not out.exists()
    rows = [(f"tea w{number}", "good" if number % 2 else "bad") for number in range(40)]
    with pytest.raises(ukulele.UkuleleError, match="gone"):
        ukulele.fit(rows, model=str(tmp_path / "gone"), track="tensorboard", out=out)
    assert len(Recorder.made) == 1
    assert not Recorder.made[0].open
    assert not out.exists()
