"""A run's folder: held by one process, whole at every moment, and clear about what is wrong with it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ukulele.errors import RunError, StorageError
from ukulele.events import Judged, Place, Progress, Said, Saved, Stepped
from ukulele.runs import RunFolder
from ukulele.runs.folder import NextFolder, read_record

OPTIONS = {"model": "minilm", "seed": 3, "columns": ["text"], "rate": None}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    made = RunFolder.create(tmp_path / "run", OPTIONS)
    yield made
    made.close()


def state(value: float = 1.0) -> Saved:
    return Saved(Place(1, 2, 3), {"weights": {"head.mood.weight": torch.full((2, 2), value)}, "best": {"epoch": 4}})


# ---------------------------------------------------------------- begin and go on


def test_a_run_is_gone_on_with_as_it_was_begun(run: RunFolder) -> None:
    run.decide("precision", lambda: "bf16")
    run.close()
    again = RunFolder.resume(run.path)
    passing = {"leg", "seconds"}
    assert {k: v for k, v in again.manifest.items() if k not in passing} == {
        k: v for k, v in run.manifest.items() if k not in passing
    }
    assert again.spent() >= run.manifest["seconds"]
    assert again.manifest["options"] == OPTIONS
    again.close()


def test_decisions_are_made_once_and_replayed(run: RunFolder) -> None:
    asked: list[int] = []
    decide: Callable[[], int] = lambda: asked.append(1) or len(asked)  # type: ignore[func-returns-value]  # noqa: E731
    assert [run.decide("rung", decide), run.decide("rung", decide)] == [1, 1]
    run.close()
    again = RunFolder.resume(run.path)
    assert again.decide("rung", decide) == 1
    assert again.decide("nothing", lambda: None) is None
    assert again.decide("nothing", decide) is None  # None is a decision too
    assert asked == [1]
    again.close()


def test_a_folder_is_begun_once(run: RunFolder) -> None:
    run.close()
    with pytest.raises(RunError, match="already holds a run") as error:
        RunFolder.create(run.path, OPTIONS)
    assert f"--resume {run.path}" in error.value.hint


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="no empty folder"):
        RunFolder.create(tmp_path, OPTIONS)
    with pytest.raises(RunError, match="no empty folder"):
        RunFolder.create(tmp_path / "thesis.txt", OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_empty_folder_can_be_used(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, OPTIONS).close()
    assert (tmp_path / "manifest.json").is_file()


def test_a_place_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write"):
        RunFolder.create(tmp_path / "file" / "run", OPTIONS)


def test_no_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        RunFolder.resume(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"3", b'{"format": "x"}', b"\xff\xfe"])
def test_a_damaged_manifest_is_named(run: RunFolder, content: bytes) -> None:
    run.close()
    (run.path / "manifest.json").write_bytes(content)
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        RunFolder.resume(run.path)


def test_a_newer_run_asks_for_an_upgrade(run: RunFolder) -> None:
    run.close()
    (run.path / "manifest.json").write_text(json.dumps({**run.manifest, "format": 99}))
    with pytest.raises(RunError, match="newer version") as error:
        RunFolder.resume(run.path)
    assert "upgrade" in error.value.hint


# ---------------------------------------------------------------- one process at a time


def test_a_second_process_is_told_to_wait(run: RunFolder) -> None:
    code = (
        "import sys; from pathlib import Path; from ukulele.runs import RunFolder\n"
        "from ukulele.errors import RunError\n"
        "try: RunFolder.resume(Path(sys.argv[1]))\n"
        "except RunError as error: print(error.message)"
    )

    def ask() -> str:
        return subprocess.run(
            [sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=True, timeout=60
        ).stdout

    assert "in use by another process" in ask()
    run.close()
    assert ask() == ""


def test_a_process_that_does_not_write_touches_nothing(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", OPTIONS, writes=False)
    assert run.decide("precision", lambda: "fp32") == "fp32"
    run.log(Said("hello"))
    run.checkpoint("probe", state(), {})
    run.save_result("probe", {})
    run.close()
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- candidates


def test_a_checkpoint_comes_back_and_is_replaced(run: RunFolder) -> None:
    assert run.latest("finetune") is None
    run.checkpoint("finetune", state(1.0), {"history": [], "meter": {"seconds": 1.5}})
    run.checkpoint("finetune", state(2.0), {"history": [{"loss": 0.5}], "meter": {"seconds": 2.5}})
    found = run.latest("finetune")
    assert found is not None
    saved, extra = found
    assert saved.place == Place(1, 2, 3)
    assert saved.state["weights"]["head.mood.weight"].tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert extra == {"history": [{"loss": 0.5}], "meter": {"seconds": 2.5}}
    assert run.latest("probe") is None


def test_a_result_takes_the_place_of_the_checkpoint(run: RunFolder) -> None:
    run.checkpoint("finetune", state(), {})
    run.save_result("finetune", {"weights": {"a": torch.ones(2)}, "strength": None, "score": math.inf})
    assert run.latest("finetune") is None
    found = run.result("finetune")
    assert found is not None
    assert found["weights"]["a"].tolist() == [1, 1]
    assert (found["strength"], found["score"]) == (None, math.inf)
    assert run.result("probe") is None


def test_a_name_with_odd_characters_stays_in_the_folder(run: RunFolder) -> None:
    for name in ("../../escape", "a/b", "scratch-0.001", "ü ♪"):
        run.save_result(name, {"name": name})
        assert run.result(name) == {"name": name}
    inside = {path.resolve().parent for path in run.path.rglob("*.safetensors")}
    assert inside == {(run.path / "results").resolve()}


@pytest.mark.parametrize("kind", ["checkpoints", "results"])
def test_a_damaged_file_is_named_with_the_way_out(run: RunFolder, kind: str) -> None:
    read: Callable[[str], Any] = run.latest if kind == "checkpoints" else run.result
    run.checkpoint("probe", state(), {})
    if kind == "results":
        run.save_result("probe", {"weights": {"a": torch.ones(30)}})
    file = next((run.path / kind).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(RunError, match="is damaged") as error:
        read("probe")
    assert f"rm {file}" in error.value.hint


# ---------------------------------------------------------------- events


def test_events_are_lines_of_json_and_go_on_after_a_resume(run: RunFolder) -> None:
    run.log(Stepped(Place(0, 1, 2), 3, 4, {"mood": 0.5}, 8))
    run.log(Judged(Place(0, 2), 0.4, 0.9, True))
    run.log(state())
    run.log(Progress("encode", 1, 2))
    run.close()
    again = RunFolder.resume(run.path)
    again.log(Said("naïve ♪\nsecond line", "warning"))
    again.close()
    lines = [json.loads(line) for line in (run.path / "events.jsonl").read_text("utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["stepped", "judged", "said"]
    assert lines[0]["place"] == {"phase": 0, "epoch": 1, "step": 2}
    assert lines[0]["losses"] == {"mood": 0.5}
    assert lines[2]["text"] == "naïve ♪\nsecond line"


# ---------------------------------------------------------------- names and records


@given(st.text(max_size=20))
def test_any_name_makes_a_folder_below_runs(name: str) -> None:
    clean = NextFolder(name).name
    assert clean
    assert clean == Path(clean).name
    assert not clean.startswith((".", "-"))


def test_numbers_go_on(tmp_path: Path) -> None:
    taken = [NextFolder(name, tmp_path / "runs").take() for name in ("mood", "mood", "...", "mood")]
    assert [path.name for path in taken] == ["mood-1", "mood-2", "run-1", "mood-3"]
    assert all(path.is_dir() for path in taken)
    (tmp_path / "refused-1").mkdir()
    (tmp_path / "refused-1" / "quarantine.csv").write_text("file,line,reason,content\n")
    assert [NextFolder("refused", tmp_path).take().name for _ in range(2)] == ["refused-1", "refused-2"]
    (tmp_path / "kept-1").mkdir()
    (tmp_path / "kept-1" / "notes.txt").write_text("mine")
    (tmp_path / "kept-2").symlink_to("nowhere")
    assert NextFolder("kept", tmp_path).take().name == "kept-3"
    with pytest.raises(StorageError, match="cannot write"):
        NextFolder("mood", tmp_path / "kept-1" / "notes.txt").take()


def test_runs_that_begin_at_once_take_a_folder_each(tmp_path: Path) -> None:
    (tmp_path / "mood-1").mkdir()
    (tmp_path / "mood-1" / "quarantine.csv").touch()
    barrier = threading.Barrier(8)

    def begin(_: int) -> Path:
        barrier.wait()
        folder = NextFolder("mood", tmp_path).take()
        RunFolder.create(folder, {}).close()
        return folder

    with ThreadPoolExecutor(8) as threads:
        assert sorted(path.name for path in threads.map(begin, range(8))) == [f"mood-{n}" for n in range(1, 9)]


def test_a_run_that_cannot_be_begun_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("no space left")

    folder = NextFolder("mood", tmp_path).take()
    monkeypatch.setattr("ukulele.runs.folder.write_json", refuse)
    with pytest.raises(StorageError):
        RunFolder.create(folder, {})
    assert not folder.exists()


def test_a_record_is_read_or_its_lack_explained(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"record\.json is missing") as error:
        read_record(run.path)
    assert f"--resume {run.path}" in error.value.hint
    with pytest.raises(RunError) as error:
        read_record(tmp_path / "nowhere")
    assert "--resume" not in error.value.hint
    for content, what in (("{", "damaged"), ("[]", "damaged"), ('{"format": 99}', "newer")):
        (run.path / "record.json").write_text(content)
        with pytest.raises(RunError, match=what):
            read_record(run.path)
    (run.path / "record.json").write_text('{"format": 1, "name": "x"}')
    assert read_record(run.path)["name"] == "x"
