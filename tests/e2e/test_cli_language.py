"""Language modelling through the command line: plain text, prompts, conversations, streaming, resume."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import Answer, Death, in_a_process, record_of

from language_kit import decoder, prose

Uke = Callable[..., Answer]
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and data."""
    home = tmp_path_factory.mktemp("language")
    decoder(home / "gpt2", "gpt2")
    decoder(home / "llama", "llama", TEMPLATE)
    (home / "one.txt").write_text(prose(700), "utf-8")
    (home / "empty.txt").write_text("", "utf-8")
    decoder(home / "bare", "gpt2")
    (home / "bare" / "tokenizer.json").unlink()
    (home / "two.txt").write_text(prose(700, 1).replace("sees", "visits"), "utf-8")
    names = ("Anna", "Ben", "Carla", "Dora")
    pairs = [
        (f"Who {verb} {name} on day {day}?", f"{name} {verb}s back.")
        for name in names
        for verb in ("call", "greet")
        for day in range(12)
    ]
    lines = [{"prompt": prompt, "completion": f" {answer}"} for prompt, answer in pairs]
    (home / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    chats: list[Any] = [
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}
        for prompt, answer in pairs
    ]
    chats[3]["messages"] += [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}]
    chats.append({"messages": [{"role": "user", "content": "Nobody answers."}]})
    (home / "chats.jsonl").write_text("\n".join(map(json.dumps, chats)), "utf-8")
    return home


@pytest.fixture
def source(uke: Uke, folders: Path) -> Path:
    """A small model trained from scratch, made once."""
    run = folders / "source"
    if not run.exists():
        answer = uke(
            "fit", folders / "one.txt", "--task", "generate", "--model", folders / "gpt2", "--strategy", "scratch",
            "--epochs", 3, "--rate", 0.005, "--out", run,
        )  # fmt: skip
        assert answer.code == 0, answer.err
    return run


def test_plain_text_from_scratch(source: Path) -> None:
    record = record_of(source)
    assert record["task"]["kind"] == "generate"
    assert record["task"]["metric"] == "bits_per_byte"
    test, controls = record["test"], {control["name"]: control["test"] for control in record["controls"]}
    assert set(controls) == {"unigram", "5-gram"}
    assert controls["5-gram"]["bits_per_byte"]["value"] < controls["unigram"]["bits_per_byte"]["value"]
    assert test["bits_per_byte"]["low"] < test["bits_per_byte"]["value"] < test["bits_per_byte"]["high"]
    assert test["bits_per_byte"]["n"] == record["data"]["rows"]["test"]
    assert test["perplexity"]["value"] > 1
    history = record["candidates"][0]["history"]
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]
    writing = record["writing"]
    text = prose(700)
    assert writing["tokens"]["per_second"] > 0
    for sample in writing["samples"]:
        assert sample["source"] + sample["reference"] in text
        assert sample["output"]
    page = (source / "report.html").read_text("utf-8")
    assert "Samples" in page
    assert "tokens a second" in page
    assert "drawn at a temperature of 0.8" in page


