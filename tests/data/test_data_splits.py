from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from ukulele.data import ReadOptions, read
from ukulele.data.columnar import read_list
from ukulele.data.near import near_pictures, near_texts
from ukulele.data.split import by_groups, by_strata, by_time, one_more
from ukulele.data.store import store
from ukulele.errors import DataError

SHARES = (0.7, 0.1, 0.2)


def texts(data):
    return {split: {row.inputs for row in rows} for split, rows in data.splits.items()}


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=120), st.integers(0, 9))
def test_groups_stay_whole_and_every_row_has_a_part(rows, seed):
    strata = np.unique([row[0] for row in rows], return_inverse=True)[1]
    groups = np.unique([row[1] for row in rows], return_inverse=True)[1]
    part = by_strata(strata, groups, SHARES, seed)
    assert set(part.tolist()) <= {0, 1, 2}
    for group in set(groups.tolist()):
        assert len(set(part[groups == group].tolist())) == 1
    assert (part == by_strata(strata, groups, SHARES, seed)).all()


def test_strata_are_alike_in_every_part():
    strata = np.repeat([0, 1, 2], [600, 300, 100])
    part = by_strata(strata, np.arange(1000), SHARES, 0)
    for at, share in enumerate(SHARES):
        counts = np.bincount(strata[part == at], minlength=3)
        assert counts.tolist() == [round(share * 600), round(share * 300), round(share * 100)]
    assert (part != by_strata(strata, np.arange(1000), SHARES, 1)).any()


