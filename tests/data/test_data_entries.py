import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ukulele.data import ReadOptions, read, read_inputs, read_labelled, write_quarantine
from ukulele.errors import DataError, StorageError
from ukulele.types import BadRow, Target, Where

LABEL = (Target("label", "classify", ("a", "b")),)


def sentences(count=60, target=lambda i: "ab"[i % 2]):
    return [{"text": f"sentence {i} of {i * 7919 % 1009}", "label": target(i)} for i in range(count)]


def table(path: Path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def codes(data):
    return [finding.code for finding in data.findings]


def finding(data, code):
    (found,) = (finding for finding in data.findings if finding.code == code)
    return found


def picture(seed=0, size=(40, 30)):
    grid = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    for seed in range(30):
        path = tmp_path / "pets" / ("cat", "dog")[seed % 2] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(path)
    return tmp_path / "pets"


# ---------------------------------------------------------------- rows


def test_rows_are_a_view(tmp_path):
    data = read(table(tmp_path / "a.csv", sentences()), ReadOptions(), tmp_path / "cache")
    rows = data.splits["train"]
    assert [row.where.line for row in rows] == [rows[at].where.line for at in range(len(rows))]
    assert rows[-1] == list(rows)[-1]
    with pytest.raises(IndexError):
        rows[len(rows)]
    some = rows.take([3, 0, 3]).take([2, 1])
    assert list(some) == [rows[3], rows[0]]
    assert some.column("text") == [rows[3].inputs[0], rows[0].inputs[0]]
    assert list(rows.take([])) == []


def test_rows_across_many_batches(tmp_path):
    rows = sentences(20_000)
    data = read(table(tmp_path / "a.csv", rows), ReadOptions(), tmp_path / "cache")
    order = np.random.default_rng(0).permutation(len(data.splits["train"]))
    shuffled = data.splits["train"].take(order)
    for at, row in enumerate(shuffled):
        assert row.inputs[0] == rows[row.where.line - 2]["text"]
        if at < 20:
            assert row == data.splits["train"][int(order[at])]


# ---------------------------------------------------------------- inference


@pytest.mark.parametrize(
    ("cells", "kind", "labels"),
    [
        (lambda i: "ab"[i % 2], "classify", ("a", "b")),
        (lambda i: i % 12, "classify", tuple(map(str, range(12)))),
        (lambda i: i % 5 + 0.5 * (i % 7), "regress", ()),
        (lambda i: i * i + 1000, "regress", ()),
        (lambda i: ["x", "y; z", "z"][i % 3], "multilabel", ("x", "y", "z")),
        (lambda i: i % 70, "regress", ()),
        (lambda i: f"{i % 2}.0", "classify", ("0.0", "1.0")),
    ],
)
def test_kinds(tmp_path, cells, kind, labels):
    data = read(table(tmp_path / "a.csv", sentences(120, cells)), ReadOptions(), tmp_path / "cache")
    assert data.targets == (Target("label", kind, labels),)
    assert any("Task:" in note for note in data.notes)


def test_classes_by_number_when_there_are_many_rows_of_each(tmp_path):
    data = read(sentences(700, lambda i: i % 77), ReadOptions(), tmp_path)
    assert data.targets[0].kind == "classify"
    assert data.targets[0].labels[:3] == ("0", "1", "2")


def test_task_can_be_overruled(tmp_path):
    data = read(sentences(60, lambda i: i % 3), ReadOptions(task="regress"), tmp_path)
    assert data.splits["train"][0].targets == {"label": 0.0}
    with pytest.raises(DataError, match="no task"):
        read(sentences(), ReadOptions(task="guess"), tmp_path)


def test_columns_of_flags(tmp_path):
    rows = [{"text": f"words {i}", "joy": i % 2, "fear": int(i % 3 == 0)} for i in range(60)]
    for options in (ReadOptions(), ReadOptions(target=("joy", "fear"))):
        data = read(rows, options, tmp_path)
        assert data.targets == (Target("labels", "multilabel", ("joy", "fear")),)
        found = {row.inputs[0]: row.targets["labels"] for rows in data.splits.values() for row in rows}
        assert found["words 3"] == ("joy", "fear")
        assert found["words 2"] == ()
    again = read_labelled(rows, data.columns, data.targets, "text")
    assert again.splits["test"][3].targets == {"labels": ("joy", "fear")}


def test_several_targets_are_a_task_each(tmp_path):
    rows = [{**row, "stars": i % 5 + i % 3 / 2, "topic": "xyz"[i % 3]} for i, row in enumerate(sentences())]
    data = read(rows, ReadOptions(target=("label", "stars", "topic")), tmp_path)
    assert data.targets == (
        Target("label", "classify", ("a", "b")),
        Target("stars", "regress"),
        Target("topic", "classify", ("x", "y", "z")),
    )
    assert data.columns == ("text",)
    assert sum("Task '" in note for note in data.notes) == 3
    assert data.splits["train"][0].targets.keys() == {"label", "stars", "topic"}


def test_pairs_by_name_and_by_choice(tmp_path):
    rows = [{"premise": f"p {i}", "hypothesis": f"h {i}", "label": "ab"[i % 2], "note": f"n {i}"} for i in range(40)]
    data = read(rows, ReadOptions(), tmp_path)
    assert (data.modality, data.columns) == ("pair", ("premise", "hypothesis"))
    data = read(rows, ReadOptions(inputs=("note", "premise")), tmp_path)
    assert data.splits["train"][0].inputs == ("n 0", "p 0")
    with pytest.raises(DataError, match="one, or two"):
        read(rows, ReadOptions(inputs=("note", "premise", "hypothesis")), tmp_path)


def test_unusual_names(tmp_path):
    rows = [{"nr": i, "was": f"a longer remark number {i}", "kind": "xy"[i % 2]} for i in range(40)]
    data = read(rows, ReadOptions(), tmp_path)
    assert data.columns == ("was",)
    assert data.targets[0].name == "kind"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ReadOptions(target=("lable",)), "'label'"),
        (ReadOptions(inputs=("txt",)), "'text'"),
        (ReadOptions(group="user"), "The columns are: text, label"),
        (ReadOptions(target=("text",)), "identifier"),
        (ReadOptions(target=("label",), inputs=("label",)), "both input and target"),
    ],
)
def test_columns_that_do_not_fit(tmp_path, options, said):
    with pytest.raises(DataError) as caught:
        read(sentences(), options, tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (sentences(60, lambda i: "a"), "one class only"),
        (sentences(60, lambda i: i + 10_000), "identifier"),
        (sentences(60, lambda i: f"user-{i}"), "identifier"),
        ([{"text": f"t {i}"} for i in range(9)], "no target column"),
        ([("a", "x"), ("b", "y")], "too few"),
        (sentences(60, lambda i: None if i else "a"), "cannot be used"),
    ],
)
def test_data_that_cannot_be_learned_from(tmp_path, rows, said):
    with pytest.raises(DataError, match=said):
        read(rows, ReadOptions(), tmp_path)


