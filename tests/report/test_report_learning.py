"""The learning curve in the report: drawn, told, and left out where there is none."""

from __future__ import annotations

import copy
from typing import Any

from test_report_page import EVIL, harmless

from ukulele.report import render


def curve(**more: Any) -> dict[str, Any]:
    points = [
        {"rows": rows, "value": 0.9 - rows**-0.5, "low": 0.88 - rows**-0.5, "high": 0.92 - rows**-0.5}
        for rows in (64, 91, 128, 181, 256)
    ]
    line = [{"rows": rows, "value": 0.86, "low": 0.84, "high": 0.88} for rows in (320, 453, 640, 905, 1280)]
    return {
        "metric": "accuracy", "higher_is_better": True, "rows": 320, "level": 0.9, "points": points, "line": line,
        "expected": [{**line[-1], "gain": {"value": 0.02, "low": 0.011, "high": 0.03}}], "no_further_gain": 0.8375,
        "more": [
            {"gain": 0.01, "value": 150.0, "low": 60.0, "high": None, "reached": 0.97},
            {"gain": 0.05, "value": None, "low": None, "high": None, "reached": 0.02},
        ],
        "learnt": True, "bottleneck": "labels", "advice": "Labels: four times as many help.", **more,
    }  # fmt: skip


def test_drawn_and_told(text: dict[str, Any]) -> None:
    page = harmless(render(text | {"learning_curve": {"label": curve()}}))
    assert "Labels: four times as many help." in page.text
    assert "about 150 more labels (60 or more)" in page.text
    assert "hardly to be had by labels; 2.0 % of the curves get there" in page.text
    labels = [value for _, name, value in page.attributes if name == "aria-label"]
    assert any("by labelled rows. Measured: 64 rows" in value for value in labels)
    assert ("a", "href", "#learning") in page.attributes


def test_of_an_error_less_is_a_gain(text: dict[str, Any]) -> None:
    more = [{"gain": 0.24, "share": 0.02, "value": 150.0, "low": 60.0, "high": None, "reached": 0.97}]
    page = harmless(
        render(text | {"learning_curve": {"price": curve(metric="rmse", higher_is_better=False, more=more)}})
    )
    assert "0.240 less RMSE (2.0 %): about 150 more labels (60 or more)" in page.text


def test_left_out_where_there_is_none(text: dict[str, Any]) -> None:
    without = copy.deepcopy(text)
    without.pop("learning_curve", None)
    for record in (without, without | {"learning_curve": {}}, without | {"learning_curve": None}):
        page = harmless(render(record))
        assert "learning" not in page.ids


def test_bears_with_whatever_is_lacking(several: dict[str, Any]) -> None:
    broken = {
        EVIL: curve(advice=EVIL, metric=EVIL),
        "few": curve(points=[], line=[], expected=[], more=[], no_further_gain=None),
        "strange": {"points": [{"rows": None}, {"rows": 3, "value": "x"}], "more": [{}], "advice": None},
    }
    page = harmless(render(several | {"learning_curve": broken}))
    assert "few" in page.text
