"""What held-out probes say, and do not say: of stages, of few rows, of noise."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from ukulele import tasks
from ukulele.doors.diagnosing import _alike
from ukulele.story.scrutiny import _Pool
from ukulele.tools.probe import score_layers
from ukulele.tools.search import Score, Search
from ukulele.trial.evidence import _shown, as_asked, clearly_best, learns, probed, raw_answers, tabled, unweighted
from ukulele.trial.learning import _unflattered
from ukulele.types import Target

CLASSES = Target("label", "classify", ("a", "b"))


def noise(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def labels(rows: int, seed: int) -> Tensor:
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(1000 + seed))
    return (torch.arange(rows) % 2)[order]


def named(y: Tensor) -> list[str]:
    return ["ab"[i] for i in y.tolist()]


def test_the_best_of_many_stages_of_noise_is_not_clearly_better() -> None:
    clear = 0
    for seed in range(30):
        stages = {f"stage{i}": noise(200, 12, 100 * seed + i) for i in range(8)}
        found = score_layers(stages, labels(200, seed), 2, search=Search(folds=3, seed=seed))
        last = found["stage7"]
        clear += clearly_best({name: _shown([(one, last)]) for name, one in found.items()}, "stage7") is not None
    assert clear <= 3


def test_a_stage_that_tells_more_is_clearly_better() -> None:
    y = labels(300, 0)
    told = noise(300, 12, 1) + 1.5 * (y[:, None] - 0.5)
    stages = {"inner": told, "last": told + 2 * noise(300, 12, 2)}
    found = score_layers(stages, y, 2, search=Search(folds=3))
    scores = {name: _shown([(one, found["last"])]) for name, one in found.items()}
    assert scores["last"]["gain"] == scores["last"]["gain_error"] == 0
    assert scores["inner"]["gain"] == pytest.approx(scores["inner"]["value"] - scores["last"]["value"])
    assert clearly_best(scores, "last") == "inner"


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_copies_of_a_row_make_no_stage_surer(kind: str) -> None:
    """20 rows ten times over tell as much as 20, and by so few groups an interval is wider."""
    copies = torch.arange(20).repeat_interleave(10)
    y = labels(20, 0)[copies]
    y, classes = (y, 2) if kind == "classes" else (y.double() + noise(20, 1, 5)[copies, 0], None)
    stages = {name: noise(20, 4, at)[copies] + y[:, None].float() for at, name in enumerate(["inner", "last"])}
    by_row, by_group = (
        score_layers(stages, y, classes, search=Search(folds=4, groups=copies, clusters=of), rows=100)
        for of in (None, copies)
    )
    for stage in stages:
        assert by_group[stage].mean == by_row[stage].mean
        alike = by_row[stage].error * math.sqrt(5)  # five of each are looked at
        assert by_group[stage].error == pytest.approx(alike, rel=0.25)
    one, other = (found["inner"] for found in (by_group, by_row))
    wide, narrow = (_shown([(found["inner"], found["last"])]) for found in (by_group, by_row))
    assert wide["gain_error"] > 1.6 * narrow["gain_error"]
    assert wide["high"] - wide["value"] > 1.05 * 1.96 * one.error > 1.05 * 1.96 * other.error


@pytest.mark.parametrize(("rows", "said"), [(14, {None, True}), (600, {False})])
def test_few_rows_cannot_tell_that_there_is_nothing_to_learn(rows: int, said: set[bool | None]) -> None:
    found = set()
    for seed in range(8):
        values = named(labels(rows, seed))
        task = tasks.make(CLASSES, values)
        found.add(probed(noise(rows, 32, seed), task, values, 0, None).learnt)
    assert found <= said
    assert learns([((0.1, 0.3),)]) is learns([((-0.9, 0.3),)]) is None
    assert learns([((0.0, 0.05),)]) is False
    assert learns([((0.2, 0.05),)]) is True
    assert learns([]) is None


def test_weights_of_classes_do_not_hide_what_is_learnt() -> None:
    """A weighted probe answers as if rare classes were frequent: its plain loss is worse than that of their shares."""
    y = (torch.arange(1200) % 20 == 0).long()
    told = noise(1200, 8, 3) + 1.2 * y[:, None]
    values = named(y)
    for weights in (None, "balanced"):
        task = tasks.make(CLASSES, values, class_weights=weights)
        held = probed(told, task, values, 0, None)
        assert held.learnt is True
        assert held.gains[0][0] > 0.2
    shuffled = named(labels(1200, 1) * 0 + y[torch.randperm(1200, generator=torch.Generator().manual_seed(2))])
    assert probed(told, tasks.make(CLASSES, shuffled, class_weights="balanced"), shuffled, 0, None).learnt is False


def test_weights_of_classes_are_taken_out_of_a_probes_answers() -> None:
    task = tasks.make(CLASSES, ["a"] * 19 + ["b"], class_weights="balanced")
    shares = torch.tensor([[0.7, 0.3], [0.99, 0.01]], dtype=torch.float64)
    weighted = shares * torch.tensor(task.weights)
    assert weighted[0, 1] > 8 * weighted[0, 0]  # sound, and yet so unlikely
    assert unweighted(task, weighted.log().log_softmax(1)).exp().numpy() == pytest.approx(shares.numpy())
    asked = as_asked(task, weighted.log().log_softmax(1), ["a", "b"])
    assert asked.argmax(1).tolist() == [0, 0]


def test_several_labels_are_not_flattered_by_thresholds_of_their_own() -> None:
    target = Target("tags", "multilabel", tuple("abcdefgh"))
    marks = torch.rand((1600, 8), generator=torch.Generator().manual_seed(1)) < 0.02
    values = [tuple(label for label, on in zip("abcdefgh", row, strict=True) if on) for row in marks.tolist()]
    answers = noise(1600, 8, 2) - 3
    task = tasks.make(target, values, "macro_f1")
    mine, fresh = values[:800], values[800:]
    tuned, table = tabled(task, answers[:800], mine)
    metric = task.metrics[0]
    fair, flattered, later = (
        metric.value(one, np.ones(800))
        for one in (
            table,
            tuned.table(tuned.decode(raw_answers(task, answers[:800])), mine),
            tuned.table(tuned.decode(raw_answers(task, answers[800:])), fresh),
        )
    )
    assert flattered > 1.4 * later
    assert fair == pytest.approx(later, abs=0.02)
    assert (table[:, 1:9] == marks[:800].numpy()).all()  # in the order of the rows


def test_a_fold_is_scored_at_the_strength_that_does_best_on_the_others() -> None:
    """The fold's own loss, by chance the least at the first strength, is not looked at."""
    answers = torch.tensor([[[1.0]], [[2.0]]])  # (strengths, rows, outputs)
    losses = [(0.1, 0.5), (0.9, 0.3), (0.9, 0.3)]
    fits = [(tuple(Score(10.0, 0.0, 0.0, loss) for loss in each), answers + fold) for fold, each in enumerate(losses)]
    assert torch.cat(_unflattered(fits)).flatten().tolist() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize("sizes", [(1500, 100), (100, 1000)])