def test_a_header_and_nothing_else(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n")
    with pytest.raises(DataError, match="no rows"):
        read(tmp_path / "a.csv", ReadOptions(), tmp_path)


# ---------------------------------------------------------------- bad rows


def test_bad_rows_are_listed(tmp_path):
    rows = sentences(200)
    rows[3]["text"], rows[5]["label"], rows[7]["text"] = "  ", "", ""
    data = read(table(tmp_path / "a.csv", rows), ReadOptions(), tmp_path / "cache")
    assert [(bad.where.line, bad.reason) for bad in data.quarantine] == [
        (5, "empty text in column 'text'"),
        (7, "missing target 'label'"),
        (9, "empty text in column 'text'"),
    ]
    assert sum(map(len, data.splits.values())) == 197
    assert finding(data, "bad-rows").evidence["count"] == 3
    write_quarantine(tmp_path / "quarantine.csv", data.quarantine)
    with (tmp_path / "quarantine.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert listed[1] == {
        "file": str(tmp_path / "a.csv"),
        "line": "7",
        "reason": "missing target 'label'",
        "content": "sentence 5 of 244 | ",
    }


def test_too_many_bad_rows_stop(tmp_path):
    rows = sentences(100, lambda i: "" if i < 6 else "ab"[i % 2])
    path = table(tmp_path / "a.csv", rows)
    with pytest.raises(DataError, match=r"6 of 100 rows.*\n.*a\.csv:2: missing target") as caught:
        read(path, ReadOptions(), tmp_path / "cache")
    assert "--max-bad" in caught.value.hint
    assert len(read(path, ReadOptions(max_bad=0.06), tmp_path / "cache").quarantine) == 6


def test_targets_that_are_no_numbers(tmp_path):
    rows = sentences(100, lambda i: "n/a" if i == 4 else i / 7)
    data = read(rows, ReadOptions(), tmp_path)
    assert [(str(bad.where), bad.reason) for bad in data.quarantine] == [
        ("<list>:5", "target 'label' is 'n/a', not a number")
    ]


def test_quarantine_in_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_quarantine(tmp_path / "file" / "quarantine.csv", [BadRow(Where("a", 1), "x")])


# ---------------------------------------------------------------- findings


def test_leaks_duplicates_and_conflicts(tmp_path):
    train = [*sentences(40), {"text": "twice", "label": "a"}, {"text": "twice", "label": "b"}]
    table(tmp_path / "train.csv", train)
    table(tmp_path / "test.csv", [*[{"text": f"t {i}", "label": "ab"[i % 2]} for i in range(20)], sentences(1)[0]])
    data = read(tmp_path, ReadOptions(validation=0), tmp_path / "cache")
    leak = finding(data, "duplicate-across-splits")
    assert leak.severity == "warning"
    assert leak.evidence["count"] == 1
    assert leak.evidence["examples"][0]["train"].endswith("train.csv:2")
    assert leak.evidence["examples"][0]["test"].endswith("test.csv:22")
    assert finding(data, "duplicate-rows").evidence["count"] == 1
    torn = finding(data, "conflicting-labels")
    assert torn.evidence["examples"][0]["labels"] == ["a", "b"]
    assert [where.rpartition(":")[2] for where in torn.evidence["examples"][0]["rows"]] == ["42", "43"]


def test_labels_in_another_order_are_no_conflict(tmp_path):
    said = ["joy;anger", "anger; joy;anger", "joy"]
    rows = sentences(60, lambda i: said[i % 3])
    rows += [{"text": "twice", "label": said[0]}, {"text": "twice", "label": said[1]}]
    data = read(table(tmp_path / "a.csv", rows), ReadOptions(), tmp_path / "cache")
    assert data.targets == (Target("label", "multilabel", ("anger", "joy")),)
    assert {row.targets["label"] for part in data.splits.values() for row in part} == {("anger", "joy"), ("joy",)}
    assert "conflicting-labels" not in codes(data)
    rows[-1]["label"] = "anger"
    data = read(table(tmp_path / "b.csv", rows), ReadOptions(), tmp_path / "cache")
    assert finding(data, "conflicting-labels").evidence["examples"][0]["labels"] == ["anger; joy", "anger"]


def test_classes_small_absent_and_uneven(tmp_path):
    data = read(
        sentences(300, lambda i: "rare" if i == 7 else "few" if i % 50 == 1 else "many"), ReadOptions(), tmp_path
    )
    assert finding(data, "small-classes").evidence["counts"] == {"rare": 1}
    absent = [f for f in data.findings if f.code == "class-absent-from-split"]
    assert {f.evidence["split"]: f.evidence["labels"] for f in absent}["test"] == ["rare"]
    assert finding(data, "imbalance").evidence["largest"] == "many"


def test_small_classes_that_made_splits_lack_are_no_warning(tmp_path):
    """100 classes of three rows: each split lacks some, all are trained on."""
    data = read(sentences(300, lambda i: f"c{i % 100}"), ReadOptions(), tmp_path)
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 210, "validation": 30, "test": 60}
    absent = [f for f in data.findings if f.code == "class-absent-from-split"]
    assert {f.evidence["split"]: f.severity for f in absent} == {"validation": "info", "test": "info"}
    assert "are not measured, too small for every split: " in absent[1].message
    assert len(absent[1].evidence["labels"]) == 40
    given = sentences(300, lambda i: f"c{i % 100}")
    given = [{**row, "split": "test" if at < 50 else "dev" if at < 99 else "train"} for at, row in enumerate(given)]
    absent = [f for f in read(given, ReadOptions(), tmp_path).findings if f.code == "class-absent-from-split"]
    assert {f.evidence["split"]: f.severity for f in absent} == {"validation": "info", "test": "warning"}
    assert not any("too small" in f.message for f in absent)


