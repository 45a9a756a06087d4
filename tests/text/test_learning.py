"""A small model from scratch learns a small language, so that sentences it has not seen come out right."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import record_of, write_csv
from text_kit import NOUNS, PLACES, VERBS


@pytest.mark.slow
@pytest.mark.parametrize("model", ["config:marian-tiny", "config:t5-tiny"])
def test_a_small_language_is_learned(model: str, uke: Callable[..., Any], tmp_path: Path) -> None:
    known = list(product(sorted(NOUNS), sorted(VERBS), sorted(PLACES)))
    random.Random(0).shuffle(known)
    rows = [
        {"en": f"The {noun} {verb} {place}.", "de": f"Der {NOUNS[noun]} {VERBS[verb]} {PLACES[place]}."}
        for noun, verb, place in known
    ]
    data = tmp_path / "data"
    data.mkdir()
    for name, some in (("train", rows[:88] * 2), ("val", rows[88:100]), ("test", rows[100:])):
        write_csv(data / f"{name}.csv", some, ["en", "de"])
    answer = uke(
        "fit", data, "--task", "translate", "--source", "en", "--target", "de", "--model", model,
        "--strategy", "scratch", "--epochs", 14, "--batch", 16, "--out", tmp_path / "run",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    test = record_of(tmp_path / "run")["test"]
    assert test["exact_match"]["value"] >= 0.7, answer.err
    assert test["bleu"]["value"] > 60
