"""In bf16, what a run says of the test rows is what its bundle answers, number for number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_kit import Answer, picture, record_of, rows_of, write_csv

Uke = Callable[..., Answer]
SPLITS = {"train": 60, "dev": 20, "test": 40}


@pytest.fixture(scope="module")
def split_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split") / "texts"
    folder.mkdir()
    for seed, (name, count) in enumerate(SPLITS.items()):
        write_csv(folder / f"{name}.csv", rows_of(count, seed), ["text", "label"])
    return folder


@pytest.fixture(scope="module")
def split_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split") / "pictures"
    for seed, (name, count) in enumerate(SPLITS.items()):
        for number in range(count):
            label = "red" if number % 2 else "blue"
            (folder / name / label).mkdir(parents=True, exist_ok=True)
            picture(number + 1000 * seed, label == "red").save(folder / name / label / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    "flags",
    [("finetune", "--freeze", 1), ("full",), ("lora",), ("full", "--long", "chunk", "--max-length", 8)],
    ids=["frozen", "whole", "adapters", "chunks"],
)
def test_of_texts(flags: tuple[object, ...], split_texts: Path, bert: Path, uke: Uke, tmp_path: Path,
                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("ukulele.trial.predict.choose_precision", lambda _wanted, _device: "bf16")
    _told_twice(uke, tmp_path / "run", split_texts, split_texts / "test.csv", "--model", bert, "--strategy", *flags)


@pytest.mark.parametrize("flags", [("finetune",), ("full",)], ids=["frozen", "whole"])
def test_of_pictures(flags: tuple[object, ...], split_pictures: Path, network: Path, uke: Uke, tmp_path: Path,
                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("ukulele.trial.predict.choose_precision", lambda _wanted, _device: "bf16")
    test = split_pictures / "test"
    _told_twice(uke, tmp_path / "run", split_pictures, test, "--model", network, "--strategy", *flags)


def _told_twice(uke: Uke, run: Path, data: Path, test: Path, *flags: object) -> None:
    common = ("--epochs", 2, "--rate", 1e-3, "--precision", "bf16", "--controls", "none", "--quiet")
    answer = uke("fit", data, *common, *flags, "--out", run)
    assert answer.code == 0, answer.err
    answer = uke("evaluate", run, test, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)["test"]
    for metric, estimate in record_of(run)["test"].items():
        assert told[metric]["value"] == pytest.approx(estimate["value"], abs=1e-6), metric