def test_rows_that_calibrate_are_drawn_as_those_that_test(tmp_path):
    """A tail of 300 classes of three rows."""
    rows = sentences(2000, lambda i: f"c{i % 300}" if i < 900 else "ab"[i % 2])
    plain = read(rows, ReadOptions(), tmp_path)
    data = read(rows, ReadOptions(calibrate="auto"), tmp_path)
    assert len(data.apart) == 140
    assert {row.inputs for row in data.splits["test"]} == {row.inputs for row in plain.splits["test"]}
    rare = [
        sum(len(row.targets["label"]) > 1 for row in part) / len(part) for part in (data.apart, data.splits["test"])
    ]
    assert rare == pytest.approx([0.45, 0.45], abs=0.01)
    assert {row.targets["label"] for row in data.splits["train"]} == {row["label"] for row in rows}


def test_groups_too_large_to_calibrate_are_told_by_their_size(tmp_path):
    rows = [{**row, "who": f"p{at // 40}"} for at, row in enumerate(sentences(2000, lambda i: "ab"[i % 2]))]
    with pytest.raises(DataError, match=r"groups of more than 12 rows, a tenth of 120, are not taken") as caught:
        read(rows, ReadOptions(calibrate="120", group="who"), tmp_path)
    assert "a larger number if there are groups a little larger than 12" in caught.value.hint
    assert len(read(rows, ReadOptions(calibrate="400", group="who"), tmp_path).apart) >= 400


