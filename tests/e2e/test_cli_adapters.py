"""Adapters as a user meets them: fit, report, predict, kill and resume; for one task and for several."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from e2e_kit import Answer, Death, in_a_process, record_of, rows_of, write_csv
from safetensors.torch import load_file

import ukulele

Uke = Callable[..., Answer]
FAST = ("--epochs", 2, "--batch", 16, "--rate", 0.01, "--layer", "last", "--threads", 1, "--controls", "none")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "bundle" / "weights.safetensors")


@pytest.mark.parametrize("strategy", ["lora", "dora", "bitfit"])
def test_fit_and_predict(strategy: str, tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit = uke(
        "fit", tables / "reviews.csv", "--model", bert, "--strategy", strategy, "--freeze", 2, *FAST, "--out", run
    )
    assert fit.code == 0, fit.err
    record = record_of(run)
    source, made = load_file(bert / "model.safetensors"), weights(run)
    assert {name.removeprefix("net.") for name in made} >= {k for k in source if not k.startswith("pooler")}
    assert not any("lora" in name or "base_layer" in name for name in made)
    for name, value in source.items():
        if name.startswith("pooler"):
            continue
        trained = "layer.1." in name and (
            name.endswith(".bias") if strategy == "bitfit" else name.endswith(".weight") and "LayerNorm" not in name
        )
        assert torch.equal(value, made[f"net.{name}"]) != trained, name
    cost = record["cost"]
    head = 32 * 2 + 2
    if strategy == "bitfit":
        expected = sum(v.numel() for k, v in source.items() if "layer.1." in k and k.endswith("bias"))
    else:
        matrices = [v for k, v in source.items() if "layer.1." in k and v.dim() == 2]
        expected = sum(8 * sum(v.shape) + v.shape[0] * (strategy == "dora") for v in matrices)
    assert cost["trained_parameters"] == expected + head
    assert cost["total_parameters"] == sum(v.numel() for v in made.values())
    assert record["plan"]["cut"] == "block1"
    assert ("biases" if strategy == "bitfit" else "adapters of rank 8") in record["plan"]["text"]
    page = (run / "report.html").read_text("utf-8")
    assert "Trained parameters" in page
    answer = uke("predict", run, "w1 good fine w2")
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("sets", ["shared", "per-task"])
@pytest.mark.parametrize("bits", [4, 8])
def test_weights_of_few_bits(
    bits: int, sets: str, sources: dict[str, str], bert: Path, uke: Uke, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    run, data = tmp_path / "run", [f"{name}={path}" for name, path in sources.items()]
    args = ("--model", bert, "--strategy", "lora", "--freeze", 2, *FAST, "--bits", bits, "--adapters", sets)
    fit = uke("fit", *data, *args, "--out", run)
    assert fit.code == 0, fit.err
    assert f"those beside adapters in {bits} bits" in fit.flat
    record = record_of(run)
    assert record["plan"]["adapters"]["bits"] == bits
    made = load_file(next((run / "bundle").rglob("weights.safetensors")))
    assert {value.dtype for value in made.values()} == {torch.float32}
    assert not any("lora" in name or "plain" in name for name in made)
    for task in sources:
        answer = uke("predict", run, "w1 good fine w2", "--task", task)
        assert answer.code == 0, answer.err


def test_nothing_to_round_is_said(pictures: Path, network: Path, uke: Uke, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    args = ("--model", network, "--strategy", "lora", "--bits", 4, *FAST, "--out", tmp_path / "run")
    refused = uke("fit", pictures, *args)
    assert refused.code == 2
    assert "--bits 4: no linear layer in" in refused.flat


def test_a_bundle_needs_no_library_of_adapters(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit = uke("fit", tables / "reviews.csv", "--model", bert, "--strategy", "lora", *FAST, "--out", run)
    assert fit.code == 0, fit.err
    code = (
        "import sys; sys.modules['peft'] = None\n"
        f"import ukulele; print(ukulele.load({str(run)!r}).predict(['w1 good fine']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "label" in done.stdout


def test_convolutions_take_adapters_too(pictures: Path, network: Path, uke: Uke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    args = ("--model", network, "--strategy", "lora", "--rank", 2, "--views", 2, *FAST, "--out", run)
    fit = uke("fit", pictures, *args)
    assert fit.code == 0, fit.err
    record = record_of(run)
    assert record["plan"]["adapters"]["rank"] == 2
    assert record["plan"]["adapters"]["alpha"] == 4.0
    source, made = load_file(network), weights(run)
    changed = {name for name in source if f"net.{name}" in made and not torch.equal(source[name], made[f"net.{name}"])}
    assert changed
    assert all(made[f"net.{name}"].dim() == 4 for name in changed)
    assert uke("predict", run, pictures / "red" / "0.png").code == 0


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("adapted")
    return {
        "mood": str(write_csv(folder / "mood.csv", rows_of(80, 0), ["text", "label"])),
        "score": str(write_csv(folder / "score.csv", rows_of(60, 1), ["text", "score"])),
    }


@pytest.mark.parametrize("sets", ["shared", "per-task"])
def test_several_tasks(sets: str, sources: dict[str, str], bert: Path, uke: Uke, tmp_path: Path) -> None:
    run, data = tmp_path / "run", [f"{name}={path}" for name, path in sources.items()]
    args = ("--model", bert, "--strategy", "lora", "--freeze", 2, *FAST[:-1], "tasks")
    fit = uke("fit", *data, *args, "--adapters", sets, "--out", run)
    assert fit.code == 0, fit.err
    record, made, source = record_of(run), weights(run), load_file(bert / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    if sets == "shared":
        assert not torch.equal(made[f"net.{name}"], source[name])
        assert record["multitask"]["affinity"] is not None
    else:
        own = [made[f"head.{task}.stages.0.layer.output.dense.weight"] for task in sources]
        assert not torch.equal(own[0], own[1])
        assert torch.equal(made[f"net.{name}"], source[name])
        assert record["multitask"]["affinity"] is None
        assert "each task's own adapters" in record["plan"]["text"]
    assert record["plan"]["adapters"]["own"] == (sets == "per-task")
    assert record["plan"]["frozen_stages"] == 2
    assert not any("lora" in name for name in made)
    alone = {c["name"]: c for c in record["candidates"]}["mood alone"]
    assert alone["cost"]["trained_parameters"] < record["cost"]["trained_parameters"]
    answer = uke("predict", run, "w1 good fine w2", "--task", "mood")
    assert answer.code == 0, answer.err
    dry = uke("fit", *data, *args, "--adapters", sets, "--out", tmp_path / "dry", "--dry-run")
    assert dry.code == 0, dry.err
    assert f"{record['cost']['trained_parameters']:,}" in dry.out


def test_a_resumed_run_may_be_given_its_own_options(tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    begun = uke("fit", tables / "reviews.csv", "--model", bert, "--strategy", "lora", "--rank", 4, *FAST, "--out", run)
    assert begun.code == 0, begun.err
    again = uke("fit", tables / "reviews.csv", "--resume", run, "--rank", 4)
    assert again.code == 0, again.err
    assert ukulele.fit(tables / "reviews.csv", resume=run, rank=4, model=bert).path == run
    refused = uke("fit", tables / "reviews.csv", "--resume", run, "--rank", 8)
    assert refused.code == 2
    assert "--rank was 4, now 8 is asked for" in refused.flat
    before = (run / "record.json").read_bytes()
    elsewhere = uke("fit", tables / "reviews.csv", "--resume", run, "--out", other)
    assert elsewhere.code == 2
    assert f"--out {other} with --resume {run}" in elsewhere.flat
    with pytest.raises(ukulele.UkuleleError, match="its own folder"):
        ukulele.fit(tables / "reviews.csv", resume=run, out=other)
    assert (run / "record.json").read_bytes() == before
    with pytest.raises(ukulele.UkuleleError, match="unknown options: ranks"):
        ukulele.fit(tables / "reviews.csv", resume=run, ranks=4)


DEATHS = [
    Death("event:Stepped", 6),
    Death("event:Judged", 1),
    Death("ukulele.runs.folder:RunFolder.save_result", 2),
    Death("ukulele.runs.folder:RunFolder.save_result", 2, True),
    Death("ukulele.story.pipeline:pack", 1, True),
]


@pytest.mark.parametrize(("sets", "bits"), [("shared", None), ("per-task", None), ("shared", 4)])
def test_killed_and_resumed(sets: str, bits: int | None, sources: dict[str, str], bert: Path, tmp_path: Path) -> None:
    if bits is not None:
        pytest.importorskip("bitsandbytes")
    options: dict[str, Any] = {
        "strategy": "lora", "epochs": 2, "batch": 16, "rate": 0.01, "save_every": 0.0, "threads": 1, "freeze": 2,
        "controls": "none", "layer": "last", "model": str(bert), "cache": str(tmp_path / "cache"), "adapters": sets,
        "bits": bits,
    }  # fmt: skip
    whole, run = tmp_path / "whole", tmp_path / "run"
    data: Any = sources
    assert in_a_process(data, whole, options, None, False) == 0
    for number, death in enumerate(DEATHS):
        assert in_a_process(data, run, {} if number else options, death, bool(number)) in {-signal.SIGKILL, 0}
    assert in_a_process(data, run, {}, None, True) == 0
    assert (run / "bundle" / "weights.safetensors").read_bytes() == (
        whole / "bundle" / "weights.safetensors"
    ).read_bytes()
    assert record_of(run)["test"] == record_of(whole)["test"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--strategy", "dora", "--bits", 4), "--bits 4 with --strategy dora: 4 or 8 was expected, with lora"),
        (("--strategy", "lora", "--bits", 5), "--bits 5"),
        (("--strategy", "lora", "--bits", 4, "--wise-ft", 0.5), "--wise-ft with --bits"),
        (("--strategy", "finetune", "--rank", 4), "--rank: for --strategy lora or dora"),
        (("--strategy", "lora", "--rank", 0), "--rank 0"),
        (("--strategy", "lora", "--alpha", 0), "--alpha 0"),
        (("--strategy", "lora", "--adapters", "per-task"), "for several tasks"),
        (("--strategy", "lora", "--adapters", "many"), "shared, per-task"),
        (("--strategy", "lora", "--private-stages", 1), "--adapters per-task"),
    ],
)
def test_refused_with_the_way_out(args: Any, said: str, tables: Path, bert: Path, uke: Uke, tmp_path: Path) -> None:
    refused = uke("fit", tables / "reviews.csv", "--model", bert, *args, "--out", tmp_path / "run")
    assert refused.code == 2, refused.flat
    assert said in refused.flat
