import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ukulele.data.sources import load
from ukulele.data.split_names import split_name
from ukulele.data.store import store_files
from ukulele.errors import DataError
from ukulele.tools.encodings import encoding


def cells(path: Path, column: str, cache: Path | None = None) -> list:
    frame = store_files([path], cache).frame
    return [cell for _, (block,) in frame.blocks([column]) for cell in block]


def lines(path: Path) -> list:
    frame = store_files([path], None).frame
    return [frame.where(row).line for row in range(len(frame))]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_quoted_newlines_keep_exact_lines(tmp_path):
    path = write(tmp_path / "a.csv", 'text,label\n"one\ntwo",a\n\nthree,b\n')
    assert cells(path, "text") == ["one\ntwo", "three"]
    assert lines(path) == [2, 5]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_delimiter_is_sniffed(tmp_path, delimiter):
    path = write(
        tmp_path / "a.csv",
        f"text{delimiter}label\nhello; you, there{delimiter}x\n".replace("; ", " ").replace(", ", " "),
    )
    assert store_files([path], None).frame.fields.keys() == {"text", "label"}


def test_wrong_width_is_set_aside_with_its_line(tmp_path):
    stored = store_files([write(tmp_path / "a.csv", "text,label\none,a\ntwo\nthree,b,c\nfour,d\n")], None)
    assert [(bad.where.line, bad.reason) for bad in stored.bad] == [
        (3, "1 cells where the header has 2"),
        (4, "3 cells where the header has 2"),
    ]
    assert len(stored.frame) == 2


def test_a_stray_quote_swallows_no_rows(tmp_path):
    path = write(tmp_path / "a.csv", 'text,label\none,a\n"two,b\nthree,c\nfour,d\n')
    stored = store_files([path], None)
    assert [bad.where.line for bad in stored.bad] == [3]
    assert cells(path, "text") == ["one", "three", "four"]
    assert lines(path) == [2, 4, 5]


def test_a_quote_open_at_the_end_of_the_last_cell(tmp_path):
    stored = store_files([write(tmp_path / "a.csv", 'label,text\na,one\nb,"two\nc,three\n')], None)
    assert [bad.where.line for bad in stored.bad] == [3]
    assert len(stored.frame) == 2


LABELLED = [f"text {i} of the file,{'pos' if i % 2 else 'neg'}" for i in range(40)]


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ('"The film was good,pos', '"Great" it was not,neg'),  # a cell that is opened in another row
        ('"The film, as I said, was good,pos', '"Great", it was not,neg'),
        ('"The film was good,pos', 'it was "great" not,neg'),
        ('"The film was good,pos', 'it was great",neg'),  # every quote in order, and rows between them
    ],
)
@pytest.mark.parametrize("apart", [1, 2, 5])
def test_a_stray_quote_that_a_later_row_closes(tmp_path, opened, closed, apart):
    rows = [*LABELLED]
    rows[10], rows[10 + apart] = opened, closed
    path = write(tmp_path / "a.csv", "\n".join(["text,label", *rows, ""]))
    stored = store_files([path], None)
    assert stored.bad[0].where.line == 12
    assert f"closed in line {12 + apart}" in stored.bad[0].reason or "do not fit" in stored.bad[0].reason
    read = [line for line in lines(path) if line not in {12, 12 + apart}]
    assert read == [line for line in range(2, 42) if line not in {12, 12 + apart}]
    assert not any("\n" in cell for cell in cells(path, "text"))


@pytest.mark.parametrize(
    "cell",
    ["one\ntwo", "well, yes\nno, then\nor, so", 'he said "yes"\nand, "no"\nend', "a,b,c\n\nd,pos or neg\n", '"\n"'],
)
def test_cells_of_several_lines_among_rows_of_one(tmp_path, cell):
    quoted = cell.replace('"', '""')
    path = write(tmp_path / "a.csv", "\n".join(["text,label", *LABELLED, f'"{quoted}",pos', *LABELLED, ""]))
    stored = store_files([path], None)
    assert not stored.bad
    assert cells(path, "text")[40] == cell
    assert len(stored.frame) == 81


@pytest.mark.parametrize("last", ['and he said "this" to me', '"This" is what he said'])
def test_quotes_that_are_not_doubled_in_a_cell_of_several_lines(tmp_path, last):
    text = "\n".join(["text,label", *LABELLED, '"Well, the first line', f'{last}",pos', ""])
    stored = store_files([write(tmp_path / "a.csv", text)], None)
    assert not stored.bad
    assert cells(tmp_path / "a.csv", "text")[40].startswith("Well, the first line\n")


def test_bare_quotes_of_tab_separated_files(tmp_path):
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"open only\ta\nplain\tb\n')
    assert cells(path, "text") == ['"open only', "plain"]