def test_constant_columns_and_wrong_encodings(tmp_path):
    rows = [{**row, "lang": "en", "empty": None} for row in sentences()]
    rows[2]["text"] = "it â€™s broken"
    data = read(rows, ReadOptions(), tmp_path)
    assert finding(data, "constant-column").evidence["columns"] == ["lang", "empty"]
    assert finding(data, "wrong-encoding").evidence["examples"][0]["row"] == "<list>:3"


def test_clean_data_give_no_findings(tmp_path):
    assert codes(read(sentences(), ReadOptions(), tmp_path)) == []


def test_a_split_without_targets_is_left_out(tmp_path):
    table(tmp_path / "train.csv", sentences(50))
    table(tmp_path / "test.csv", [{"text": "unknown"}])
    data = read(tmp_path, ReadOptions(), tmp_path / "cache")
    assert finding(data, "split-without-target").evidence["split"] == "test"
    assert sum(map(len, data.splits.values())) == 50
    assert data.splits.keys() == {"train", "validation", "test"}


# ---------------------------------------------------------------- pictures


def test_a_folder_of_pictures(folder, tmp_path):
    (folder / "notes.txt").write_text("hello")
    (folder / "cat" / "Thumbs.db").write_text("hello")
    (folder / "dog" / "bad.jpg").write_bytes(b"\xff\xd8\xff broken")
    data = read(folder, ReadOptions(), tmp_path / "cache")
    assert data.modality == "image"
    assert data.targets == (Target("label", "classify", ("cat", "dog")),)
    assert finding(data, "stray-files").evidence["files"] == ["notes.txt", "cat/Thumbs.db"]
    (bad,) = data.quarantine
    assert bad.where == Where(str(folder / "dog" / "bad.jpg"))
    row = data.splits["train"][0]
    assert row.inputs[0].is_file()
    assert row.where.file == str(row.inputs[0])
    assert data.splits["train"].column("label")[0] == row.targets["label"]


def test_split_folders_of_pictures(folder, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "both" / split).parent.mkdir(exist_ok=True)
        import shutil

        shutil.copytree(folder, tmp_path / "both" / split)
    data = read(tmp_path / "both", ReadOptions(), tmp_path / "cache")
    assert len(data.splits["test"]) == 30
    assert finding_counts(data) >= 30
    assert any("given validation rows are the test split" in note for note in data.notes)


def finding_counts(data):
    return sum(f.evidence["count"] for f in data.findings if f.code == "duplicate-across-splits")


def test_a_table_of_pictures(folder, tmp_path):
    rows = [{"file": str(p.relative_to(folder)), "kind": p.parent.name} for p in sorted(folder.rglob("*.png"))]
    rows.append({"file": "cat/absent.png", "kind": "cat"})
    data = read(table(folder / "labels.csv", rows), ReadOptions(), tmp_path / "cache")
    assert data.columns == ("file",)
    assert "no such picture" in data.quarantine[0].reason
    assert data.quarantine[0].where == Where(str(folder / "labels.csv"), 32)
    assert all(row.inputs[0].is_file() for row in data.splits["train"])


def test_pictures_in_memory(tmp_path):
    data = read([(picture(i), "ab"[i % 2]) for i in range(20)], ReadOptions(), tmp_path)
    assert data.modality == "image"
    assert Image.open(io.BytesIO(data.splits["train"][0].inputs[0])).size == (40, 30)


# ---------------------------------------------------------------- known shapes