def test_its_bundle_is_the_source_of_another_text(uke: Uke, folders: Path, source: Path, tmp_path: Path) -> None:
    answer = uke(
        "fit", folders / "two.txt", "--task", "generate", "--model", source, "--strategy", "finetune",
        "--freeze", 2, "--epochs", 2, "--rate", 0.005, "--retain", folders / "one.txt", "--out", tmp_path / "run",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    record = record_of(tmp_path / "run")
    controls = {control["name"]: control["test"]["bits_per_byte"]["value"] for control in record["controls"]}
    assert set(controls) == {"unigram", "5-gram", "zero-shot", "scratch"}
    assert record["test"]["bits_per_byte"]["value"] < controls["zero-shot"]
    assert record["plan"]["frozen_stages"] == 2
    assert record["verdict"]["metric"] == "bits_per_byte"
    assert all(sample["zero_shot"] for sample in record["writing"]["samples"])
    told = record["retention"]
    before = record_of(source)["test"]["bits_per_byte"]
    assert told["before"]["bits_per_byte"]["value"] == pytest.approx(before["value"], rel=1e-3)  # bf16 rounds
    lost = told["after"]["bits_per_byte"]["value"] - told["before"]["bits_per_byte"]["value"]
    assert told["verdict"]["difference"]["value"] == pytest.approx(-lost)
    assert [finding["code"] for finding in record["findings"]].count("retention") == 1
    again = uke("evaluate", tmp_path / "run", folders / "two.txt", "--json")
    assert again.code == 0, again.err
    assert 0 < json.loads(again.out)["test"]["bits_per_byte"]["value"] < controls["unigram"]


def test_what_is_replayed_is_forgotten_less(uke: Uke, folders: Path, source: Path, tmp_path: Path) -> None:
    losses, other = {}, tmp_path / "other.txt"
    other.write_bytes((folders / "one.txt").read_bytes())
    for share in (None, 1.0):
        run = tmp_path / f"run-{share}"
        answer = uke(
            "fit", folders / "two.txt", "--task", "generate", "--model", source, "--strategy", "full", "--epochs", 3,
            "--rate", 0.01, "--retain", other, "--controls", "none", "--out", run,
            *(["--replay", share] if share else []),
        )  # fmt: skip
        assert answer.code == 0, answer.err
        record = record_of(run)
        losses[share] = record["retention"]["after"]["bits_per_byte"]["value"]
        rows = record["data"]["rows"]["train"]
        assert ("Replay: " in answer.err) == bool(share)
    assert rows > 150
    assert losses[1.0] < losses[None]
    other.write_text(prose(700, 2), "utf-8")
    refused = uke("fit", folders / "two.txt", "--resume", run)
    assert refused.code == 2
    assert "--retain" in refused.err
    assert "not those that" in refused.err
    refused = uke("fit", folders / "two.txt", "--task", "generate", "--model", source, "--replay", 0.5)
    assert refused.code == 2
    assert "--retain" in refused.err


def test_its_bundle_is_the_source_of_a_classifier(uke: Uke, folders: Path, source: Path, tmp_path: Path) -> None:
    lines = [{"text": text, "label": text.split()[1]} for text in prose(120, 5).replace("\n", " ").split(". ")[:-1]]
    kept = [line for line in lines if line["label"] in {"sees", "calls"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, kept)), "utf-8")
    answer = uke(
        "fit", tmp_path / "rows.jsonl", "--model", source, "--strategy", "finetune", "--epochs", 1,
        "--controls", "none", "--out", tmp_path / "run",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    record = record_of(tmp_path / "run")
    assert record["model"]["stages"] == ["embed", "block0", "block1", "block2", "norm", "pool"]
    assert record["test"]["accuracy"]["value"] > 0.5
    said = uke("predict", tmp_path / "run", "Anna sees Ben on day 3.")
    assert said.code == 0, said.err
    assert said.out.split()[0] in {"sees", "calls"}
    on = uke(
        "fit", folders / "one.txt", "--task", "generate", "--model", tmp_path / "run", "--strategy", "full",
        "--epochs", 1, "--controls", "none", "--out", tmp_path / "again",
    )  # fmt: skip
    assert on.code == 0, on.err


def test_what_is_written_depends_on_the_seed_alone(uke: Uke, source: Path) -> None:
    how = ("--temperature", 0.8, "--top-p", 0.9, "--max-new-tokens", 20)
    first, again = (uke("predict", source, "--stream", "Anna sees", *how, "--seed", 1) for _ in range(2))
    other = uke("predict", source, "--stream", "Anna sees", *how, "--seed", 2)
    assert first.code == 0, first.err
    assert first.out == again.out != other.out
    assert first.out.startswith("Anna sees")
    assert "20 tokens in" in first.err
    whole = uke("predict", source, "Anna sees", *how, "--seed", 1)
    assert "".join(whole.out.split()).startswith("".join(first.out.removeprefix("Anna sees").split()))
    late = uke("predict", source, "--stream", "Anna sees", "--max-new-tokens", 40, "--seconds", 1e-6)
    assert late.code == 0, late.err
    assert int(late.err.split(" tokens in")[0].split()[-1]) < 40
    for wrong in (("--beams", 3), ("--out", "said.csv"), ("--top-p", 0.9)):
        refused = uke("predict", source, "--stream", "Anna", *wrong)
        assert refused.code == 2
        assert wrong[0] in refused.err


def counts_of(record: dict[str, Any]) -> set[str]:
    """The controls that count tokens: they are scored on the same answers as the model, byte for byte."""
    test = record["test"]["bits_per_byte"]
    found = {one["name"]: one["test"] for one in record["controls"] if one["name"] in {"unigram", "5-gram"}}
    assert all(one["bits_per_byte"]["n"] == test["n"] for one in found.values())
    assert all(0 < one["bits_per_byte"]["value"] < 8 for one in found.values())
    return set(found)


@pytest.mark.parametrize("strategy", ["lora", "lora --bits 4", "full"])
def test_prompts_and_completions(uke: Uke, folders: Path, tmp_path: Path, strategy: str) -> None:
    if "--bits" in strategy:
        pytest.importorskip("bitsandbytes")
    controls = [] if strategy == "full" else ["--controls", "none"]
    answer = uke(
        "fit", folders / "pairs.jsonl", "--task", "generate", "--prompt", "prompt", "--target", "completion",
        "--model", folders / "gpt2", "--strategy", *strategy.split(), "--epochs", 2, *controls,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    record = record_of(tmp_path / "run")
    assert counts_of(record) == (set() if controls else {"unigram", "5-gram"})
    assert {"bits_per_byte", "perplexity", "rougel", "exact_match"} <= record["test"].keys()
    history = record["candidates"][0]["history"]
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]
    said = uke("predict", tmp_path / "run", "Who calls Anna?", "--max-new-tokens", 5)
    assert said.code == 0, said.err


def test_answers_have_the_room_that_the_models_own_tokens_want(uke: Uke, tmp_path: Path) -> None:
    model = decoder(tmp_path / "gpt2", "gpt2", n_positions=256)
    lines = [{"prompt": f"Who is it {n}?", "completion": f" Анна и Бен идут домой {n}. " * 2} for n in range(30)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    answer = uke(
        "fit", tmp_path / "pairs.jsonl", "--task", "generate", "--prompt", "prompt", "--target", "completion",
        "--model", model, "--epochs", 1, "--controls", "none", "--out", tmp_path / "run",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    written = record_of(tmp_path / "run")["writing"]
    assert written["counts"]["cut"] == 0
    tokens = len(lines[0]["completion"].encode())  # letters of two bytes, and of each a token: see the kit
    assert written["decoding"]["tokens"] > tokens * 0.9 > tokens // 3 + 16
    said = uke("predict", tmp_path / "run", "Who is it 3?")
    assert said.code == 0, said.err
    assert "longer" not in said.err
    for how in (), ("--stream",):  # so long that there is no room for such an answer behind it
        said = uke("predict", tmp_path / "run", *how, "Who is it 3? " * 20)
        assert "1 of 1 rows are longer than the model takes: only a part" in said.err
    lines[0]["prompt"] *= 20
    (tmp_path / "long.jsonl").write_text("\n".join(map(json.dumps, lines[:3])), "utf-8")
    scores = uke("evaluate", tmp_path / "run", tmp_path / "long.jsonl", "--json")
    assert json.loads(scores.out)["cut"] == 1


def test_conversations_by_the_model_s_template(uke: Uke, folders: Path, tmp_path: Path) -> None:
    answer = uke(
        "fit", folders / "chats.jsonl", "--task", "generate", "--model", folders / "llama", "--strategy", "full",
        "--epochs", 2, "--out", tmp_path / "run",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "no answer of the assistant" in answer.err
    record = record_of(tmp_path / "run")
    assert counts_of(record) == {"unigram", "5-gram"}
    assert record["data"]["inputs"] == ["messages"]
    assert record["data"]["quarantined"] == 1
    assert record["domain"][0]["test"]["outside"] < 0.3
    assert all(sample["source"].startswith("user: Who ") for sample in record["writing"]["samples"])
    bundle = json.loads((tmp_path / "run" / "bundle" / "bundle.json").read_text("utf-8"))
    assert bundle["recipe"]["template"] == TEMPLATE
    scores = uke("evaluate", tmp_path / "run", folders / "chats.jsonl", "--json")
    assert scores.code == 0, scores.err
    assert json.loads(scores.out)["rows"] == 96
    assert uke("predict", tmp_path / "run", "Who calls Anna?", "--max-new-tokens", 4).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("empty.txt",), "empty.txt: the file is empty"),
        (("one.txt", "--model", "bare"), "tokenizer"),
        (("one.txt", "--model", "gpt2", "--max-length", 4096), "--max-length 4096"),
        (("one.txt", "--model", "config:gpt3"), "config:gpt2-tiny"),
        (("one.txt", "--model", "config:gpt2-tiny", "--strategy", "finetune"), "no weights to transfer"),
        (("one.txt", "--model", "gpt2", "--strategy", "probe"), "probe"),
    ],
)
def test_bad_input(
    uke: Uke, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[Any, ...], said: str
) -> None:
    monkeypatch.chdir(folders)
    answer = uke("fit", *arguments, "--task", "generate", "--out", tmp_path / "run")
    assert answer.code == 2, answer.err
    assert said in answer.err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_names_step_and_rows(uke: Uke, folders: Path, tmp_path: Path) -> None:
    answer = uke(
        "fit", folders / "one.txt", "--task", "generate", "--model", folders / "gpt2", "--strategy", "scratch",
        "--rate", 1e30, "--epochs", 1, "--controls", "none", "--out", tmp_path / "run",
    )  # fmt: skip
    assert answer.code != 0
    assert "step" in answer.err
    assert "one.txt:" in answer.err


def options(folder: Path, model: Path) -> dict[str, Any]:
    return {
        "task": "generate", "model": str(model), "strategy": "finetune", "freeze": "1", "epochs": 2, "batch": 8,
        "save_every": 0.0, "threads": 1, "cache": str(folder / "cache"), "controls": "none",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one.txt", "pairs.jsonl"])
def test_killed_and_resumed_it_ends_bit_identical(folders: Path, tmp_path: Path, name: str) -> None:
    """Dropout, packed lines and what is drawn in samples included."""
    whole, model = tmp_path / "whole", folders / "gpt2"
    given = {"text": ("prompt",), "target": ("completion",)} if name == "pairs.jsonl" else {}
    assert in_a_process(folders / name, whole, options(tmp_path, model) | given, None, False) == 0
    deaths = (Death("event:Stepped", 3), Death("ukulele.loop.feed:Feed.judge", 2), Death("ukulele.story.pipeline:pack"))
    for number, death in enumerate(deaths):
        run = tmp_path / f"run-{number}"
        begun = options(tmp_path / str(number), model) | given
        assert in_a_process(folders / name, run, begun, death, False) == -signal.SIGKILL
        assert in_a_process(folders / name, run, {}, None, True) == 0
        ours, theirs = record_of(run), record_of(whole)
        for file in ("weights.safetensors", "assets/tokenizer.json"):
            assert (run / "bundle" / file).read_bytes() == (whole / "bundle" / file).read_bytes()
        assert ours["test"] == theirs["test"]
        assert ours["writing"]["samples"] == theirs["writing"]["samples"]
        assert [c["history"] for c in ours["candidates"]] == [c["history"] for c in theirs["candidates"]]


def test_a_table_of_documents(uke: Uke, folders: Path, tmp_path: Path) -> None:
    lines = [{"body": prose(20, at), "id": f"d{at}"} for at in range(60)]
    docs = tmp_path / "docs.jsonl"
    docs.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    (tmp_path / "docs.txt").write_text("".join(line["body"] for line in lines), "utf-8")
    run = tmp_path / "run"
    answer = uke(
        "fit", docs, "--task", "generate", "--text", "body", "--model", folders / "gpt2", "--strategy", "scratch",
        "--epochs", 2, "--rate", 0.005, "--slice", "id", "--out", run,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "60 documents" in answer.err
    assert "Windows of at most" in answer.err
    record = record_of(run)
    assert record["writing"]["free"]
    assert 0 < record["test"]["bits_per_byte"]["value"] < 6
    values = {}
    for source in (docs, tmp_path / "docs.txt"):
        scored = uke("evaluate", run, source, "--json")
        assert scored.code == 0, scored.err
        values[source.suffix] = json.loads(scored.out)["test"]["bits_per_byte"]["value"]
    assert values[".jsonl"] == pytest.approx(values[".txt"], abs=0.5), "the braces of JSON are no text"
    sliced = uke("evaluate", run, docs, "--slice", "id", "--json")
    assert {one["value"] for one in json.loads(sliced.out)["slices"]} <= {line["id"] for line in lines}