def test_classes_of_some_rows_are_trained_on_first():
    for seed in range(20):
        part = by_strata(np.array([0, 1, 1, 2, 2, 2]), np.arange(6), SHARES, seed)
        assert part[0] == 0
        assert sorted(part) == [0, 0, 0, 0, 1, 2]
        assert 0 in part[1:3]
        assert 0 in part[3:]


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SIZES, st.sampled_from([SHARES, (0.9, 0.1, 0.0), (0.5, 0.2, 0.3)]), st.integers(0, 9))
def test_parts_are_at_their_shares_and_every_class_is_trained_on(sizes, shares, seed):
    strata = np.repeat(np.arange(len(sizes)), sizes)
    part = by_strata(strata, np.arange(len(strata)), shares, seed)
    assert set(part.tolist()) <= {0, 1, 2}
    assert set(strata[part == 0]) == set(strata)
    able = sum(size for size in sizes if size > 1)
    held = np.bincount(part, minlength=3)[1:]
    for wanted, count in zip(able * np.array(shares[1:]), held.tolist(), strict=True):
        assert abs(count - wanted) <= max(1, 0.01 * wanted)
    counts = np.array([np.bincount(strata[part == at], minlength=len(sizes)) for at in range(3)])
    assert (np.abs(counts[1:].sum(axis=0) - np.array(sizes) * sum(shares[1:])) < 2).all()
    if shares == SHARES and able > 10:
        assert (counts[0, (np.array(sizes) > 2) & (counts[1] > 0)] >= 2).all()


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([3] * 500, [1050, 150, 300]),
        ([2] * 500, [700, 100, 200]),
        ([15] * 500, [5250, 750, 1500]),
        ([1000] * 3 + [3] * 200, [2520, 360, 720]),
    ],
)
def test_small_classes_share_the_places_of_held_out_parts(sizes, expected):
    strata = np.repeat(np.arange(len(sizes)), sizes)
    part = by_strata(strata, np.arange(len(strata)), SHARES, 0)
    assert np.bincount(part).tolist() == expected
    small = np.array(sizes)[strata] < 100
    assert np.bincount(part[small]).tolist() == [small.sum() * 7 // 10, small.sum() // 10, small.sum() // 5]


def test_near_rows_of_small_classes_leave_the_shares_as_they_are():
    strata = np.repeat(np.arange(503), [1000] * 3 + [3] * 500)
    groups = np.arange(len(strata))
    groups[3001::3] = groups[3000::3]  # two of three are nearly identical
    groups = np.unique(groups, return_inverse=True)[1]
    part = by_strata(strata, groups, SHARES, 0)
    assert set(strata[part == 0]) == set(strata)
    assert np.bincount(part[3000:]).tolist() == [1050, 150, 300]


def test_what_is_nearly_identical_throughout_a_class_is_trained_on():
    strata = np.repeat(np.arange(13), [100] * 3 + [4] * 10)
    part = by_strata(strata, np.concatenate([np.arange(300), 300 + np.repeat(np.arange(10), 4)]), SHARES, 0)
    assert (part[300:] == 0).all()


def test_a_family_of_strata_has_a_row_in_every_part():
    strata = np.repeat(np.arange(203), [1000, 1000, 4] + [3] * 200)
    for seed in range(20):
        part = by_strata(strata, np.arange(len(strata)), SHARES, seed, np.array([0, 0, 1] + [2] * 200))
        assert sorted(set(part[2000:2004].tolist())) == [0, 1, 2]


def test_rows_that_calibrate_are_like_those_that_test():
    """Rare classes are harder; coverage at .95 is where beta-binomial draws are in 99 of 100 cases."""
    sizes = np.array([1000] * 3 + [3] * 200 + [2] * 100 + [1] * 100)
    strata = np.repeat(np.arange(len(sizes)), sizes)
    each, inside = np.arange(len(strata)), []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        strange = rng.exponential(size=len(strata)) * np.where(sizes[strata] < 10, 6, 1)
        part = by_strata(strata, each, SHARES, seed)
        more = one_more(strata, each, part > 0, part == 0, 260, seed)
        assert more.sum() == 260
        assert (part[more] == 0).all()
        assert set(strata[(part == 0) & ~more]) == set(strata)
        assert sizes[strata[more]].min() == 2
        for few in (2, 3):
            shares = [(sizes[strata[rows]] == few).mean() for rows in (part == 2, more)]
            assert shares[0] == pytest.approx(shares[1], abs=0.01)
        place = int(np.ceil(261 * 0.95))
        covered = (strange[part == 2] <= np.sort(strange[more])[place - 1]).sum()
        low, high = betabinom.ppf([0.005, 0.995], (part == 2).sum(), place, 261 - place)
        inside.append(low <= covered <= high)
    assert np.mean(inside) >= 0.95


def test_one_part_more_keeps_groups_whole_and_leaves_what_is_not_free():
    rng = np.random.default_rng(0)
    strata, groups = rng.integers(0, 30, 1000), np.unique(rng.integers(0, 700, 1000), return_inverse=True)[1]
    part = by_strata(strata, groups, SHARES, 0)
    free = (part == 0) & (groups % 3 > 0)
    more = one_more(strata, groups, part > 0, free, 100, 0)
    assert not more[~free].any()
    assert 90 <= more.sum() <= 110
    assert not set(groups[more]) & set(groups[~more])
    assert (more == one_more(strata, groups, part > 0, free, 100, 0)).all()
    assert (more != one_more(strata, groups, part > 0, free, 100, 1)).any()


@pytest.mark.parametrize("sizes", [[200] * 5, [500, 300, 200], [900, 50, 50], [100] * 10])
def test_named_groups_leave_no_part_empty(sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    part = by_groups(np.arange(1000) % 2, groups, SHARES, 0)
    assert (np.bincount(part, minlength=3) > 0).all()
    assert np.bincount(part).argmax() == 0
    for group in range(len(sizes)):
        assert len(set(part[groups == group])) == 1


def test_too_few_groups():
    with pytest.raises(DataError, match="2 groups"):
        by_groups(np.zeros(4, int), np.array([0, 0, 1, 1]), SHARES, 0)


def test_equal_times_stay_together():
    part = by_time(np.repeat([1.0, 2.0, 3.0, 4.0], 5), (0.6, 0.2, 0.2))
    assert part.tolist() == [0] * 10 + [1] * 5 + [2] * 5 or len({*part[10:15].tolist()}) == 1
    assert (np.diff(part) >= 0).all()


def near(rows):
    frame = store(lambda: [read_list([(row, "x") for row in rows])], ("<list>",), None, None).frame
    return near_texts(frame, ("text",), np.arange(len(rows)))


def test_near_texts():
    groups = near(
        [
            "The film is a wonderful journey through the mountains of Nepal, and I loved every minute of it.",
            "the film is a wonderful journey through the mountains of nepal and i loved every minute of it",
            "The film is a wonderful journey through the mountains of Nepal, and I loved every second of it.",
            "The book is a dreadful slog through the swamps of Florida, and nobody should ever read it.",
            "no",
            "No!",
            "ok",
            "",
            "Ünïcode",
            "ünïcode!",
        ]
    )
    assert groups[0] == groups[1]
    assert len({groups[0], groups[3], groups[4], groups[6], groups[7], groups[8]}) == 6
    assert groups[4] == groups[5]
    assert groups[8] == groups[9]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=30))
