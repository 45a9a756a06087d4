"""Messages that name the cause, the place and the way out."""

from __future__ import annotations

import csv
import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_kit import Answer, rows_of, write_csv

from ukulele.errors import PlanError

Uke = Callable[..., Answer]


def test_where_findings_were_found(uke: Uke, tmp_path: Path) -> None:
    rows = rows_of(90)
    rows += [dict(row) for row in rows[:12]]
    rows.append(rows[0] | {"label": "bad"})
    data, found = write_csv(tmp_path / "rows.csv", rows, ["text", "label"]), tmp_path / "findings.csv"
    answer = uke("check", data)
    assert answer.code == 0
    lines = answer.out.splitlines()
    at = next(number for number, line in enumerate(lines) if "repeat the input" in line)
    shown = [line for line in lines[at + 1 : at + 4] if f"{data}:" in line]
    assert len(shown) == 3, lines
    assert rows[0]["text"].split()[0] in answer.out
    assert "and more; --findings FILE lists all" in answer.out
    assert f"{data}:2 (good)" in answer.out
    assert uke("check", data, "--findings", found).code == 0
    with found.open(newline="") as file:
        listed = [row for row in csv.DictReader(file) if row["code"] == "duplicate-rows"]
    assert len({row["input"] for row in listed}) == 12
    assert all(row["where"].count(f"{data}:") > 1 for row in listed)


@pytest.mark.parametrize(("option", "other"), [("--out", "--cache"), ("--cache", "--out")])
def test_a_place_that_cannot_be_written(option: str, other: str, uke: Uke, tables: Path, tmp_path: Path) -> None:
    places = {"--out": tmp_path / "run", "--cache": tmp_path / "cache"} | {option: "/proc/ukulele/x"}
    answer = uke("fit", tables / "reviews.csv", *(word for pair in places.items() for word in pair))
    assert answer.code == 2
    assert "/proc/ukulele" in answer.flat
    assert f"Choose a place that can be written to with {option}" in answer.flat
    assert other not in answer.err
    assert "Free some space" not in answer.err


def test_a_full_disk(uke: Uke, tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ukulele.tools.files.os.fsync", full)
    answer = uke("check", tables / "reviews.csv")
    assert answer.code == 2
    assert "Free some space" in answer.flat
    assert "--cache" in answer.flat


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": "3"}, "--epochs '3' (str): a whole number was expected"),
        ({"epochs": True}, "--epochs True (bool): a whole number was expected"),
        ({"rate": "fast"}, "--rate fast: a rate above 0, or auto, was expected"),
        ({"seed": None}, "--seed None (NoneType): a value was expected"),
        ({"model": 3}, "--model 3 (int): a word was expected"),
        ({"target": 3}, "--target 3 (int): one word or several was expected"),
        ({"long": 1.5, "save_every": "60"}, "--save-every '60' (str)"),
    ],
)
def test_options_of_the_wrong_type(given: dict[str, object], said: str) -> None:
    import ukulele

    with pytest.raises(PlanError) as error:
        ukulele.fit([("tea", "good"), ("rain", "bad")], **given)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == len(given) + 1


def test_a_folder_given_as_a_path(tmp_path: Path) -> None:
    from ukulele.config import options_from

    assert options_from({"cache": tmp_path, "model": tmp_path}).plain()["cache"] == str(tmp_path)


def test_an_encoding_of_another_alphabet(uke: Uke, tmp_path: Path) -> None:
    words = [
        "日本語 and plain English behind it",
        "すぐに壊れてしまった",
        "値段の割に良い",
        "二度と買わない",
    ]
    japanese = "\n".join(["text,label", *(f"{words[i % 4]} {i},{'good' if i % 2 else 'bad'}" for i in range(60))])
    (tmp_path / "sjis.csv").write_bytes(japanese.encode("shift_jis"))
    answer = uke("check", tmp_path / "sjis.csv", "--max-bad", "1")
    assert "warning: sjis.csv is not UTF-8" in answer.flat
    assert f"as in {tmp_path / 'sjis.csv'}:2" in answer.flat
    russian = "\n".join(["text,label", *(f"звук {i} чудесный,{'good' if i % 2 else 'bad'}" for i in range(60))])
    (tmp_path / "cyrillic.csv").write_bytes(russian.encode("cp1251"))
    assert "warning: cyrillic.csv is not UTF-8" in uke("check", tmp_path / "cyrillic.csv").flat
    french = "\n".join(["text,label", *(f"très déçu, été {i}".replace(",", "") + ",bad" for i in range(60)), "là,good"])
    (tmp_path / "latin.csv").write_bytes((french + "\nça “va”,good\nbien,good\n").encode("cp1252"))
    assert "info: latin.csv is not UTF-8; it was read as cp1252" in uke("check", tmp_path / "latin.csv").flat


def test_small_commands(uke: Uke, tmp_path: Path) -> None:
    answer = uke("models", "*nosuch*")
    assert answer.code == 2
    assert "no model here matches '*nosuch*'" in answer.flat
    answer = uke("compare", tmp_path)
    assert answer.code == 2
    assert "two or more" in answer.flat
    from ukulele.balance import NAMES

    help_ = uke("fit", "--help").flat
    assert [name for name in NAMES if name not in help_] == []


def test_a_bundle_that_lacks_a_file(uke: Uke, fitted: Path) -> None:
    golden = fitted / "bundle" / "golden.json"
    content = golden.read_bytes()
    golden.unlink()
    try:
        answer = uke("predict", fitted, "good")
    finally:
        golden.write_bytes(content)
    assert answer.code == 2
    assert "golden.json is missing: bundle.json names it." in answer.flat
    assert "SHA" not in answer.flat
