"""Plain text as rows: in order, whole, in windows, with its faults told."""

from __future__ import annotations

import resource
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from language_kit import prose
from ukulele import check
from ukulele.data import documents, stretches
from ukulele.data import windows as in_windows
from ukulele.data.options import ReadOptions
from ukulele.errors import BadRowsError, DataError, PlanError
from ukulele.models import words
from ukulele.models.passages import Reader, windows
from ukulele.types import Dataset, GoesOn, with_answer

GENERATE = ReadOptions(task="generate")
LIMIT = 32


def texts(dataset: Dataset, split: str) -> list[str]:
    return [row.targets["text"] for row in dataset.splits[split]]  # type: ignore[index]


def cut(dataset: Dataset) -> tuple[Dataset, Reader]:
    found = words.learn(dataset.splits["train"], 300)
    return in_windows(dataset, partial(windows, found, LIMIT - 2), LIMIT), Reader(found, 1, 2, LIMIT)


def test_one_file_is_split_in_order_and_nothing_is_lost(tmp_path: Path) -> None:
    text = prose(1500) + "naïve café — ŵ\n" * 40
    (tmp_path / "a.txt").write_text(text, "utf-8")
    dataset, reader = cut(documents.read_documents(tmp_path / "a.txt"))
    parts = {split: "".join(texts(dataset, split)) for split in ("train", "validation", "test")}
    assert "".join(parts.values()) == text
    assert 0.85 < len(parts["train"]) / len(text) < 0.95
    last = [row for split in dataset.splits.values() for row in split if not isinstance(row.targets["text"], GoesOn)]
    assert [row.targets["text"] for row in last] == [texts(dataset, "test")[-1]]
    for split in dataset.splits.values():
        lengths = [tokens for (tokens,) in reader.lengths([with_answer(row, "text") for row in split])]
        assert max(lengths) <= LIMIT
        assert sorted(lengths)[len(lengths) // 2] >= LIMIT - 6  # packed densely
    for row in dataset.splits["test"]:
        assert row.targets["text"].split("\n")[0] in text.split("\n")[row.where.line - 1]  # type: ignore[operator]


def test_names_of_files_tell_splits(tmp_path: Path) -> None:
    for name, seed in {"train": 0, "valid": 1, "test": 2, "notes": 3}.items():
        (tmp_path / f"{name}.txt").write_text(prose(300, seed), "utf-8")
    dataset = documents.read_documents(tmp_path)
    assert "".join(texts(dataset, "validation")) == prose(300, 1)
    assert "".join(texts(dataset, "test")) == prose(300, 2)
    assert any("notes.txt" in note for note in dataset.notes)
    assert "".join(texts(documents.read_text(tmp_path), "test")) == prose(300, 2)


def test_documents_do_not_run_into_each_other(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text(prose(30, number), "utf-8")
    dataset, _ = cut(documents.read_documents(tmp_path))
    whole = {prose(30, number) for number in range(40)}
    found: list[str] = []
    held = ""
    for row in dataset.splits["train"]:
        held += row.targets["text"]
        if not isinstance(row.targets["text"], GoesOn):
            found.append(held)
            held = ""
    assert set(found) <= whole
    assert len(found) > 30


def test_more_documents_than_files_may_be_open(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}.txt").write_text(prose(3, number), "utf-8")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    try:
        dataset, _ = cut(documents.read_documents(tmp_path))
        found = [text for split in dataset.splits for text in texts(dataset, split)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "".join(found) == "".join(prose(3, number) for number in range(300))


def test_other_encodings(tmp_path: Path) -> None:
    text = "Le café était fermé à midi.\n" * 1500
    (tmp_path / "old.txt").write_bytes(text.encode("cp1252"))
    (tmp_path / "wide.txt").write_bytes(b"\xff\xfe" + text.encode("utf-16-le"))
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    for name in ("old", "wide", "marked"):
        dataset = documents.read_documents(tmp_path / f"{name}.txt")
        assert "".join("".join(texts(dataset, split)) for split in dataset.splits).lstrip("\ufeff") == text, name


def test_damage_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(("naïve text\n" * 4000).encode() + b"\xff\xfe bad \xe9\n" + prose(200).encode())
    (finding,) = documents.read_documents(tmp_path / "a.txt").findings
    assert finding.code == "damaged-text"


def test_stray_bytes_move_no_window(tmp_path: Path) -> None:
    lines = [line + "\n" for line in (prose(900) + "naïve café\n" * 40).split("\n")]
    content = b"".join(b"\x93" * (at % 7) + line.encode() for at, line in enumerate(lines)) + b"caf\xc3"
    (tmp_path / "a.txt").write_bytes(content)
    whole = documents.read_documents(tmp_path / "a.txt")
    dataset, _ = cut(whole)
    at = 0
    for split, rows in dataset.splits.items():
        assert isinstance(rows, stretches.TextRows)
        chunks = whole.splits[split]
        assert isinstance(chunks, stretches.TextRows)
        assert rows.spans[0, 1] == chunks.spans[0, 1] == at
        assert (rows.spans[1:, 1] == rows.spans[:-1, 2]).all(), "nothing is skipped"
        at = rows.spans[-1, 2]
        assert at == chunks.spans[-1, 2], "no split runs into the next one"
    assert "".join("".join(texts(dataset, split)) for split in dataset.splits) == content.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b" \n \n", "is empty"), (b"ab\x00cd" * 4000, "no text"), (b"Short.", "too little text")],
)
def test_what_is_no_text_to_learn_from_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=said):
        documents.read_documents(tmp_path / "a.txt")