def test_a_text_and_its_loud_copy_are_near_whatever_stands_around(rows):
    groups = near([*rows, *(f"  {row}!! " for row in rows)])
    assert (groups[: len(rows)] == groups[len(rows) :]).all()


def test_near_pictures():
    content = np.array([1, 2, 3, 1, 5], np.uint64)
    look = np.array([[0xFFFF0000FFFF, 7], [0xFFFF0000FFFE, 7], [0x0F0F0F0F0F0F, 99], [1, 1], [1, 1]], np.uint64)
    groups = near_pictures(content, look)
    assert groups[0] == groups[1] == groups[3]
    assert groups[2] not in (groups[0], groups[4])
    assert groups[4] != groups[3]  # no structure: told apart by the file


def labelled(count=100, **columns):
    return [
        {
            "text": f"text number {i} says {i * 7919 % 1009}",
            "label": "ab"[i % 2],
            **{k: f(i) for k, f in columns.items()},
        }
        for i in range(count)
    ]


def test_groups_and_times_of_columns(tmp_path):
    grouped = read(labelled(user=lambda i: f"u{i // 5}"), ReadOptions(group="user"), tmp_path)
    users = [set(rows.column("user")) for rows in grouped.splits.values()]
    assert sum(map(len, users)) == len(set.union(*users)) == 20
    timed = read(labelled(day=lambda i: f"2024-01-01T00:{i % 60:02}:00"), ReadOptions(time="day"), tmp_path)
    assert max(timed.splits["train"].column("day")) < min(timed.splits["validation"].column("day"))
    assert max(timed.splits["validation"].column("day")) < min(timed.splits["test"].column("day"))


def partners(data, split="train"):
    """The groups of several rows of a split, as sets of texts."""
    rows, found = data.splits[split], {}
    for row, group in zip(rows, rows.groups, strict=True):
        found.setdefault(group, set()).add(row.inputs[0])
    return {frozenset(texts) for texts in found.values() if len(texts) > 1}


def test_rows_keep_the_groups_that_splits_were_made_by(tmp_path):
    source = labelled(user=lambda i: f"u{i // 5}" if i < 95 else "")
    source[98]["text"] = source[97]["text"].upper()  # of nobody, but nearly the same
    data = read(source, ReadOptions(group="user", seed=3), tmp_path)
    by_user = {}
    for row in source[:95]:
        by_user.setdefault(row["user"], set()).add(row["text"])
    expected = {frozenset(texts) for texts in by_user.values()} | {frozenset(row["text"] for row in source[97:99])}
    assert frozenset.union(*map(frozenset, [partners(data, split) for split in data.splits])) == expected
    assert partners(read(source, ReadOptions(), tmp_path)) <= {frozenset(row["text"] for row in source[97:99])}
    some = data.splits["train"].take([4, -1, 4])
    assert some.groups.tolist() == data.splits["train"].groups[[4, -1, 4]].tolist()


