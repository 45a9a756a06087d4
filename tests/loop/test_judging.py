"""A task's score on validation rows."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ukulele.loop.judging import score_of
from ukulele.types import Metric


def task(value: float, *, higher: bool) -> Any:
    """One that is measured at `value`, whatever is answered."""
    metric = Metric("made", lambda _table, _counts: value, higher_is_better=higher)
    return SimpleNamespace(
        kind="regress", metrics=(metric,), decode=lambda raw: raw, table=lambda raw, _values: np.zeros((len(raw), 1))
    )


@pytest.mark.parametrize(
    ("value", "higher", "alone", "expected"),
    [(0.7, True, True, 0.7), (0.7, True, False, 0.7), (3.0, False, True, -3.0), (3.0, False, False, 0.25)],
)
def test_higher_is_better(value: float, higher: bool, alone: bool, expected: float) -> None:
    assert score_of(task(value, higher=higher), [0.0], [0.0], 1.0, alone=alone) == pytest.approx(expected)


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_what_has_no_value_has_no_score(higher: bool, alone: bool) -> None:
    assert math.isnan(score_of(task(math.nan, higher=higher), [], [], 1.0, alone=alone))
