"""Several targets on one table, with empty cells."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukulele.data import ReadOptions, read, read_labelled
from ukulele.errors import DataError
from ukulele.types import SPLITS, Target

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "haven",
    "inlet",
    "juniper",
    "kelp",
    "lagoon",
    "meadow",
    "north",
    "orchard",
]


def text_of(number):
    """Texts that are no near copies of each other."""
    draw = np.random.default_rng(number)
    return " ".join([*draw.choice(WORDS, 8), str(number)])


def rows_of(count, **columns):
    return [{"text": text_of(i), **{name: cell(i) for name, cell in columns.items()}} for i in range(count)]


def table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def finding(data, code):
    return [found for found in data.findings if found.code == code]


def every(data):
    return [row for rows in data.splits.values() for row in rows]


LABELS = ReadOptions(target=("mood", "stars"))


def test_empty_cells_are_none_and_no_row_is_lost(tmp_path):
    rows = rows_of(
        120,
        mood=lambda i: "" if i % 3 == 0 else "ab"[i % 2],
        stars=lambda i: "" if i % 3 == 1 else i / 7,
    )
    data = read(table(tmp_path / "t.csv", rows), LABELS, tmp_path / "cache")
    assert not data.quarantine
    found = {row.inputs[0]: row.targets for row in every(data)}
    assert len(found) == 120
    for i, row in enumerate(rows):
        assert found[row["text"]] == {
            "mood": None if i % 3 == 0 else "ab"[i % 2],
            "stars": None if i % 3 == 1 else pytest.approx(i / 7),
        }
    (empty,) = finding(data, "empty-cells")
    assert empty.severity == "info"
    assert empty.evidence == {"rows": 120, "counts": {"mood": 40, "stars": 40}}
    assert not finding(data, "bad-cells")


def test_cells_that_cannot_be_used_are_listed_and_their_rows_kept(tmp_path):
    rows = rows_of(120, mood=lambda i: "ab"[i % 2], stars=lambda i: {4: "n/a", 9: "?"}.get(i, i / 7))
    data = read(table(tmp_path / "t.csv", rows), LABELS, tmp_path / "cache")
    assert not data.quarantine
    (bad,) = finding(data, "bad-cells")
    assert bad.severity == "warning"
    assert (bad.evidence["target"], bad.evidence["count"], bad.evidence["rows"]) == ("stars", 2, 120)
    path = tmp_path / "t.csv"
    assert bad.evidence["examples"] == [
        f"{path}:6: target 'stars' is 'n/a', not a number",
        f"{path}:11: target 'stars' is '?', not a number",
    ]
    assert f"{path}:6" in bad.message
    found = {row.inputs[0]: row.targets["stars"] for row in every(data)}
    assert len(found) == 120
    assert found[rows[4]["text"]] is None
    assert not finding(data, "empty-cells")


def test_rows_without_any_target_or_input_are_set_aside(tmp_path):
    rows = rows_of(100, mood=lambda i: "ab"[i % 2], stars=lambda i: i / 7)
    rows[3] |= {"mood": " ", "stars": ""}
    rows[5] |= {"mood": "", "stars": "much"}
    rows[7] |= {"text": ""}
    data = read(table(tmp_path / "t.csv", rows), LABELS, tmp_path / "cache")
    assert [(bad.where.line, bad.reason) for bad in data.quarantine] == [
        (5, "no target that can be used: missing target 'mood', missing target 'stars'"),
        (7, "no target that can be used: missing target 'mood', target 'stars' is 'much', not a number"),
        (9, "empty text in column 'text'"),
    ]
    assert len(every(data)) == 97
    assert list(finding(data, "bad-rows")[0].evidence["reasons"]) == [
        "no target that can be used",
        "empty text in column 'text'",
    ]


CELLS = {
    "mood": st.sampled_from(["a", "b", "c", "", None, "  "]),
    "stars": st.sampled_from([1.5, 2.25, 3.0, "4.5", "", None, "n/a", "inf"]),
    "marks": st.sampled_from(["x", "y; z", "x;z", "", None, " ; ", ";"]),
}


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=7), st.integers(0, 3))
def test_no_row_with_a_target_is_ever_lost(tmp_path_factory, drawn, seed):
    """Whatever stands in the cells: rows with a usable target are kept, the others set aside."""
    base = [{"mood": "abc"[i % 3], "stars": 1 + i / 8, "marks": ["x", "y;z", "z"][i % 3]} for i in range(30)]
    rows = [{"text": text_of(i), **cells} for i, cells in enumerate([*base, *drawn])]
    options = ReadOptions(target=("mood", "stars", "marks"), max_bad=1.0, seed=seed)
    data = read(rows, options, tmp_path_factory.getbasetemp() / "lost")

    def usable(row):
        numbers = isinstance(row["stars"], float) or row["stars"] == "4.5"
        return bool((row["mood"] or "").strip()), numbers, bool((row["marks"] or "").replace(";", "").strip())

    kept = {row.where.line: row for row in every(data)}
    aside = {bad.where.line for bad in data.quarantine}
    assert not kept.keys() & aside
    assert len(every(data)) + len(data.quarantine) == len(rows)
    for line, row in enumerate(rows, 1):
        assert (line in kept) == any(usable(row)), row
        if line in kept:
            targets = kept[line].targets
            assert tuple(targets[name] is not None for name in ("mood", "stars", "marks")) == usable(row)


# ---------------------------------------------------------------- splits


def test_a_rare_target_reaches_every_split(tmp_path):
    """Four rows of 300 have it, each with a class of its own."""
    for seed in range(5):
        rows = rows_of(300, mood=lambda i: "ab"[i % 2], rare=lambda i: {7: "x", 80: "y", 200: "w", 250: "z"}.get(i, ""))
        data = read(rows, ReadOptions(target=("mood", "rare"), seed=seed), tmp_path)
        for split in SPLITS:
            assert any(row.targets["rare"] for row in data.splits[split]), (seed, split)
            assert {row.targets["mood"] for row in data.splits[split]} == {"a", "b"}


def test_splits_are_balanced_where_the_first_target_is_missing(tmp_path):
    rows = rows_of(400, mood=lambda i: "ab"[i % 2] if i < 100 else "", topic=lambda i: "xyzw"[i % 4])
    data = read(rows, ReadOptions(target=("mood", "topic")), tmp_path)
    for split, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        found = list(data.splits[split])
        assert sum(row.targets["mood"] == "a" for row in found) == pytest.approx(50 * share, abs=1)
        for topic in "xyzw":
            # among the rows with a mood the mood is what is balanced, hence not exactly
            assert sum(row.targets["topic"] == topic for row in found) == pytest.approx(100 * share, abs=9)


def test_one_target_is_split_in_exact_shares(tmp_path):
    data = read([(text_of(i), "ab"[i % 3 == 0]) for i in range(60)], ReadOptions(), tmp_path)
    counts = {split: sum(row.targets["label"] == "b" for row in rows) for split, rows in data.splits.items()}
    assert counts == {"train": 14, "validation": 2, "test": 4}


def given_splits(tmp_path, **cells):
    """train, validation and test files with the targets mood and stars, some cells overruled by split."""
    for at, split in enumerate(SPLITS):
        rows = [
            {"text": text_of(1000 * at + i), "mood": "ab"[i % 2], "stars": i / 7} | cells.get(split, {})
            for i in range(30)
        ]
        table(tmp_path / f"{split}.csv", rows)
    return tmp_path


@pytest.mark.parametrize("split", SPLITS)
def test_a_given_split_without_a_target_is_named(tmp_path, split):
    with pytest.raises(DataError, match=f"target 'stars' has no value in any {split} row; it has 60") as error:
        read(given_splits(tmp_path, **{split: {"stars": ""}}), LABELS, tmp_path / "cache")
    assert "--split" in error.value.hint


def test_a_given_split_without_any_target_is_left_out(tmp_path):
    data = read(given_splits(tmp_path, test={"stars": "", "mood": ""}), LABELS, tmp_path / "cache")
    assert finding(data, "split-without-target")[0].evidence == {"split": "test", "rows": 30}
    assert data.splits.keys() == set(SPLITS)
    assert not data.quarantine


def test_a_target_that_is_constant_where_it_is_trained_on(tmp_path):
    folder = given_splits(tmp_path, train={"stars": "3.5"})
    with pytest.raises(DataError, match=r"target 'stars' has the same value in every training row: 3\.5"):
        read(folder, LABELS, tmp_path / "cache")
    data = read(folder, ReadOptions(target=("mood",)), tmp_path / "cache")
    assert data.targets == (Target("mood", "classify", ("a", "b")),)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (lambda i: "only", "target 'other' has one class only: 'only'"),
        (lambda i: "only" if i < 9 else "", "target 'other' has one class only: 'only'"),
        (lambda i: "", "target 'other' has no value in any row"),
        (lambda i: f"user-{i}", "column 'other' looks like an identifier"),
    ],
)
def test_targets_that_cannot_be_learned_are_named(tmp_path, cell, said):
    with pytest.raises(DataError, match=said):
        read(rows_of(60, mood=lambda i: "ab"[i % 2], other=cell), ReadOptions(target=("mood", "other")), tmp_path)


def test_task_is_for_one_target(tmp_path):
    rows = rows_of(
        60, mood=lambda i: "ab"[i % 2], stars=lambda i: i % 5, loud=lambda i: i % 2, glad=lambda i: i % 3 > 1
    )
    with pytest.raises(DataError, match="--task regress is for one target; there are 2: mood, stars") as error:
        read(rows, ReadOptions(target=("mood", "stars"), task="regress"), tmp_path)
    assert "Leave --task out" in error.value.hint
    flags = ReadOptions(target=("loud", "glad"), task="multilabel")
    assert read(rows, flags, tmp_path).targets == (Target("labels", "multilabel", ("loud", "glad")),)
    with pytest.raises(DataError, match="--task classify is for one target"):
        read(rows, ReadOptions(target=("loud", "glad"), task="classify"), tmp_path)


def test_a_flag_among_others_is_a_task_of_its_own(tmp_path):
    rows = rows_of(60, mood=lambda i: "abc"[i % 3], loud=lambda i: i % 2)
    data = read(rows, ReadOptions(target=("mood", "loud")), tmp_path)
    assert data.targets == (Target("mood", "classify", ("a", "b", "c")), Target("loud", "classify", ("0", "1")))


# ---------------------------------------------------------------- the checks, where cells are empty


def test_an_empty_cell_is_no_conflict(tmp_path):
    rows = rows_of(60, mood=lambda i: "ab"[i % 2], topic=lambda i: "xy"[i % 2] if i % 3 else "")
    rows += [rows[0] | {"mood": "", "topic": "x"}, rows[2] | {"mood": "", "topic": "y"}]
    data = read(rows, ReadOptions(target=("mood", "topic")), tmp_path)
    (torn,) = finding(data, "conflicting-labels")
    assert torn.evidence["target"] == "topic"
    assert torn.evidence["count"] == 1
    assert sorted(torn.evidence["examples"][0]["labels"]) == ["x", "y"]


def test_classes_are_counted_where_they_are(tmp_path):
    rows = rows_of(200, mood=lambda i: "ab"[i % 2], topic=lambda i: "" if i % 2 else "rare" if i % 50 == 0 else "usual")
    data = read(rows, ReadOptions(target=("mood", "topic")), tmp_path)
    (found,) = finding(data, "imbalance")
    assert found.evidence["target"] == "topic"
    assert sum(found.evidence["counts"].values()) < 100


# ---------------------------------------------------------------- labelled rows of known targets

KNOWN = (Target("mood", "classify", ("a", "b")), Target("stars", "regress"))


def test_labelled_rows_need_one_of_several_targets(tmp_path):
    rows = rows_of(40, mood=lambda i: ["a", "b", "", "strange"][i % 4], stars=lambda i: "" if i % 4 == 2 else i / 3)
    data = read_labelled(rows, ("text",), KNOWN, "text", tmp_path, max_bad=0.5)
    assert len(data.splits["test"]) == 30
    assert [row.targets["mood"] for row in data.splits["test"]][:3] == ["a", "b", None]
    assert finding(data, "bad-cells")[0].evidence["examples"][0].endswith("unknown label 'strange' in 'mood'")
    assert {bad.reason for bad in data.quarantine} == {
        "no target that can be used: missing target 'mood', missing target 'stars'"
    }


def test_labelled_rows_of_a_table_that_lacks_a_target(tmp_path):
    data = read_labelled(rows_of(20, stars=lambda i: i / 3), ("text",), KNOWN, "text", tmp_path)
    assert data.targets == KNOWN
    assert data.splits["test"][2].targets == {"mood": None, "stars": pytest.approx(2 / 3)}
    assert any("no answers for mood" in note for note in data.notes)
    with pytest.raises(DataError, match="no column 'mood'") as error:
        read_labelled(rows_of(20, moods=lambda i: "a"), ("text",), KNOWN, "text", tmp_path)
    assert "'moods'" in error.value.hint


def test_a_target_is_found_by_its_column_or_its_name(tmp_path):
    renamed = (Target("irony", "classify", ("a", "b"), "label"),)
    for column in ("label", "irony"):
        rows = rows_of(10, **{column: lambda i: "ab"[i % 2]})
        data = read_labelled(rows, ("text",), renamed, "text", tmp_path)
        assert [row.targets for row in data.splits["test"]][:2] == [{"irony": "a"}, {"irony": "b"}]
    shared = (*renamed, Target("hate", "classify", ("a", "b"), "label"))
    with pytest.raises(DataError, match="column 'label' may answer irony, hate") as error:
        read_labelled(rows_of(10, label=lambda i: "a"), ("text",), shared, "text", tmp_path)
    assert "irony=PATH" in error.value.hint