def test_inputs_of_every_kind(folder, tmp_path):
    rows, bad = read_inputs(["one", " ", "two"], ("text",), "text")
    assert [row.inputs for row in rows] == [("one",), ("two",)]
    assert [row.where.line for row in rows] == [1, 3]
    assert bad[0].where.line == 2
    rows, _ = read_inputs([("a", "b")], ("s1", "s2"), "pair")
    assert rows[0].inputs == ("a", "b")
    rows, _ = read_inputs(table(tmp_path / "a.csv", sentences(3)), ("text",), "text", tmp_path / "cache")
    assert [row.where.line for row in rows] == [2, 3, 4]
    assert rows[0].targets == {}
    rows, _ = read_inputs([{"text": "x", "more": 1}], ("text",), "text")
    assert rows[0].inputs == ("x",)
    (tmp_path / "one.csv").write_text("whatever\nx\n")
    assert read_inputs(tmp_path / "one.csv", ("text",), "text")[0][0].inputs == ("x",)
    first = sorted((folder / "cat").glob("*.png"))[0]
    for source, count in ((folder, 30), (first, 1), ([str(first), folder / "dog"], 16), ([picture()], 1)):
        rows, _ = read_inputs(source, ("path",), "image")
        assert len(rows) == count
    (folder / "broken.png").write_bytes(b"no")
    rows, bad = read_inputs([folder / "broken.png", first], ("image",), "image", tmp_path / "cache")
    assert [row.inputs for row in rows] == [(first,)]
    assert bad[0].where.file == str(folder / "broken.png")


@pytest.mark.parametrize(
    ("source", "columns", "modality"),
    [([], ("text",), "text"), (["a"], ("s1", "s2"), "pair"), ("absent.csv", ("text",), "text"),
     ("absent.jpg", ("path",), "image"), ([{"other": "x", "more": "y"}], ("text",), "text")],
)  # fmt: skip
def test_inputs_that_do_not_fit(source, columns, modality):
    with pytest.raises(DataError):
        read_inputs(source, columns, modality)


def test_labelled_rows_of_a_known_shape(folder, tmp_path):
    rows = sentences(100, lambda i: "strange" if i == 5 else "ab"[i % 2])
    data = read_labelled(table(tmp_path / "a.csv", rows), ("text",), LABEL, "text", tmp_path / "cache")
    assert data.splits.keys() == {"test"}
    assert len(data.splits["test"]) == 99
    assert data.quarantine[0].reason == "unknown label 'strange' in 'label'"
    with pytest.raises(DataError, match="'text'"):
        read_labelled([{"txt": "a", "label": "b"}], ("text",), LABEL, "text")
    pets = (Target("label", "classify", ("cat", "dog")),)
    assert len(read_labelled(folder, ("path",), pets, "image").splits["test"]) == 30


def test_labelled_rows_of_a_source_with_splits(tmp_path):
    for name, count in (("train", 30), ("test", 20)):
        table(tmp_path / f"{name}.csv", sentences(count))
    data = read_labelled(tmp_path, ("text",), LABEL, "text")
    assert len(data.splits["test"]) == 20
    assert "test split" in data.notes[0]


CELL = st.one_of(
    st.none(), st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.lists(st.text(max_size=3))
)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.lists(st.fixed_dictionaries({"text": CELL, "label": CELL}, optional={"x": CELL}), min_size=1, max_size=40))
def test_wild_records_give_a_data_set_or_a_data_error(tmp_path_factory, rows):
    cache = tmp_path_factory.getbasetemp() / "wild"
    try:
        data = read(rows, ReadOptions(max_bad=0.9), cache)
    except DataError as error:
        assert error.message  # noqa: PT017
        return
    assert sum(map(len, data.splits.values())) + len(data.quarantine) == len(rows)
    for split in data.splits.values():
        for row in split:
            assert row.inputs[0].strip()
            assert row.targets["label"] is not None


def test_of_a_table_with_a_column_of_splits_the_test_rows_are_evaluated() -> None:
    rows = [
        {"text": f"a text of its own {n}", "label": "ab"[n % 2], "split": ("train", "test", "?")[n // 12 + n // 20]}
        for n in range(21)
    ]
    found = read_labelled(rows, ("text",), LABEL, "text")
    assert [row.inputs[0] for row in found.splits["test"]] == [row["text"] for row in rows[12:20]]
    assert "Of data the test split is evaluated." in found.notes
    assert any("1 rows are of no split" in note for note in found.notes)
    kinds = [{"text": row["text"], "label": row["label"], "split": f"kind {n % 3}"} for n, row in enumerate(rows)]
    assert len(read_labelled(kinds, ("text",), LABEL, "text").splits["test"]) == 21
    target = (Target("split", "classify", ("train", "test", "?")),)
    assert len(read_labelled(rows, ("text",), target, "text").splits["test"]) == 21
