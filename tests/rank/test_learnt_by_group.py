"""What a probe's held-out answers tell is as sure as there are groups of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ukulele.tasks import Classify
from ukulele.trial.evidence import gains_over, learns
from ukulele.trial.learning import curve_of

GROUPS = np.repeat(np.arange(8), 40)


def test_groups_that_agree_by_chance_are_not_learnt_from() -> None:
    told = GROUPS < 5  # right in all rows of 5 groups, wrong in those of 3
    y = torch.arange(320) % 2
    right = torch.nn.functional.one_hot(torch.where(torch.from_numpy(told), y, 1 - y)).double() * 0.2 + 0.4
    same = torch.full((320, 2), 0.5).log()
    rows, groups = (gains_over(same, right.log(), y, of) for of in (None, GROUPS))
    assert [mean for mean, _ in rows] == [mean for mean, _ in groups]
    spread = np.std(np.where(told, np.log(0.6), np.log(0.4))) / np.log(2)  # of the loss there is
    assert (rows[0][1], groups[0][1]) == pytest.approx((spread / np.sqrt(319), spread / np.sqrt(7)))
    assert learns([rows])
    assert not learns([groups])
    assert gains_over(same, right.log(), y, np.arange(320)) == rows


def test_a_learning_curve_is_drawn_by_group() -> None:
    task, hits = Classify("mood", ("a", "b")), np.repeat(np.random.default_rng(0).random(8) < 0.6, 40)
    table = task.table(np.where(hits[:, None], [[0.9, 0.1]], [[0.1, 0.9]]), ["a"] * 320)
    rows, groups = (curve_of(task.metrics[0], [8], [table], 320, of).draws.std() for of in (None, GROUPS))
    assert groups > 4 * rows