def test_rows_of_one_kind_lie_as_far_apart_as_they_do_among_themselves(sizes: tuple[int, int]) -> None:
    a, b = (noise(size, 64, seed).numpy() for seed, size in enumerate(sizes))
    found = _alike(a, b, 0)
    for here, within in found.values():
        assert here == pytest.approx(within, rel=0.15)
    moved = _alike(a, b + 1, 0)
    assert moved["frechet"][0] > 2 * moved["frechet"][1]


def test_weights_of_classes_make_no_sound_label_doubtful() -> None:
    """Rows of the frequent class that the rare one is a little probable for, as a weighted probe answers them."""
    values = ["a"] * 95 + ["b"] * 5
    task = tasks.make(CLASSES, values, class_weights="balanced")
    rare = torch.where(torch.arange(100) < 95, 0.02, 0.6)
    rare[:10], rare[10] = 0.35, 0.97  # ten that look a little like it, and one that is
    answers = (torch.stack([1 - rare, rare], 1) * torch.tensor(task.weights)).log().log_softmax(1)
    probe = SimpleNamespace(
        tasks={"label": task},
        held={"label": answers},
        feed=SimpleNamespace(values=lambda split, _: values if split == "train" else []),
        answers=lambda _split, _name: [],
    )
    numbered = SimpleNamespace(truth=lambda split: SimpleNamespace(numbers=lambda _: range(100 * (split == "train"))))
    numbered.data = SimpleNamespace(splits={})
    found = _Pool.of(probe, numbered, "label").doubted()  # type: ignore[arg-type]
    assert [one.row for one in found] == [10]
