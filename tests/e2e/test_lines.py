"""Answers in files: whole JSON, tables with a header, whatever there is to write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ukulele.doors.lines import save
from ukulele.errors import DataError


@pytest.mark.parametrize("lines", [[], [{"a": 1}], [{"a": 1}, {"a": "ü"}]])
def test_json_is_one_array_and_jsonl_lines(lines: list[dict[str, object]], tmp_path: Path) -> None:
    save(tmp_path / "a.json", iter(lines))
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == lines
    save(tmp_path / "a.jsonl", iter(lines))
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()] == lines


def test_a_table_has_the_header_that_is_known(tmp_path: Path) -> None:
    save(tmp_path / "a.csv", [], ("row", "label"))
    assert (tmp_path / "a.csv").read_bytes() == b"row,label\r\n"
    save(tmp_path / "a.tsv", [{"row": "x", "label": "y"}])
    assert (tmp_path / "a.tsv").read_bytes() == b"row\tlabel\r\nx\ty\r\n"
    with pytest.raises(DataError, match=r"\.json was expected"):
        save(tmp_path / "a.xml", [])