def test_lines_that_are_not_utf8_are_set_aside(tmp_path):
    content = "text,label\nschön,a\n".encode() + "schön,b\n".encode("latin-1") + b"fine,c\n"
    stored = store_files([write(tmp_path / "a.csv", content)], None)
    assert [(bad.where.line, bad.reason) for bad in stored.bad] == [(3, "not UTF-8")]
    assert "sch" in stored.bad[0].content
    assert len(stored.frame) == 2


@pytest.mark.parametrize("codec", ["latin-1", "utf-16", "utf-16-le", "utf-8-sig"])
def test_other_encodings_are_read_right_and_said(tmp_path, codec):
    path = write(tmp_path / "a.csv", "text,label\nschön,a\ncafé,b\n".encode(codec))
    assert cells(path, "text") == ["schön", "café"]
    said = {finding.code for finding in store_files([path], None).findings}
    assert said == (set() if codec == "utf-8-sig" else {"other-encoding"})


def test_encoding_of_plain_ascii(tmp_path):
    assert encoding(write(tmp_path / "a.csv", "a,b\n")) == "utf-8"


def test_names_of_columns_are_made_unique(tmp_path):
    stored = store_files([write(tmp_path / "a.csv", "text,,text\na,b,c\n")], None)
    assert list(stored.frame.fields) == ["text", "column 2", "text (2)"]
    assert stored.findings[0].code == "renamed-columns"


def test_very_long_cells(tmp_path):
    path = write(tmp_path / "a.csv", f'text,label\n"{"x" * 300_000}",a\n')
    before = csv.field_size_limit()
    assert len(cells(path, "text")[0]) == 300_000
    assert csv.field_size_limit() == before


def test_json_lines(tmp_path):
    rows = ['{"text": "a", "tags": ["x", "y"], "n": 2.0}', "", "{broken", "[1]", '{"text": null, "late": true}']
    path = write(tmp_path / "a.jsonl", "\n".join(rows))
    stored = store_files([path], None)
    assert [bad.where.line for bad in stored.bad] == [3, 4]
    assert lines(path) == [1, 5]
    assert cells(path, "tags") == [["x", "y"], None]
    assert cells(path, "n") == ["2", None]
    assert cells(path, "late") == [None, "true"]


def test_json_array_and_what_is_none(tmp_path):
    assert cells(write(tmp_path / "a.json", '[{"a": 1}, 2, {"a": 3}]'), "a") == ["1", "3"]
    for content in ("[]", '"text"', "{", "[1, 2]"):
        with pytest.raises(DataError):
            store_files([write(tmp_path / "b.json", content)], None)


def test_parquet_of_many_types(tmp_path):
    table = pa.table(
        {
            "text": pa.array(["a", None]).dictionary_encode(),
            "number": [1.5, float("nan")],
            "whole": pa.array([1, 2], pa.int64()),
            "flag": [True, False],
            "tags": [["x"], []],
            "image": pa.array([{"bytes": b"12", "path": None}, None]),
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    assert cells(path, "text") == ["a", None]
    assert cells(path, "number") == ["1.5", None]
    assert cells(path, "whole") == ["1", "2"]
    assert cells(path, "flag") == ["true", "false"]
    assert cells(path, "tags") == [["x"], []]
    assert cells(path, "image") == [b"12", None]


def test_parquet_with_class_names(tmp_path):
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    meta = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"label": [1, 0, -1]}).replace_schema_metadata(meta), path)
    assert cells(path, "label") == ["yes", "no", None]


def test_a_damaged_parquet_file(tmp_path):
    with pytest.raises(DataError, match="Parquet"):
        store_files([write(tmp_path / "a.parquet", b"PAR1 nothing")], None)


def test_the_table_is_stored_once_and_mended_when_damaged(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\none,a\ntwo\n")
    first = store_files([path], tmp_path / "cache")
    (stored,) = (tmp_path / "cache" / "tables").glob("*.arrow")
    stamp = stored.stat().st_mtime_ns
    again = store_files([path], tmp_path / "cache")
    assert stored.stat().st_mtime_ns == stamp
    assert again.bad == first.bad
    stored.write_bytes(b"ARROW1 damaged")
    assert cells(path, "text", tmp_path / "cache") == ["one"]
    path.write_text("text,label\nother,a\n")
    os.utime(path, ns=(1, 1))
    assert cells(path, "text", tmp_path / "cache") == ["other"]


def test_two_processes_store_the_same_table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"row {i},{i % 2}\n" for i in range(20_000)))
    code = (
        "import sys; from pathlib import Path; from ukulele.data.store import store_files;"
        "print(len(store_files([Path(sys.argv[1])], Path(sys.argv[2])).frame))"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(tmp_path / "cache")], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [run.communicate()[0].strip() for run in runs] == [b"20000", b"20000"]
    assert not list((tmp_path / "cache" / "tables").glob("*.part"))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.parquet"])
