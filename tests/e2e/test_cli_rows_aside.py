"""Rows that cannot be used, and arguments that may be a text or a file: predict and evaluate say what they did."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_kit import Answer, rows_of, write_csv

Uke = Callable[..., Answer]


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """30 rows, 8 of them without a text."""
    rows = rows_of(30, 5)
    for row in rows[3:19:2]:
        row["text"] = ""
    return write_csv(tmp_path / "faulty.csv", rows, ["text", "label"])


def test_evaluate_takes_the_option_it_advises(uke: Uke, fitted: Path, faulty: Path, tmp_path: Path) -> None:
    refused = uke("evaluate", fitted, faulty)
    assert refused.code == 2
    assert "--max-bad 0.27" in refused.flat
    aside = tmp_path / "aside.csv"
    answer = uke("evaluate", fitted, faulty, "--max-bad", "0.27", "--quarantine", aside)
    assert answer.code == 0, answer.err
    assert "22 rows, 8 set aside" in answer.flat
    assert answer.err.count("set aside") == 5
    assert f"and 3 more; all are in {aside}" in answer.err
    assert len(aside.read_text().splitlines()) == 9
    assert "--quarantine FILE lists all" in uke("evaluate", fitted, faulty, "--max-bad", "0.5").err
    assert json.loads(uke("evaluate", fitted, faulty, "--max-bad", "0.5", "--json").out)["set_aside"] == 8
    assert "--max-bad 3" in uke("evaluate", fitted, faulty, "--max-bad", "3").flat


def test_rows_that_stop_a_command_are_listed_first(uke: Uke, fitted: Path, faulty: Path, tmp_path: Path) -> None:
    for command in (("check", faulty), ("evaluate", fitted, faulty)):
        aside = tmp_path / "aside" / f"{command[0]}.csv"
        refused = uke(*command, "--quarantine", aside)
        assert refused.code == 2
        assert f"All are in {aside}" in refused.err
        with aside.open(newline="") as file:
            assert [row["line"] for row in csv.DictReader(file)] == [str(line) for line in range(5, 21, 2)]
        assert "All of them: --quarantine FILE" in uke(*command).err
    full = tmp_path / "file"
    full.write_text("")
    refused = uke("check", f"mood={faulty}", "--quarantine", full / "aside.csv")
    assert refused.code == 2
    assert "8 of 30 rows" in refused.err, "the first error is not lost behind the second"
    assert f"could not be listed in {full / 'aside.csv'}" in refused.err


def test_times_that_stop_a_command_are_listed_with_the_other_rows(uke: Uke, tmp_path: Path) -> None:
    rows = [{**row, "day": "soon" if at < 20 else str(at)} for at, row in enumerate(rows_of(60, 5))]
    rows[30]["text"] = ""
    data = write_csv(tmp_path / "rows.csv", rows, ["text", "label", "day"])
    aside = tmp_path / "aside.csv"
    assert uke("check", data, "--time", "day", "--quarantine", aside).code == 2
    with aside.open(newline="") as file:
        assert [int(row["line"]) for row in csv.DictReader(file)] == [32, *range(2, 22)]


def test_predict_says_some_and_lists_all(uke: Uke, fitted: Path, faulty: Path, tmp_path: Path) -> None:
    out, aside = tmp_path / "answers.csv", tmp_path / "answers.quarantine.csv"
    answer = uke("predict", fitted, faulty, "--out", out)
    assert answer.code == 0
    assert answer.err.count("set aside") == 5
    assert f"and 3 more; all are in {aside}" in answer.err
    with aside.open(newline="") as file:
        assert [row["line"] for row in csv.DictReader(file)] == [str(line) for line in range(5, 21, 2)]
    assert "and 3 more; with --out FILE" in uke("predict", fitted, faulty).err
    assert uke("predict", fitted, write_csv(tmp_path / "new.csv", rows_of(4), ["text"]), "--out", out).code == 0
    assert len(aside.read_text().splitlines()) == 1, "it is of the last command"


def test_a_text_that_is_a_file_name_too(
    uke: Uke, fitted: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good").write_text("hi\n")
    Path("bad").mkdir()
    answer = uke("predict", fitted, "good", "bad")
    assert answer.code == 0, answer.err
    assert [line.split()[-1] for line in answer.out.splitlines()] == ["good", "bad"]
    assert "good: answered as a text" in answer.err
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "new.csv").write_bytes((tables / "new.csv").read_bytes())
    assert len(uke("predict", fitted, folder).out.splitlines()) == 12
    Path("rows.txt").write_bytes((tables / "new.csv").read_bytes())
    assert len(uke("predict", fitted, "rows.txt", "good").out.splitlines()) == 13


def test_every_line_of_a_text_file_is_a_row(uke: Uke, fitted: Path, tmp_path: Path) -> None:
    lines, table = tmp_path / "lines.txt", tmp_path / "table.txt"
    lines.write_text("good, fine\nbad\n\nbad; awful\n", "utf-8")
    answer = uke("predict", fitted, lines, "--out", tmp_path / "a.csv")
    assert answer.code == 0, answer.err
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == ["good, fine", "bad", "bad; awful"]
    assert "lines.txt:3" in answer.err
    for header in ("text", "day;text"):
        table.write_text("\n".join([header, *(header.replace("text", "good fine") for _ in range(3))]), "utf-8")
        assert uke("predict", fitted, table).out.count("\n") == 3
    assert uke("predict", fitted, table, "--text", "day").out.count("\n") == 3
    refused = uke("predict", fitted, lines, "--text", "day")
    assert refused.code == 2
    assert "no column 'day'" in refused.flat


def test_empty_texts(uke: Uke, fitted: Path) -> None:
    answer = uke("predict", fitted, "")
    assert answer.code == 2
    assert "set aside text 1: it is empty" in answer.flat
    assert "list" not in answer.flat
    answer = uke("predict", fitted, "good fine", " ", "bad")
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 2
    assert "set aside text 2" in answer.err