def test_files_without_text_are_set_aside(tmp_path: Path) -> None:
    for name, content in {"a": prose(600), "b": "", "c": " \n", "d": "ab\0cd"}.items():
        (tmp_path / f"{name}.txt").write_text(content, "utf-8")
    for dataset in (documents.read_documents(tmp_path), documents.read_text(tmp_path)):
        found = "".join("".join(texts(dataset, split)) for split in dataset.splits)
        assert found == prose(600)
        assert [Path(bad.where.file).name for bad in dataset.quarantine] == ["b.txt", "c.txt", "d.txt"]
        assert [finding.code for finding in dataset.findings] == ["bad-rows"]
        assert "3 of 4 files" in dataset.findings[0].message
    (tmp_path / "a.txt").unlink()
    with pytest.raises(BadRowsError, match=r"b\.txt: the file is empty.*other 2 files holds text") as refused:
        documents.read_documents(tmp_path)
    assert len(refused.value.bad) == 3


def test_options_that_plain_text_does_not_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(600), "utf-8")
    asked = {"text": ("body",), "split": "part", "time": "day", "group": "author", "max_bad": 0.5}
    with pytest.raises(PlanError) as refused:
        check(tmp_path / "a.txt", task="generate", **asked)
    for said in ("--text body", "--prompt", "--split part", "--time day", "--group author", "--max-bad 0.5"):
        assert said in refused.value.message
    with pytest.raises(PlanError, match="--group author"):
        check(str(tmp_path), task="generate", group="author")
    assert check(tmp_path / "a.txt", task="generate").splits


def test_what_is_plain_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a", "utf-8")
    (tmp_path / "b.csv").write_text("a", "utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.txt").write_text("c", "utf-8")
    assert documents.is_plain_text(tmp_path / "a.txt", GENERATE)
    assert documents.is_plain_text(str(tmp_path / "sub"), GENERATE)
    assert not documents.is_plain_text(tmp_path / "b.csv", GENERATE)
    assert not documents.is_plain_text(tmp_path, GENERATE)  # the table in it is read
    assert not documents.is_plain_text(tmp_path / "a.txt", ReadOptions())
    assert not documents.is_plain_text(tmp_path / "a.txt", ReadOptions(task="generate", target=("label",)))


def test_hidden_is_what_lies_below_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / ".cache" / "corp"
    (corpus / ".trash").mkdir(parents=True)
    (corpus / "a.txt").write_text(prose(300), "utf-8")
    (corpus / ".b.txt").write_text("no", "utf-8")
    (corpus / ".trash" / "c.txt").write_text("no", "utf-8")
    (tmp_path / ".cache" / "here").mkdir()
    monkeypatch.chdir(tmp_path / ".cache" / "here")
    for folder in (corpus, Path("../corp")):
        assert documents.is_plain_text(folder, GENERATE)
        (rows,) = documents.read_text(folder).splits.values()
        assert "".join(row.targets["text"] for row in rows) == prose(300)


def test_a_word_longer_than_a_window_is_cut() -> None:
    found = words.learn(stretches.TextRows(stretches.Files(()), np.zeros((0, 5), np.int64)), 260)
    text = "a" * 100 + " b"
    spans = windows(found, 30, text)
    assert "".join(text[begin:end] for begin, end in spans) == text
    assert max(found.counts([text[begin:end] for begin, end in spans])) <= 30
