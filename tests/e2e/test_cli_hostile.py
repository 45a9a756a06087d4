"""Data that mislead: each run ends well, says what is true, and gives no figure that its rows do not bear out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_kit import Answer, record_of, rows_of, write_csv

Uke = Callable[..., Answer]


@pytest.mark.slow
def test_twenty_rows_bear_out_nothing(uke: Uke, bert: Path, tmp_path: Path) -> None:
    data, run = write_csv(tmp_path / "few.csv", rows_of(20), ["text", "label"]), tmp_path / "run"
    answer = uke("fit", data, "--model", bert, "--epochs", 2, "--batch", 32, "--threads", 1, "--out", run)
    assert answer.code == 0, answer.err
    record = record_of(run)
    assert record["verdict"]["outcome"] == "inconclusive"
    for candidate in record["candidates"]:
        found = candidate["test"]["accuracy"]
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
        assert found["high"] - found["low"] > 0.3
