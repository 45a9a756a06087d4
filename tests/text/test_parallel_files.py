from __future__ import annotations

from pathlib import Path

import pytest

from ukulele import data
from ukulele.data.options import ReadOptions
from ukulele.errors import DataError

ASKED = ReadOptions(target=("de",), inputs=("en",), task="translate")


def write(folder: Path, **files: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, lines in files.items():
        stem, ending = name.rsplit("_", 1)
        (folder / f"{stem}.{ending}").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return folder


def sentences(count: int, what: str) -> list[str]:
    return [f"{what} {i} ist „schön“, {i * 7 % 11}" for i in range(count)]


def test_parallel_files_are_columns_by_language(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "pairs", train_en=sentences(30, "a"), train_de=sentences(30, "b"), train_fr=sentences(30, "c"),
        val_en=sentences(5, "d"), val_de=sentences(5, "e"), val_fr=sentences(5, "x"),
        test_2016_en=sentences(6, "f"), test_2016_de=sentences(6, "g"), test_2016_fr=sentences(6, "y"),
    )  # fmt: skip
    (folder / "README.md").write_text("notes")
    found = data.read(folder, ASKED, tmp_path / "cache")
    assert {split: len(rows) for split, rows in found.splits.items()} == {"train": 30, "validation": 5, "test": 6}
    row = found.splits["train"][3]
    assert row.inputs == ("a 3 ist „schön“, 10",)
    assert row.targets == {"de": "b 3 ist „schön“, 10"}
    assert (Path(row.where.file).name, row.where.line) == ("train.{de,en,fr}", 4)
    assert any("Parallel files" in note for note in found.notes)


def test_one_corpus_without_splits_is_split(tmp_path: Path) -> None:
    folder = write(tmp_path / "pairs", corpus_en=sentences(60, "a"), corpus_de=sentences(60, "b"))
    found = data.read(folder, ASKED, tmp_path / "cache")
    assert sum(len(rows) for rows in found.splits.values()) == 60
    assert len(found.splits) == 3


def test_other_numbers_of_lines_are_refused_with_both(tmp_path: Path) -> None:
    folder = write(tmp_path / "pairs", train_en=sentences(30, "a"), train_de=sentences(29, "b"))
    with pytest.raises(DataError, match=r"train\.de has 29 lines and .*train\.en has 30 lines"):
        data.read(folder, ASKED, tmp_path / "cache")


def test_a_line_that_is_empty_is_set_aside_with_its_place(tmp_path: Path) -> None:
    answers = sentences(60, "b")
    answers[7] = "  "
    folder = write(tmp_path / "pairs", train_en=sentences(60, "a"), train_de=answers)
    found = data.read(folder, ASKED, tmp_path / "cache")
    (bad,) = found.quarantine
    assert (bad.where.line, bad.reason) == (8, "empty target 'de'")


def test_a_separator_of_unicode_ends_no_line(tmp_path: Path) -> None:
    texts = [f"eins\u2028zwei {i}" for i in range(40)]
    folder = write(tmp_path / "pairs", train_en=sentences(40, "a"), train_de=texts)
    found = data.read(folder, ASKED, tmp_path / "cache")
    assert all("\u2028" in row.targets["de"] for row in found.splits["train"])


def test_a_split_in_one_language_alone_is_refused(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "pairs", train_en=sentences(30, "a"), train_de=sentences(30, "b"), test_en=sentences(6, "c")
    )
    with pytest.raises(DataError, match=r"test\.en is alone.*") as caught:
        data.read(folder, ASKED, tmp_path / "cache")
    assert "test.de" in str(caught.value.hint)


def test_files_that_are_no_split_are_named(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "pairs", train_en=sentences(60, "a"), train_de=sentences(60, "b"), extra_en=sentences(6, "c")
    )
    found = data.read(folder, ASKED, tmp_path / "cache")
    assert any("Not read: extra.en" in note for note in found.notes)
