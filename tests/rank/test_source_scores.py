"""The scores without a probe, and what a model's own classifier adds to them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ukulele import rank
from ukulele.tasks import Classify, Regress
from ukulele.trial import neighbourhood
from ukulele.trial.evidence import Seen
from ukulele.trial.neighbourhood import source_scores

KINDS = ("a", "b", "c")
DRAWN = np.random.default_rng(0)
CLASSES = DRAWN.integers(0, 3, 600)
POOLED = torch.from_numpy(np.eye(3)[CLASSES] + 0.5 * DRAWN.standard_normal((600, 3))).float()


ROWS = np.arange(600)


def seen(classifier: Any, answers: Any = None) -> Seen:
    model: Any = SimpleNamespace(classifier=classifier)
    return Seen(model, "train", ROWS, {"body": POOLED * 0, "pool": POOLED}, None, answers)  # type: ignore[arg-type]


def scores(
    classifier: Any, values: list[Any] | None = None, task: Any = None, answers: Any = None
) -> dict[str, float]:  # fmt: skip
    asked = task or Classify("kind", KINDS)
    own = seen(classifier, answers).own
    return source_scores(POOLED, asked, values or [KINDS[one] for one in CLASSES], own, ROWS)


def test_a_classifier_is_asked_what_it_makes_of_the_rows() -> None:
    weight, bias = torch.eye(3) * 4, torch.tensor([0.0, 1.0, 0.0])
    p = (POOLED @ weight.T + bias).double().softmax(1).numpy()
    found = scores((weight, bias))
    assert found["LEEP"] == pytest.approx(rank.leep(p, CLASSES))
    assert found["NCE"] == pytest.approx(rank.nce(p.argmax(1), CLASSES))
    told = scores(None, answers=POOLED @ weight.T + bias)  # by the pass
    assert (told["LEEP"], told["NCE"]) == pytest.approx((found["LEEP"], found["NCE"]))
    ignorant = scores((torch.zeros(5, 3), torch.arange(5.0)))  # one answer, whatever the row
    assert ignorant["LEEP"] < found["LEEP"]
    assert ignorant["NCE"] < found["NCE"]


def test_without_a_classifier_or_classes_the_other_scores_are_left() -> None:
    assert set(scores(None)) == {"LogME", "H-score", "plain H-score"}
    number = scores((torch.eye(3), torch.zeros(3)), [float(one) for one in CLASSES], Regress("size", 0.0, 1.0))
    assert set(number) == {"LogME"}


def test_very_many_classes_are_asked_of_some_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    leep = rank.leep

    def counted(source: Any, classes: Any) -> float:
        asked.append(len(source))
        return leep(source, classes)

    monkeypatch.setattr(rank, "leep", counted)
    classifier = torch.eye(3), torch.zeros(3)
    all_rows = scores(classifier)
    monkeypatch.setattr(neighbourhood, "ANSWERS", 3)
    assert scores(classifier)["LEEP"] == pytest.approx(all_rows["LEEP"], abs=0.02)
    assert asked == [600, 300]  # every other one: no more than `LEAST`
