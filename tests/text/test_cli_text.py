"""`uke` where texts are written: fit, predict, evaluate, bundles as models, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from text_kit import folder, pairs

from ukulele.api import load
from ukulele.errors import PlanError
from ukulele.trial.predict import Predictor

Uke = Callable[..., Any]
QUICK = ("--epochs", 2, "--batch", 16)


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("sentences") / "pairs"
    where.mkdir()
    for name, count, seed in (("train", 90, 0), ("val", 12, 1), ("test", 16, 2)):
        with (where / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("en", "de", "length"), *((a, b, len(a) // 8) for a, b in pairs(count, seed))])
    return where


def record_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "record.json").read_text("utf-8"))
    return found


def fit(uke: Uke, out: Path, *args: object) -> dict[str, Any]:
    answer = uke("fit", *args, "--out", out)
    assert answer.code == 0, answer.err
    page = (out / "report.html").read_text("utf-8")
    assert "Samples" in page
    assert "loss, nats a token" in page
    return record_of(out)


def translate(uke: Uke, out: Path, data: Path, model: object, *args: object) -> dict[str, Any]:
    return fit(uke, out, data, "--task", "translate", "--source", "en", "--target", "de", "--model", model, *args)


def asked_in_bf16(run: Path) -> None:
    """The trunk in bf16, as processors and cards that are fast at it have it by default; the head as it is."""
    (row,) = Predictor.load(run, precision="bf16").answer([("The dog sleeps here.",)])
    (told,) = row.values()
    assert isinstance(told["output"], str)


def asked_from_python(run: Path, said: str) -> None:
    """The trunk in bf16, and numbers of the decoding for one call alone."""
    asked_in_bf16(run)
    finished, text = load(run), "The dog sleeps here."
    before = finished.predict(text)
    assert said.startswith((beams := finished.predict(text, beams=3)[0]["output"]) + " ")
    assert len(finished.predict(text, beams=3, max_new_tokens=1)[0]["output"]) <= len(beams)
    drawn = [finished.predict(text, temperature=2, top_p=0.9, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert finished.predict(text) == before
    for wrong in ({"beams": 1.5}, {"top_p": 0.9}, {"max_new_tokens": 0}, {"confidence": 0.5}):
        with pytest.raises(PlanError):
            finished.predict(text, **wrong)


def every_line_is_a_row(uke: Uke, run: Path, tmp_path: Path) -> None:
    for name in ("lines.txt", "news.en"):
        (tmp_path / name).write_text("The dog, small, sleeps here.\nA cat\n\nHe sees, she sleeps.\n", "utf-8")
        lined = uke("predict", run, tmp_path / name, "--out", tmp_path / "lines.csv")
        assert lined.code == 0, lined.err
        with (tmp_path / "lines.csv").open(newline="", encoding="utf-8") as file:
            assert [row["text"] for row in csv.DictReader(file)] == [
                "The dog, small, sleeps here.", "A cat", "He sees, she sleeps.",
            ]  # fmt: skip
        assert f"{name}:3" in lined.err, "the empty line is said"


def test_from_a_configuration_to_answers_scores_and_the_next_task(uke: Uke, tmp_path: Path, sentences: Path) -> None:
    run = tmp_path / "one"
    # in fp32: what is written by hardly trained weights hangs on the last bits
    record = translate(
        uke, run, sentences, "config:marian-tiny", "--strategy", "scratch", *QUICK, "--precision", "fp32"
    )
    assert record["task"] | {"name": "", "labels": []} == {
        "name": "",
        "kind": "translate",
        "labels": [],
        "metric": "bleu",
    }
    assert set(record["test"]) == {"bleu", "chrf", "exact_match", "perplexity", "bits_per_byte"}
    assert all(e["low"] <= e["value"] <= e["high"] and e["n"] == 16 for e in record["test"].values())
    assert record["verdict"]["against"] == "copy"
    assert record["verdict"]["sentence"].startswith("Training from scratch ")
    assert [control["name"] for control in record["controls"]] == ["copy"]
    assert "tok:13a" in record["writing"]["signatures"]["bleu"]
    assert len(record["writing"]["samples"]) == 12
    assert record["writing"]["counts"]["rows"] == 16
    assert record["writing"]["tokens"]["per_second"] > 0

    said = [
        uke("predict", run, "The dog sleeps here.", *more) for more in ((), ("--beams", 3), ("--max-new-tokens", 1))
    ]
    assert [answer.code for answer in said] == [0, 0, 0]
    asked_from_python(run, said[1].out)
    drawn = [uke("predict", run, "The dog sleeps here.", "--temperature", 2, "--seed", seed).out for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    every_line_is_a_row(uke, run, tmp_path)
    streamed = uke("predict", run, "--stream", "The dog sleeps here.")
    assert streamed.code == 0, streamed.err
    assert uke("predict", run, "The dog sleeps here.", "--out", tmp_path / "one.jsonl").code == 0
    assert streamed.out.strip() == json.loads((tmp_path / "one.jsonl").read_text("utf-8"))["output"].strip()
    assert "tokens in" in streamed.err
    answer = uke("predict", run, sentences / "test.csv", "--out", tmp_path / "said.jsonl")
    assert answer.code == 0, answer.err
    lines = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == 16
    assert set(lines[0]) == {"row", "text", "output", "outside"}

    scores = uke("evaluate", run, sentences, "--slice", "length", "--json")
    assert scores.code == 0, scores.err
    found = json.loads(scores.out)
    assert found["test"]["bleu"]["value"] == pytest.approx(record["test"]["bleu"]["value"], rel=1e-3)
    assert found["slices"]

    more = ("--strategy", "finetune", "--retain", sentences, "--precision", "fp32", *QUICK)
    retained = (record := translate(uke, tmp_path / "two", sentences, run, *more))["retention"]
    assert retained["rows"] == 16
    assert retained["before"]["bleu"]["value"] == pytest.approx(found["test"]["bleu"]["value"], rel=1e-3)
    assert retained["after"]["bleu"]["value"] == pytest.approx(record["test"]["bleu"]["value"], rel=1e-3)
    assert record["plan"]["cut"] == "target"
    assert {control["name"] for control in record["controls"]} == {"copy", "zero-shot", "scratch"}
    assert record["verdict"]["against"] in {"copy", "scratch"}
    assert record["verdict"]["metric"] == "bleu"
    assert record["comparisons"][-1]["against"] == record["gain_over_untouched"]["against"] == "zero-shot"
    assert ("worse-than-untouched" in {one["code"] for one in record["findings"]}) == (
        record["gain_over_untouched"]["outcome"] == "hurt"
    )
    assert record["writing"]["samples"][0]["zero_shot"] is not None
    before, after = (load_file(path / "bundle" / "weights.safetensors") for path in (run, tmp_path / "two"))
    encoder = [name for name in after if ".encoder." in name or ".shared." in name]
    assert encoder
    assert all(torch.equal(before[name], after[name]) for name in encoder if name in before)
    assert uke("predict", tmp_path / "two", "A cat sings.").code == 0


def test_a_translator_that_learns_another_language_is_asked_for_the_one_it_knew(
    uke: Uke, tmp_path: Path, sentences: Path
) -> None:
    three = tmp_path / "three"
    three.mkdir()
    for name in ("train", "val", "test"):
        with (sentences / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        with (three / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("en", "de", "xx"), *((r["en"], r["de"], r["en"].upper()) for r in rows)])
    args = (three, "--task", "translate", "--source", "en", "--epochs", 1, "--controls", "none")
    source = fit(uke, tmp_path / "one", *args, "--target", "xx", "--model", "config:t5-tiny", "--strategy", "scratch")
    record = fit(
        uke, tmp_path / "two", *args, "--target", "de", "--model", tmp_path / "one", "--strategy", "full",
        "--retain", three,
    )  # fmt: skip
    before, was = record["retention"]["before"], source["test"]
    assert before["bits_per_byte"]["value"] == pytest.approx(was["bits_per_byte"]["value"], rel=1e-3)
    assert before["bits_per_byte"]["value"] != pytest.approx(record["retention"]["after"]["bits_per_byte"]["value"])


@pytest.mark.parametrize("strategy", ["full", "lora", "lora --bits 4", "finetune"])
def test_strategies_on_a_folder_of_the_library(
    strategy: str, uke: Uke, tmp_path: Path, sentences: Path, t5: Path
) -> None:
    if "--bits" in strategy:
        pytest.importorskip("bitsandbytes")
    asked = strategy.split()
    record = translate(uke, tmp_path / "run", sentences, t5, "--strategy", *asked, "--controls", "none", *QUICK)
    assert record["plan"]["strategy"] == asked[0]
    assert record["plan"]["cut"] == {"full": "embed", "lora": "decoder0", "finetune": "target"}[asked[0]]
    assert record["candidates"][0]["history"][-1]["train_loss"] > 0
    assert uke("predict", tmp_path / "run", "A cat sings.").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("cure", ["full --wise-ft 0.5", "l2sp --penalty 0.1", "gradual"])
def test_cures_for_forgetting_on_a_model_that_writes(
    cure: str, uke: Uke, tmp_path: Path, sentences: Path, t5: Path
) -> None:
    asked = cure.split()
    quick = ("--epochs", 2, "--controls", "none", "--retain", sentences)
    record = translate(uke, tmp_path / "run", sentences, t5, "--strategy", *asked, *quick)
    assert record["plan"]["strategy"] == asked[0]
    assert {"before", "after", "verdict"} <= record["retention"].keys()


def test_summaries_beside_the_first_three_sentences(uke: Uke, tmp_path: Path, t5: Path) -> None:
    rows = []
    for number in range(60):
        (a, b), (c, d), (e, f), (g, h) = pairs(4, 100 + number)
        rows.append({"article": " ".join([a, c, e, g, b, d, f, h]), "summary": f"{a} {e}"})
    data = tmp_path / "articles.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    record = fit(
        uke, tmp_path / "run", data, "--task", "summarise", "--text", "article", "--target", "summary", "--model", t5,
        "--strategy", "full", *QUICK,
    )  # fmt: skip
    assert record["task"]["metric"] == "rouge1"
    assert set(record["test"]) >= {"rouge1", "rouge2", "rougel", "perplexity"}
    controls = {control["name"]: control["test"] for control in record["controls"]}
    assert {"lead-3", "copy", "zero-shot", "scratch"} <= set(controls)
    assert controls["lead-3"]["rouge1"]["value"] > 0.5
    assert "perplexity" not in controls["lead-3"]
    assert record["verdict"]["outcome"] == "hurt", "a random model of two blocks does not beat the first sentences"
    assert record["verdict"]["against"] in {"lead-3", "copy"}
    assert "ROUGE" in str(record["writing"]["signatures"]).upper()


def test_without_a_model_one_is_made_and_said(uke: Uke, tmp_path: Path, sentences: Path) -> None:
    answer = uke(
        "fit", sentences, "--task", "translate", "--source", "en", "--target", "de", "--epochs", 1,
        "--controls", "none", "--out", tmp_path / "run",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert record_of(tmp_path / "run")["plan"]["strategy"] == "scratch"
    assert "config:marian-tiny" in answer.err


def test_the_plans_are_shown_before_anything_is_trained(uke: Uke, sentences: Path, t5: Path) -> None:
    answer = uke("fit", *asked(sentences, t5, "--dry-run"))
    assert answer.code == 0, answer.err
    assert "control: zero-shot" in answer.out
    assert "below target" in " ".join(answer.out.split())


def test_check_counts_texts_and_answers(uke: Uke, tmp_path: Path, sentences: Path) -> None:
    short = folder(tmp_path / "short", "bart", max_position_embeddings=9)
    answer = uke("check", *asked(sentences, short))
    assert answer.code == 0, answer.err
    assert "longer than the model's 9 tokens" in answer.out
    relative = uke("check", *asked(sentences, folder(tmp_path / "relative", "t5"), "--max-length", 8))
    assert "longer than the model's 8 tokens" in relative.out


def test_models_that_can_be_made_are_listed(uke: Uke) -> None:
    assert "config:marian-tiny" in uke("models", "config:").out


# ---------------------------------------------------------------- refused


def refused(uke: Uke, *args: object) -> str:
    answer = uke("fit", *args)
    assert answer.code == 2, answer.err
    return " ".join(answer.err.split())


def asked(data: Path, model: object, *more: object) -> tuple[object, ...]:
    return (data, "--task", "translate", "--source", "en", "--target", "de", "--model", model, *more)


def test_an_empty_target_is_set_aside_and_listed(uke: Uke, tmp_path: Path, sentences: Path, t5: Path) -> None:
    lines = (sentences / "train.csv").read_text("utf-8").splitlines()
    lines[5] = "A dog waits here.,,2"
    data = tmp_path / "pairs"
    data.mkdir()
    (data / "train.csv").write_text("\n".join(lines) + "\n", "utf-8")
    answer = uke("fit", *asked(data, t5, "--epochs", 1, "--controls", "none", "--out", tmp_path / "run"))
    assert answer.code == 0, answer.err
    with (tmp_path / "run" / "quarantine.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["line"], row["reason"]) == ("6", "empty target 'de'")


def test_a_text_longer_than_the_model_takes_is_a_finding_with_the_share_lost(
    uke: Uke, tmp_path: Path, sentences: Path, t5: Path
) -> None:
    run = tmp_path / "run"
    args = asked(sentences, t5, "--max-length", 8, "--epochs", 1, "--controls", "none", "--out", run)
    assert uke("fit", *args).code == 0
    (cut,) = [found for found in record_of(run)["findings"] if found["code"] == "texts-cut"]
    assert f"{cut['evidence']['lost']:.1%} of all tokens" in cut["message"]
    model = Predictor.load(run).model
    with (sentences / "train.csv").open(newline="", encoding="utf-8") as file:
        rows = [(row["en"], row["de"]) for row in csv.DictReader(file)]
    assert model.lengths is not None
    texts = [tokens for row in model.lengths(rows) for tokens in row]
    lost = sum(max(0, tokens - 8) for tokens in texts) / sum(texts)
    assert cut["evidence"]["lost"] == pytest.approx(lost)
    assert f" of {len(texts)} training texts and answers" in cut["message"]


def test_a_folder_without_a_tokenizer(uke: Uke, tmp_path: Path, sentences: Path) -> None:
    bare = folder(tmp_path / "bare", "t5")
    (bare / "tokenizer.json").unlink()
    (bare / "tokenizer_config.json").unlink()
    said = refused(uke, *asked(sentences, bare))
    assert "has no tokenizer that can be used" in said
    assert "tokenizer.json" in said


def test_a_tokenizer_without_a_token_for_padding(uke: Uke, tmp_path: Path, sentences: Path) -> None:
    bare = folder(tmp_path / "bare", "bart", pad_token_id=None)
    (bare / "tokenizer_config.json").write_text("{}")
    args = asked(sentences, bare, "--epochs", 1, "--strategy", "full", "--controls", "none", "--out", tmp_path / "run")
    answer = uke("fit", *args)
    assert answer.code == 0, answer.err


def test_a_loss_that_is_no_number_names_the_step_and_its_rows(
    uke: Uke, tmp_path: Path, sentences: Path, marian: Path
) -> None:
    said = refused(uke, *asked(sentences, marian, "--rate", 1e30, "--strategy", "full", "--out", tmp_path / "run"))
    assert "step" in said
    assert "train.csv:" in said


def test_a_model_that_only_reads(uke: Uke, tmp_path: Path, sentences: Path) -> None:
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=30)).save_pretrained(
        tmp_path / "b"
    )
    assert "one that writes was expected" in refused(uke, *asked(sentences, tmp_path / "b"))


def test_options_that_a_model_from_scratch_does_not_read_are_refused(uke: Uke, sentences: Path) -> None:
    said = refused(uke, *asked(sentences, "config:marian-tiny", "--wise-ft", 0.5, "--freeze", "encoder"))
    assert "would change nothing" in said
    assert "--wise-ft 0.5: --strategy scratch does not read it" in said
    assert "--freeze encoder: --strategy scratch does not read it" in said


def test_a_configuration_has_no_weights_to_transfer(uke: Uke, sentences: Path) -> None:
    said = refused(uke, *asked(sentences, "config:t5-tiny", "--strategy", "finetune"))
    assert "--strategy scratch" in said
    assert "config:t5-tiny" in refused(uke, *asked(sentences, "config:t5-huge"))


def test_what_makes_no_sense_where_texts_are_written(uke: Uke, sentences: Path, t5: Path) -> None:
    assert "--strategy probe" in refused(uke, *asked(sentences, t5, "--strategy", "probe"))
    assert "--long chunk" in refused(uke, *asked(sentences, t5, "--long", "chunk"))
    assert "unknown metric" in refused(uke, *asked(sentences, t5, "--metric", "accuracy"))
    assert "cannot be told languages" in refused(uke, *asked(sentences, t5, "--languages", "en", "de"))
    summarised = (sentences, "--task", "summarise", "--text", "en", "--target", "de", "--model", t5)
    assert "--languages: for --task translate" in refused(uke, *summarised, "--languages", "en", "de")


def test_a_bundle_that_writes_is_no_encoder(uke: Uke, tmp_path: Path, sentences: Path, t5: Path) -> None:
    run = tmp_path / "run"
    translate(uke, run, sentences, t5, "--strategy", "full", "--epochs", 1, "--controls", "none")
    said = refused(uke, sentences, "--target", "length", "--text", "en", "--task", "classify", "--model", run)
    assert "one that reads" in said
