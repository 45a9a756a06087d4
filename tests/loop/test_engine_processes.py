"""Several processes take the same way as one: the same losses, the same weights, the same cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ukulele.events import Judged, Stepped
from ukulele.loop.engine import Engine, choose_device, choose_precision
from ukulele.tools.files import load_tree, save_tree
from ukulele.types import Group, Loss, Phase, Plan

PHASES = (
    Phase((Group("head.*", 1.0),), "probe", strength=1.0),
    Phase(
        (Group("head.*", 0.05), Group("block1.*", 0.02)), optimiser="sgd", epochs=2, batch=8, dropout=False, patience=3
    ),
    Phase((Group("*", 0.001),), epochs=1, batch=8, dropout=False),
)
PLAN = Plan("three phases", PHASES)


def test_one_process_needs_no_launcher() -> None:
    engine = Engine("cpu", "fp32")
    assert (engine.rank, engine.world, engine.main) == (0, 1, True)
    assert engine.share([4, 5, 6]) == [4, 5, 6]
    module = torch.nn.Linear(1, 1)
    assert engine.wrap(module) is module
    engine.wait()


def test_the_mean_counts_rows_that_have_a_target() -> None:
    engine = Engine("cpu", "fp32")
    assert float(engine.mean(Loss(torch.tensor([1.0, 0.0, 3.0]), torch.tensor([1, 0, 1])))) == 2.0
    assert float(engine.mean(Loss(torch.zeros(3), torch.zeros(3, dtype=torch.long)))) == 0.0


def test_the_state_is_saved_as_often_as_asked() -> None:
    assert not Engine("cpu", "fp32", save_every=60.0).saves_now()
    often = Engine("cpu", "fp32", save_every=0.0)
    assert often.saves_now()
    assert often.saves_now()


def test_a_state_that_is_dear_to_write_is_not_saved_after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("ukulele.loop.engine.time.monotonic", lambda: now[0])
    engine = Engine("cpu", "fp32", save_every=60.0)
    assert engine.saves_now(ended=True)  # what it costs is not known yet
    with engine.saving():
        now[0] += 0.5
    seen = []
    for _ in range(55):
        now[0] += 1.0
        seen.append((engine.saves_now(ended=True), engine.saves_now()))
    assert [ended for ended, _ in seen].index(True) == 49  # a hundred times what it took
    assert not any(within for _, within in seen)
    with engine.saving():
        now[0] += 30.0
    now[0] += 59.0
    assert not engine.saves_now(ended=True)
    now[0] += 1.0
    assert engine.saves_now(ended=True)
    assert engine.saves_now()


def test_device_and_precision_that_were_asked_for() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device() in {"cpu", "cuda", "mps"}
    assert (choose_precision("fp32", "cuda"), choose_precision("bf16", "cpu")) == ("fp32", "bf16")
    assert choose_precision("auto", "cpu") in {"fp32", "bf16"}
    assert choose_precision("auto", "mps") == "fp32"


def test_bf16_is_autocast_in_the_loop(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), replace(PLAN, phases=PHASES[1:2]))
    kit.engine = Engine("cpu", "bf16")
    losses = [sum(event.losses.values()) for event in kit.train() if isinstance(event, Stepped)]
    plain = make_kit(bert(), replace(PLAN, phases=PHASES[1:2]))
    expected = [sum(event.losses.values()) for event in plain.train() if isinstance(event, Stepped)]
    assert losses == pytest.approx(expected, abs=0.1)
    assert losses != expected
    assert all(value.dtype == torch.float32 for value in kit.state().values() if value.is_floating_point())


# ---------------------------------------------------------------- two processes

SCRIPT = """
import json, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
import test_engine_processes
torch.set_num_threads(1)
test_engine_processes.work(*sys.argv[2:])
"""


def work(model_folder: str, cache: str, rows_file: str, count: str, out: str) -> None:
    """What each process does: the plan, its losses, its final weights."""
    from ukulele import models, tasks
    from ukulele.features import Cache
    from ukulele.loop.feed import Feed
    from ukulele.loop.train import train
    from ukulele.types import Request, Row, Table, Target, Where

    class Listed(list[Row]):
        groups = None

        def take(self, indices: Sequence[int]) -> Listed:
            return Listed(self[int(i)] for i in indices)

    given = json.loads(Path(rows_file).read_text("utf-8"))[: int(count)]
    rows = Listed(Row((text,), {"mood": label}, Where("made", i)) for i, (text, label) in enumerate(given))
    asked = {"mood": tasks.make(Target("mood", "classify", ("bad", "good")))}
    model = models.load(Request(model_folder), "text")
    heads: Any = {"mood": asked["mood"].head(model)}
    tables: Any = {"train": Table(rows, asked), "validation": Table(rows.take(range(12)), asked)}  # type: ignore[arg-type]
    engine = Engine("cpu", "fp32")
    feed = Feed(model, heads, PLAN, tables, Cache(Path(cache)), engine, "fp32", lambda event: None)
    losses = []
    for event in train(model, heads, PLAN, feed, engine):
        match event:
            case Stepped():
                losses.append(sum(event.losses.values()))
            case Judged():
                losses.append(event.loss)
    weights = {**model.net.state_dict(), "head": heads["mood"].linear.weight}
    save_tree(Path(out) / str(engine.rank), {"losses": losses, "weights": weights})
    engine.wait()


def launched(processes: int, arguments: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    folder.mkdir()
    script = folder / "work.py"
    script.write_text(SCRIPT)
    given = [str(script), str(Path(__file__).parent), *arguments, str(folder)]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *launcher, *given], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [load_tree(folder / str(rank)) for rank in range(processes)]


@pytest.mark.slow
@pytest.mark.parametrize("count", [24, 25], ids=["even", "last step of one row"])
def test_two_processes_take_the_way_of_one(
    encoder_folder: Callable[..., Path], mood_rows: Any, tmp_path: Path, count: int
) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([[row.inputs[0], row.targets["mood"]] for row in mood_rows(count)]))

    def arguments(cache: str) -> list[str]:
        return [str(encoder_folder("bert")), str(tmp_path / cache), str(file), str(count)]

    (alone,) = launched(1, arguments("one"), tmp_path / "alone")
    first, second = launched(2, arguments("two"), tmp_path / "together")
    steps = -(-count // 8)
    assert len(alone["losses"]) == 1 + 2 * (steps + 1) + steps
    assert first["losses"] == pytest.approx(alone["losses"], abs=1e-5)
    assert first["losses"] == second["losses"]
    for name, value in alone["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        if count == 24:  # AdamW, in the last phase, makes much of the last bits
            torch.testing.assert_close(first["weights"][name], value, rtol=1e-2, atol=2e-3)


@pytest.mark.slow
def test_a_whole_run_in_two_processes(encoder_folder: Callable[..., Path], mood_rows: Any, tmp_path: Path) -> None:
    table = tmp_path / "mood.csv"
    table.write_text("\n".join(["text,mood", *(f"{row.inputs[0]},{row.targets['mood']}" for row in mood_rows(80))]))
    asked = ["--model", str(encoder_folder("bert")), "--strategy", "finetune", "--epochs", "1", "--device", "cpu"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "ukulele.cli", "fit"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *launcher, str(table), *asked, "--controls", "cheap"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mood-1"]
    assert (tmp_path / "runs" / "mood-1" / "bundle" / "bundle.json").is_file()
    assert done.stderr.count("scoring on the test rows") == 1
    assert done.stdout.count("(* is the model that was packed)") == 1