def test_empty_files(tmp_path, name):
    with pytest.raises(DataError, match=r"empty|Parquet"):
        load(write(tmp_path / name, b""), None)


def test_no_such_file_names_the_nearest(tmp_path):
    write(tmp_path / "reviews.csv", "a,b\n")
    with pytest.raises(DataError, match=r"reviews\.csv"):
        load(str(tmp_path / "revews.csv"), None)


def test_unknown_format_and_empty_folder(tmp_path):
    with pytest.raises(DataError, match="unknown format"):
        load(write(tmp_path / "a.xlsx", b"x"), None)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="no data set found"):
        load(tmp_path / "folder", None)


def test_split_files_and_one_without_targets(tmp_path):
    write(tmp_path / "train-00000-of-00002.csv", "text,label\na,x\n")
    write(tmp_path / "train-00001-of-00002.csv", "text,label\nb,y\n")
    write(tmp_path / "test.jsonl", '{"text": "c"}\n')
    write(tmp_path / "README.json", "[]")
    loaded = load(tmp_path, None)
    assert loaded.given.tolist() == [2, 0, 0]
    assert loaded.frame.take(["label"], pa.array([0, 1, 2]).to_numpy())[0] == [None, "x", "y"]
    assert any("README.json" in note for note in loaded.notes)


def test_split_names():
    assert [split_name(name) for name in ("Train", "dev", "x_valid", "testing", "contest", "")] == [
        "train", "validation", "validation", "test", None, None,
    ]  # fmt: skip


def test_hugging_face_data_sets(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    train = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    both = datasets.DatasetDict({"train": train, "test": train})
    both.save_to_disk(tmp_path / "saved")
    for source in (tmp_path / "saved", both):
        loaded = load(source, tmp_path / "cache")
        assert loaded.given.tolist() == [0, 0, 2, 2]
        assert loaded.frame.take(["label"], pa.array([0, 3]).to_numpy())[0] == ["no", "yes"]
    assert load(train, None).given is None


def test_lists_and_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = load(pandas.DataFrame({"text": ["a", None], 7: [1.0, float("nan")]}), None).frame
    assert list(frame.fields) == ["text", "7"]
    assert frame.take(["7"], pa.array([0, 1]).to_numpy())[0] == ["1", None]
    assert list(load([("a", "b", 0.5)], None).frame.fields) == ["text1", "text2", "label"]
    with pytest.raises(DataError, match="item 2"):
        load([("a", "b"), "c"], None)
    for nothing in ([], 7):
        with pytest.raises(DataError):
            load(nothing, None)


def test_columns_of_one_name(tmp_path):
    pandas = pytest.importorskip("pandas")
    twice = pandas.DataFrame([["some", 1, "x"], ["more", 2, "y"]], columns=["text", "label", "label"])
    mixed = pandas.DataFrame([["some", 1, "x"], ["more", 2, "y"]], columns=["text", 7, "7"])
    arrow = pa.Table.from_arrays([pa.array(["some", "more"]), pa.array([1, 2]), pa.array(["x", "y"])], list(twice))
    pq.write_table(arrow, tmp_path / "a.parquet")
    for source, name in ((twice, "label"), (mixed, "7"), (tmp_path / "a.parquet", "label")):
        loaded, names = load(source, None), [name, f"{name} (2)"]
        assert loaded.frame.take(names, pa.array([0, 1]).to_numpy()) == [["1", "2"], ["x", "y"]]
        assert [finding.evidence for finding in loaded.findings] == [{"columns": names[1:]}]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=12)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=12))
def test_what_csv_wrote_is_read_back(tmp_path, rows):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "label"), *rows])
    path = write(tmp_path / "a.csv", buffer.getvalue())
    stored = store_files([path], None)
    assert [
        tuple(row) for _, block in stored.frame.blocks(["text", "label"]) for row in zip(*block, strict=True)
    ] == rows
    assert not stored.bad


CELL = st.text(st.sampled_from('ab,;"\n\t '), max_size=10)


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=19),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_quotes_line_breaks_and_delimiters_are_read_back(tmp_path, rows, quoting, delimiter, end):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows([("t", "u", "label"), *rows])
    stored = store_files([write(tmp_path / "a.csv", buffer.getvalue())], None)
    assert not stored.bad
    assert [
        tuple(row) for _, block in stored.frame.blocks(["t", "u", "label"]) for row in zip(*block, strict=True)
    ] == rows


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200), st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".parquet"]))
def test_any_bytes_give_rows_or_a_data_error(tmp_path, content, suffix):
    path = write(tmp_path / f"a{suffix}", content)
    try:
        stored = store_files([path], None)
    except DataError as error:
        assert "a" + suffix in str(error)  # noqa: PT017
    else:
        assert all(bad.where.line for bad in stored.bad)
