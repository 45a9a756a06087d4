"""What benchmarks are judged by: rows that have not chosen, and the best of equals not taken for better."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a benchmark's script by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield import_module
    for name in set(sys.modules) - before:
        if (FOLDER / f"{name}.py").is_file():
            del sys.modules[name]


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()[1:]


@pytest.mark.parametrize(("rows", "size"), [(0, 15), (10, 10), (20, 15)])
def test_halves_of_a_table_share_no_row(rows: int, size: int, script: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    every = [f"text {number},{number % 3}" for number in range(31)]
    (tmp_path / "data" / "train.csv").write_text("\n".join(["text,label", *every]) + "\n")
    (tmp_path / "data" / "dev.csv").write_text("text,label\na,0\n")
    first, second = script("stage").halves(tmp_path / "data", tmp_path / "halves", rows)
    parts = [lines(folder / "train.csv") for folder in (first, second)]
    assert [len(set(part)) for part in parts] == [size, size]
    assert not set(parts[0]) & set(parts[1])
    assert set(parts[0]) | set(parts[1]) <= set(every)
    assert all(lines(folder / "dev.csv") == ["a,0"] for folder in (first, second))


@pytest.mark.parametrize(("rows", "sizes"), [(0, {"ant": 5, "bee": 10}), (60, {"ant": 4, "bee": 8})])
def test_halves_of_pictures_share_none_and_keep_the_shares(
    rows: int, sizes: dict[str, int], script: Any, tmp_path: Path
) -> None:
    for label, count in {"ant": 10, "bee": 20}.items():
        for split, some in {"train": count, "test": 1}.items():
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for number in range(some):
                (tmp_path / "data" / split / label / f"{number}.jpg").write_bytes(f"{label}{split}{number}".encode())
    first, second = script("stage").halves(tmp_path / "data", tmp_path / "halves", rows)
    for label, size in sizes.items():
        names = [{path.name for path in (folder / "train" / label).iterdir()} for folder in (first, second)]
        assert [len(some) for some in names] == [size, size]
        assert not names[0] & names[1]
        assert [path.name for path in (first / "test" / label).iterdir()] == ["0.jpg"]


def test_the_best_of_equals_is_no_better_on_other_rows(script: Any) -> None:
    """The best after the fact lies ahead by chance; named on other rows, as often behind."""
    quality, draw = script("ranking_quality"), np.random.default_rng(0)
    flattered, fair = [], []
    for _ in range(200):
        rows = (draw.random((6, 500)) < 0.8).astype(float)
        flattered.append(rows.mean(1).max() - rows[0].mean())
        fair.append(quality.unflattered(rows)[0])
    assert np.mean(flattered) > 0.015
    assert abs(np.mean(fair)) < 0.004
    better = np.stack([np.zeros(500), np.ones(500)])
    assert quality.unflattered(better) == (1.0, 0.0)


def test_draws_take_a_row_of_all_repetitions_together(script: Any) -> None:
    """A row that is hard in one repetition is so in the other: it is no further evidence."""
    quality = script("ranking_quality")
    once = (np.random.default_rng(0).random((1, 1, 400)) < 0.7).astype(float)
    twice = np.repeat(once, 2, axis=1)
    assert quality.redrawn(twice).std() == pytest.approx(quality.redrawn(once).std(), rel=1e-6)
    assert quality.redrawn(once).std() == pytest.approx((0.7 * 0.3 / 400) ** 0.5, rel=0.1)
