from __future__ import annotations

import math

import numpy as np
import pytest

from ukulele import tasks
from ukulele.errors import PlanError
from ukulele.evaluate import compare, estimates
from ukulele.tasks import texts
from ukulele.tools.bootstrap import resamples
from ukulele.types import Target, Writing, Written

REFERENCES = [
    "Der Hund rennt im Park.", "Eine Frau liest.", "Zwei Männer warten draußen auf den Bus.", "Ja.",
    "Ein Junge spielt mit einem roten Ball.", "Das Pferd schläft.",
]  # fmt: skip
ANSWERS = [
    "Der Hund läuft im Park.", "Ein Mann liest ein Buch.", "Zwei Männer warten auf den Bus.", "",
    "Ein Junge spielt mit einem roten Ball.", "völlig falsch",
]  # fmt: skip


def written() -> list[Written]:
    both = enumerate(zip(ANSWERS, REFERENCES, strict=True))
    return [Written(text, 2.0 * i + 1, i + 2, len(reference.encode())) for i, (text, reference) in both]


def table(kind: str = "translate") -> np.ndarray:
    return texts.table(kind, False, written(), REFERENCES)


def test_bleu_and_chrf_are_sacrebleus_on_every_resample() -> None:
    from sacrebleu.metrics import BLEU, CHRF

    found = {metric.name: metric for metric in texts.metrics("translate", False, "bleu")}
    for counts in [np.ones(6), np.eye(6)[0] * 6, np.eye(6)[5] * 6, *resamples(6, 40)]:
        rows = np.repeat(np.arange(6), counts.astype(int))
        answers, references = [ANSWERS[i] for i in rows], [[REFERENCES[i] for i in rows]]
        assert found["bleu"].value(table(), counts) == pytest.approx(BLEU().corpus_score(answers, references).score)
        assert found["chrf"].value(table(), counts) == pytest.approx(CHRF().corpus_score(answers, references).score)


def test_many_resamples_at_once_are_the_same_as_one_by_one() -> None:
    counts = np.stack(list(resamples(6, 30)))
    for kind in ("translate", "summarise", "generate"):
        for metric in texts.metrics(kind, False, texts.names(kind, False)[0]):
            one_by_one = [metric.value(table(kind), drawn) for drawn in counts]
            assert metric.many is not None
            np.testing.assert_allclose(metric.many(table(kind), counts), one_by_one, equal_nan=True)


def test_rouge_is_the_librarys() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    scores = [scorer.score(r, a) for a, r in zip(ANSWERS, REFERENCES, strict=True)]
    found = {
        metric.name: metric.value(table("summarise"), np.ones(6))
        for metric in texts.metrics("summarise", False, "rouge1")
    }
    for ours, theirs in (("rouge1", "rouge1"), ("rouge2", "rouge2"), ("rougel", "rougeL")):
        assert found[ours] == pytest.approx(np.mean([score[theirs].fmeasure for score in scores]))


def test_what_the_references_cost() -> None:
    found = {metric.name: metric.value(table(), np.ones(6)) for metric in texts.metrics("translate", False, "bleu")}
    answers = written()
    nats = sum(answer.loss for answer in answers)
    assert found["perplexity"] == pytest.approx(math.exp(nats / sum(answer.tokens for answer in answers)))
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / sum(answer.bytes for answer in answers))
    assert found["exact_match"] == pytest.approx(1 / 6)


def test_without_a_loss_there_is_no_perplexity_and_the_rest_stands() -> None:
    task = tasks.make(Target("de", "translate"))
    found = estimates(task, task.table([Written(text) for text in ANSWERS], REFERENCES))
    assert "bleu" in found
    assert "perplexity" not in found


def test_the_paired_comparison_tells_the_better_writer() -> None:
    task = tasks.make(Target("de", "translate"))
    better = [Written(reference) for reference in REFERENCES]
    verdict = compare(task.metrics[0], task.table(better, REFERENCES), task.table(written(), REFERENCES), "other")
    assert verdict.outcome == "helped"
    assert verdict.difference.low > 0


def test_copies_empties_and_lengths_are_counted() -> None:
    sources = ["a dog", "a cat", "a b c"]
    found = tasks.counted(
        sources, [Written("a  dog"), Written(" "), Written("x y z w")], ["ein Hund", "ein Kater", "d e f g"]
    )
    assert (found["copies"], found["empty"], found["rows"]) == (1, 1, 3)
    assert found["words"]["mean"] == pytest.approx(2.0)
    assert found["length_ratio"] == pytest.approx(6 / 8)


def test_a_task_survives_its_plain_form() -> None:
    for kind in ("translate", "summarise", "generate"):
        task = tasks.make(Target("out", kind), metric="exact_match")  # type: ignore[arg-type]
        assert tasks.load(tasks.dump(task)) == task
        assert task.metrics[0].name == "exact_match"


def test_a_metric_of_another_kind_is_refused() -> None:
    with pytest.raises(PlanError, match="unknown metric 'bleu'"):
        tasks.make(Target("out", "summarise"), metric="bleu")


def test_where_the_loss_decides_nothing_is_written_while_judging() -> None:
    assert tasks.make(Target("t", "generate")).judged.decoding == Writing(tokens=0)  # type: ignore[union-attr]
    assert tasks.make(Target("t", "summarise")).judged.decoding.tokens == 0  # type: ignore[union-attr]
    assert tasks.make(Target("t", "translate")).judged.decoding.tokens > 0  # type: ignore[union-attr]


def test_plain_text_has_metrics_of_the_loss_alone() -> None:
    task = tasks.make(Target("text", "generate", free=True))
    assert [metric.name for metric in task.metrics] == ["bits_per_byte", "perplexity"]
    assert not any(metric.higher_is_better for metric in task.metrics)


def test_signatures_say_how_it_was_computed() -> None:
    found = tasks.signatures("translate", False)
    assert "tok:13a" in found["bleu"]
    assert "version:" in found["chrf"]
    assert "Porter" in tasks.signatures("summarise", False)["rouge"]
