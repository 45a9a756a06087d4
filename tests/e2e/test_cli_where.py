"""What the data lack is said with the file, the line, what was expected, and what lies nearby."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_kit import Answer, rows_of, write_csv

Uke = Callable[..., Answer]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """60 rows with a column of anything but splits or times, and one of ids."""
    found = [row | {"source": "ab"[number % 2], "id": f"i-{number}"} for number, row in enumerate(rows_of(60))]
    return write_csv(tmp_path / "rows.csv", found, ["text", "label", "source", "id"])


def test_a_column_that_names_no_split_or_time(uke: Uke, rows: Path) -> None:
    answer = uke("check", rows, "--split", "source")
    assert answer.code == 2
    assert "60 of 60 rows: 'a' in column 'source' is no split" in answer.flat
    assert "rows.csv:2" in answer.flat
    assert "train, validation or test" in answer.flat
    answer = uke("check", rows, "--time", "source", "--max-bad", "1")
    assert answer.code == 2
    assert "no time that can be read in column 'source'" in answer.flat
    assert "rows.csv:2" in answer.flat
    assert "2024-05-31" in answer.flat


def test_some_splits_that_are_none(uke: Uke, tmp_path: Path) -> None:
    found = [row | {"part": "train" if number % 3 else "trian"} for number, row in enumerate(rows_of(60))]
    answer = uke("check", write_csv(tmp_path / "rows.csv", found, ["text", "label", "part"]), "--split", "part")
    assert answer.code == 2
    assert "20 of 60 rows cannot be used" in answer.flat
    assert "rows.csv:2: 'trian' in column 'part' is no split" in answer.flat


def test_ids_that_are_meant(uke: Uke, rows: Path) -> None:
    answer = uke("check", rows, "--target", "id")
    assert answer.code == 2
    assert "--task classify" in answer.flat
    several = uke("check", rows, "--target", "id", "label")
    assert several.code == 2
    assert "--task" not in several.flat, "it is for one target"


def test_the_file_is_named(uke: Uke, rows: Path, tmp_path: Path) -> None:
    assert f"{rows}: there is no column 'lable'" in uke("check", rows, "--target", "lable").flat
    empty = tmp_path / "header.csv"
    empty.write_text("text,label\n")
    assert f"{empty}: there are no rows below the header" in uke("check", empty).flat


def test_a_file_without_rows(uke: Uke, fitted: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_csv(tmp_path / name / "train.csv", rows_of(60), ["text", "label"])
        (tmp_path / name / "test.csv").write_text("text,label\n")
    warned = f"{tmp_path / 'one' / 'test.csv'} has no rows, so there is no test split in it"
    answer = uke("check", tmp_path / "one")
    assert answer.code == 0
    assert f"warning: {warned}" in answer.flat
    answer = uke("check", f"a={tmp_path / 'one'}", f"b={tmp_path / 'two'}")
    assert f"warning: a: {warned}" in answer.flat
    assert answer.flat.count("has no rows") == 2
    answer = uke("evaluate", fitted, tmp_path / "one")
    assert warned in answer.err
    assert "the train split is evaluated" in answer.err


def test_a_path_that_leads_nowhere(uke: Uke, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network is waited for, no library speaks, and what lies there is named."""
    from huggingface_hub import constants

    def nobody(*_args: object) -> None:
        raise OSError("Name or service not known")

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", nobody)
    monkeypatch.setattr(time, "sleep", lambda _seconds: pytest.fail("it waited to try again"))
    monkeypatch.chdir(rows.parent)
    for data in (("good=rows.csv", "bad=nosuch"), ("nosuch_org/nosuch_ds",)):
        answer = uke("check", *data)
        assert answer.code == 2
        assert "the Hugging Face hub cannot be reached" in answer.flat
        assert f"{rows.parent} holds cache, rows.csv" in answer.flat
        assert len(answer.err.strip().splitlines()) == 2
    assert "Did you mean rows.csv?" in uke("check", "row.csv").flat
    (rows.parent / "tweets").mkdir()
    (rows.parent / "tweets" / "irony").mkdir()
    assert "Did you mean tweets?" in uke("check", "tweet/irony/test.csv").flat
