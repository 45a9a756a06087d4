"""Tables of documents: whole in one split, in windows, where no answer is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from language_kit import prose
from ukulele import check
from ukulele.data import near, read_labelled, stretches
from ukulele.data import windows as in_windows
from ukulele.data.frame import Frame
from ukulele.errors import BadRowsError, DataError
from ukulele.models import words
from ukulele.models.passages import windows
from ukulele.types import Dataset, GoesOn, Target

LIMIT = 32
FREE = (Target("text", "generate", free=True),)


def table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    match path.suffix:
        case ".jsonl":
            path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
        case ".csv":
            pd.DataFrame(rows).to_csv(path, index=False)
        case _:
            pd.DataFrame(rows).to_parquet(path)
    return path


def documents(count: int, **more: str) -> list[dict[str, str]]:
    return [{"text": prose(5 + at % 30, at) + "Café ŵ.", "url": f"https://u.org/{at}", **more} for at in range(count)]


def whole(dataset: Dataset, split: str) -> list[str]:
    found, held = [], ""
    for row in dataset.splits[split]:  # type: ignore[index]
        held += row.targets["text"]
        if not isinstance(row.targets["text"], GoesOn):
            found.append(held)
            held = ""
    assert not held, "the last window of a document ends it"
    return found


def cut(dataset: Dataset) -> Dataset:
    found = words.learn(dataset.splits["train"], 300)
    return in_windows(dataset, partial(windows, found, LIMIT - 2), LIMIT)


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_row_is_a_document(tmp_path: Path, ending: str) -> None:
    rows = documents(60)
    dataset = check(table(tmp_path / f"docs{ending}", rows), task="generate", cache=str(tmp_path / "cache"))
    assert dataset.targets == FREE
    assert dataset.columns == ("text",)
    assert [len(dataset.splits[split]) for split in ("train", "validation", "test")] == [54, 3, 3]
    assert any("60 documents" in note and "'text'" in note for note in dataset.notes)
    found = cut(dataset)
    assert len(found.splits["train"]) > 2 * 54
    every = {split: whole(found, split) for split in found.splits}
    assert sorted(text for some in every.values() for text in some) == sorted(row["text"] for row in rows)
    for split in found.splits:
        assert every[split] == [row.targets["text"] for row in dataset.splits[split]]
    for row in found.splits["test"]:
        place = (row.where.line or 0) - {".jsonl": 1, ".csv": 0, ".parquet": 1}[ending]
        if ending != ".csv":  # of which a line is one of the file
            assert row.targets["text"] in rows[place]["text"]
    assert dataset.splits["test"].column("url")[0].startswith("https://")


def test_nearly_identical_documents_and_those_of_a_group_are_in_one_split() -> None:
    rows = [{"body": prose(8, at), "author": f"a{at % 20}"} for at in range(100)]
    rows += [{"body": row["body"].upper(), "author": "other"} for row in rows[:30]]
    dataset = check(pd.DataFrame(rows), task="generate", text="body")
    assert dataset.columns == ("body",)
    assert dataset.targets[0].column == "body"
    sides = {split: {row.targets["text"].lower() for row in rows} for split, rows in dataset.splits.items()}
    assert not sides["train"] & (sides["validation"] | sides["test"])
    grouped = check(pd.DataFrame(rows[:100]), task="generate", text="body", group="author")
    authors = {split: set(rows.column("author")) for split, rows in grouped.splits.items()}
    assert not authors["train"] & (authors["validation"] | authors["test"])


def test_given_splits_time_and_bad_rows() -> None:
    rows = [{"text": prose(4, at), "split": ("train", "val", "test")[at % 3], "day": str(at)} for at in range(30)]
    dataset = check(rows, task="generate")
    assert dataset.splits["test"].column("split") == ["test"] * 10
    late = check([{**row, "split": "?"} for row in rows], task="generate", time="day")
    assert min(map(int, late.splits["test"].column("day"))) > max(map(int, late.splits["train"].column("day")))
    rows[4]["text"] = " "
    with pytest.raises(BadRowsError, match="empty text"):
        check([*rows[:9], *([{**rows[4]}] * 3)], task="generate")
    kept = check(rows, task="generate", max_bad=0.2)
    assert [bad.where.line for bad in kept.quarantine] == [5]


@pytest.mark.parametrize(
    ("columns", "asked", "free"),
    [
        (("text", "url"), {}, True),
        (("notes",), {}, True),
        (("body", "id"), {}, True),
        (("question", "reply"), {"text": "question"}, True),
        (("question", "reply"), {}, False),
        (("text", "response"), {}, False),
        (("prompt", "text"), {}, False),
        (("text", "other"), {"target": "other"}, False),
    ],
)
def test_which_tables_are_documents(columns: tuple[str, ...], asked: dict[str, Any], free: bool) -> None:
    rows = [{name: f"{prose(2, at)} {name}" for name in columns} for at in range(30)]
    assert check(rows, task="generate", **asked).targets[0].free == free


def test_a_table_without_texts_is_none() -> None:
    with pytest.raises(DataError, match="no column of texts"):
        check([{"a": str(at), "b": str(at)} for at in range(30)], task="generate")


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet", ""])
def test_tables_are_evaluated_as_documents(tmp_path: Path, ending: str) -> None:
    rows = documents(9)
    source = table(tmp_path / f"docs{ending}", rows) if ending else pd.DataFrame(rows)
    dataset = read_labelled(source, ("text",), FREE, "text")
    assert whole(dataset, "test") == [row["text"] for row in rows]
    split = [{**row, "split": "test" if at < 2 else "train"} for at, row in enumerate(rows)]
    assert len(read_labelled(pd.DataFrame(split), ("text",), FREE, "text").splits["test"]) == 2
    renamed = [{"body": row["text"], "url": row["url"]} for row in rows]
    assert whole(read_labelled(renamed, ("text",), FREE, "text"), "test") == [row["text"] for row in rows]
    with pytest.raises(DataError, match="'text'"):
        read_labelled([{"a": prose(2), "b": prose(3)}] * 3, ("text",), FREE, "text")
    with pytest.raises(BadRowsError, match="empty text"):
        read_labelled([*rows, {"text": "", "url": ""}], ("text",), FREE, "text")


def test_long_texts_are_compared_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": "ab" * 50 + str(at)} for at in range(20)]
    held: list[int] = []
    minhash = near.minhash
    monkeypatch.setattr(near, "ROOM", 500)
    monkeypatch.setattr(near, "minhash", lambda texts: (held.append(len(texts)), minhash(texts))[1])
    assert sum(len(part) for part in check(rows, task="generate").splits.values()) == 20
    assert len(held) >= 5
    assert max(held) <= 5


def test_documents_of_two_sources() -> None:
    import pyarrow as pa

    from ukulele.data.document_table import Cells

    frame = Frame((pa.record_batch({"text": ["one", "two"], "\x00file": [0, 0], "\x00line": [1, 2]}),), ("f",))
    both = stretches.Both(Cells(frame, "text"), Cells(frame, "text"))
    rows = stretches.TextRows(both, np.array([[1, 0, 3, 1, 1], [2, 0, 2, 0, 1]]))
    assert [row.targets["text"] for row in rows] == ["two", "on"]
    assert [row.where.line for row in rows] == [2, 1]
    assert rows.column("text") == ["two", "on"]