def test_rows_of_given_splits_have_the_groups_of_the_column_alone(tmp_path):
    source = labelled(user=lambda i: f"u{i // 5}", side=lambda i: ("train", "val", "test")[i // 5 % 3])
    source[1]["text"] = source[0]["text"].upper()
    assert read(source, ReadOptions(split="side"), tmp_path).splits["train"].groups is None
    data = read(source, ReadOptions(split="side", group="user"), tmp_path)
    assert partners(data, "test") == {
        frozenset(row["text"] for row in source[at : at + 5]) for at in range(10, 100, 15)
    }


def test_rows_without_partners_have_no_groups(tmp_path):
    for asked in (ReadOptions(), ReadOptions(group="user"), ReadOptions(time="day")):
        rows = read(labelled(user=str, day=str), asked, tmp_path).splits["train"]
        assert rows.groups is None


def test_groups_of_the_column_alone_are_drawn_together(tmp_path):
    def together(data, split):
        rows = data.splits[split]
        found = {}
        for row, number in zip(rows, rows.clusters.tolist(), strict=True):
            found.setdefault(number, set()).add(row.inputs[0])
        return set(map(frozenset, found.values()))

    source = labelled(user=lambda i: f"u{i // 5}" if i < 90 else "", side=lambda i: "test" if i >= 80 else "train")
    source[1]["text"] = source[7]["text"].upper()  # nearly identical, of two users
    for column in (None, "side"):  # rows of a given test split, too
        data = read(source, ReadOptions(group="user", split=column), tmp_path)
        found = set.union(*(together(data, split) for split in data.splits))
        users = {frozenset(row["text"] for row in source[at : at + 5]) for at in range(0, 90, 5)}
        assert found == users | {frozenset([row["text"]]) for row in source[90:]}
    assert read(source, ReadOptions(), tmp_path).splits["train"].clusters is None
    assert read(labelled(user=str), ReadOptions(group="user"), tmp_path).splits["train"].clusters is None


@pytest.mark.parametrize(("users", "said"), [(1, "one group"), (9, "9 groups"), (10, None)])
def test_test_rows_of_few_groups_are_told_of(tmp_path, users, said):
    def side(i):
        return "train" if i < 60 else "val" if i < 80 else "test"

    source = labelled(user=lambda i: f"u{i % users}" if i >= 80 else f"t{i // 5}", side=side)
    data = read(source, ReadOptions(split="side", group="user"), tmp_path)
    found = [finding.message for finding in data.findings if finding.code == "few-groups"]
    assert [said in message for message in found] == ([True] if said else [])


def test_groups_and_times_together_are_refused_where_splits_are_made(tmp_path):
    source = labelled(user=lambda i: f"u{i // 5}", day=str)
    with pytest.raises(DataError, match="'day' and by the groups in column 'user'") as error:
        read(source, ReadOptions(group="user", time="day"), tmp_path)
    assert "--group" in error.value.hint


def test_given_splits_are_held_against_groups_and_times(tmp_path):
    def found(**asked):
        source = labelled(user=lambda i: f"u{i % 10}", day=str, side=lambda i: ("train", "train", "val", "test")[i % 4])
        data = read(source, ReadOptions(split="side", **asked), tmp_path)
        return {finding.code: finding for finding in data.findings if finding.code.endswith("-across-splits")}

    assert not {"group-across-splits", "time-across-splits"} & set(found())
    rows = len(labelled())
    both = found(group="user", time="day")
    newest = max(i for i in range(rows) if i % 4 < 2)
    early = {"validation": sum(i % 4 == 2 for i in range(newest)), "test": sum(i % 4 == 3 for i in range(newest))}
    assert both["time-across-splits"].evidence == {"column": "day", "rows": early}
    assert both["time-across-splits"].severity == "warning"
    expected = {"column": "user", "groups": 10, "of": 10, "rows": rows // 2}
    assert both["group-across-splits"].evidence == expected
    with pytest.raises(DataError, match="no column 'nobody'"):
        found(group="nobody")


def test_given_splits_that_keep_groups_and_times_say_nothing(tmp_path):
    rows = len(labelled())

    def side(i):
        return "train" if i < rows // 2 else "val" if i < 3 * rows // 4 else "test"

    source = labelled(user=lambda i: f"{side(i)} {i % 3}", day=str, side=side)
    data = read(source, ReadOptions(split="side", group="user", time="day"), tmp_path)
    assert not {"group-across-splits", "time-across-splits"} & {finding.code for finding in data.findings}


def test_times_that_cannot_be_read(tmp_path):
    data = read(labelled(day=lambda i: "soon" if i == 3 else str(i)), ReadOptions(time="day"), tmp_path)
    assert [(bad.where.line, bad.reason) for bad in data.quarantine] == [
        (4, "no time that can be read in column 'day'")
    ]


@pytest.mark.parametrize(
    ("usual", "other", "said"),
    [
        (lambda i: f"2024-01-01T00:{i % 60:02}:00", "2023", "is a year, in most rows it is a date such as"),
        (lambda i: str(2000 + i % 20), "20240101", "is a date without hyphens, in most rows it is a year"),
        (lambda i: f"202401{i % 28 + 1:02}", "2023-05-01", "is a date such as 2024-05-31, in most rows it is a date w"),
        (str, "2023-05-01", "is a date such as 2024-05-31, in most rows it is a number"),
    ],
)
def test_times_of_another_form_are_set_aside(tmp_path, usual, other, said):
    rows = labelled(day=lambda i: other if i in (0, 7) else usual(i))
    data = read(rows, ReadOptions(time="day"), tmp_path)
    assert [bad.where.line for bad in data.quarantine] == [1, 8]
    assert all(said in bad.reason and bad.reason.endswith("as in <list>:2") for bad in data.quarantine)
    assert sum(map(len, data.splits.values())) == 98
    with pytest.raises(DataError, match=r"20 of 100 rows(.|\n)*<list>:1: the time in column 'day' is"):
        read(labelled(day=lambda i: other if i % 5 == 0 else usual(i)), ReadOptions(time="day"), tmp_path)


def test_numbers_that_look_like_years_among_others_are_one_form(tmp_path):
    data = read(labelled(day=lambda i: str(1950 + 3 * i)), ReadOptions(time="day"), tmp_path)
    assert not data.quarantine
    assert max(map(int, data.splits["train"].column("day"))) < min(map(int, data.splits["test"].column("day")))


def test_a_column_of_splits(tmp_path):
    names = ["train", "Dev", "test", "train", "train"]
    data = read(labelled(split=lambda i: "??" if i == 7 else names[i % 5]), ReadOptions(), tmp_path)
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 60, "validation": 20, "test": 19}
    assert "is no split" in data.quarantine[0].reason
    unrelated = read(labelled(split=lambda i: f"banana {i}"), ReadOptions(), tmp_path)
    assert any("holds no names of splits" in note for note in unrelated.notes)


@pytest.mark.parametrize(
    ("files", "sizes"),
    [
        (("train", "test"), {"train": 90, "validation": 10, "test": 100}),
        (("train", "val"), {"train": 90, "validation": 10, "test": 100}),
        (("train", "dev", "test"), {"train": 100, "validation": 100, "test": 100}),
        (("train",), {"train": 70, "validation": 10, "test": 20}),
    ],
)
def test_splits_of_files(tmp_path: Path, files, sizes):
    for at, name in enumerate(files):
        rows = [f"text {at} number {i} about {i * 7919 % 1009},{'ab'[i % 2]}" for i in range(100)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    data = read(tmp_path, ReadOptions(), tmp_path / "cache")
    assert {split: len(rows) for split, rows in data.splits.items()} == sizes
    found = texts(data)
    assert len(set.union(*found.values())) == 100 * len(files)


def test_near_duplicates_are_on_one_side(tmp_path):
    rows = [
        (f"Item {i // 2} is really the {i // 2 * 7919 % 1009}th" + "!" * (i % 2), "ab"[i // 2 % 2]) for i in range(200)
    ]
    data = read(rows, ReadOptions(), tmp_path)
    side = {row.inputs[0].rstrip("!"): split for split, rows in data.splits.items() for row in rows}
    for split, found in data.splits.items():
        assert all(side[row.inputs[0].rstrip("!")] == split for row in found)


@pytest.mark.parametrize("options", [ReadOptions(test=0.9, validation=0.2), ReadOptions(test=-1)])
def test_impossible_shares(tmp_path, options):
    with pytest.raises(DataError, match="shares"):
        read(labelled(), options, tmp_path)


ALIKE = "the same long text about the weather in the mountains"


@pytest.mark.parametrize(
    ("rows", "options", "said", "way_out"),
    [
        (labelled(day=lambda _i: "2024-01-01"), ReadOptions(time="day"), "column 'day' has too few", "another --time"),
        (labelled(day=lambda i: str(i % 2)), ReadOptions(time="day"), "column 'day' has too few", "another --time"),
        ([(ALIKE + "!" * i, "ab"[i % 2]) for i in range(40)], ReadOptions(), "40 of 40 rows are near", "copies"),
        (
            [{"text": ALIKE + "!" * i, "label": "ab"[i % 2], "user": f"u{i % 5}"} for i in range(40)],
            ReadOptions(group="user"),
            "1 groups",
            "another --group",
        ),
        ([("one", "a"), ("two", "b"), ("three", "c")], ReadOptions(), "3 rows are too few", "each class"),
    ],
)  # fmt: skip
def test_a_split_without_rows_is_refused(tmp_path, rows, options, said, way_out):
    with pytest.raises(DataError, match=said) as error:
        read(rows, options, tmp_path)
    assert way_out in error.value.hint


def test_splits_of_unknown_names_are_left_out_with_a_note(tmp_path):
    datasets = pytest.importorskip("datasets")
    of = datasets.Dataset.from_list
    rows = labelled(40)
    plain = [{"text": f"unlabelled {i}", "label": None} for i in range(1200)]
    data = read(datasets.DatasetDict(train=of(rows), unsupervised=of(plain)), ReadOptions(), tmp_path)
    assert sum(map(len, data.splits.values())) == 40
    assert not data.quarantine
    assert "Not read: unsupervised (1,200 rows)." in data.notes
