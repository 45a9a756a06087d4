"""Several sources, a task each, as one data set."""

import csv

import numpy as np
import pytest
from PIL import Image

from ukulele.data import ReadOptions, mixed, named, read, read_labelled
from ukulele.errors import DataError
from ukulele.types import SPLITS, Joined, Target

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


def text_of(number, salt=0):
    draw = np.random.default_rng((salt, number))
    return " ".join([*draw.choice(WORDS, 8), str(number)])


def moods(count=60, salt=0, **columns):
    return [
        {"text": text_of(i, salt), "label": "ab"[i % 2]} | {name: cell(i) for name, cell in columns.items()}
        for i in range(count)
    ]


def pairs(count=60, salt=7):
    return [
        {"premise": text_of(i, salt), "hypothesis": text_of(i, salt + 1), "label": ["yes", "no"][i % 2]}
        for i in range(count)
    ]


def scores(count=60, salt=3):
    return [{"sentence": text_of(i, salt), "score": i / 7} for i in range(count)]


def table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def file_of(folder, text):
    (folder / "tasks.yaml").write_text(text)
    return folder / "tasks.yaml"


def found(data, code):
    return [finding for finding in data.findings if finding.code == code]


@pytest.fixture
def sources(tmp_path):
    return {
        "mood": table(tmp_path / "mood.csv", moods()),
        "stars": str(table(tmp_path / "stars.csv", scores())),
        "other": moods(80, 5),
    }


def pictures(folder):
    for seed in range(24):
        grid = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        path = folder / ("cat", "dog")[seed % 2] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grid).resize((40, 30), Image.Resampling.BICUBIC).save(path)
    return folder


# ---------------------------------------------------------------- a mapping


def test_several_sources_are_one_data_set(tmp_path, sources):
    data = read(sources, ReadOptions(), tmp_path / "cache")
    assert data.name == "mood+stars+other"
    assert (data.modality, data.columns) == ("text", ("text",))
    assert data.targets == (
        Target("mood", "classify", ("a", "b"), "label"),
        Target("stars", "regress", (), "score"),
        Target("other", "classify", ("a", "b"), "label"),
    )
    assert data.joined == (
        Joined("mood", ("text",), ("mood",)),
        Joined("stars", ("sentence",), ("stars",)),
        Joined("other", ("text",), ("other",)),
    )
    assert sum(map(len, data.splits.values())) == 200
    assert data.sampling is None
    for name, part in zip(sources, (sources["mood"], sources["stars"], sources["other"]), strict=True):
        alone = read(part, ReadOptions(), tmp_path / "cache")
        for split in SPLITS:
            ours = [row for row in data.splits[split] if row.targets[name] is not None]
            assert [row.inputs for row in ours] == [row.inputs for row in alone.splits[split]]
            assert [row.targets[name] for row in ours] == [
                row.targets[alone.targets[0].name] for row in alone.splits[split]
            ]
            for row in ours:
                assert row.targets.keys() == set(sources)
                assert sum(value is not None for value in row.targets.values()) == 1


def test_what_was_inferred_is_said_by_source(tmp_path, sources):
    data = read(sources, ReadOptions(), tmp_path / "cache")
    assert "stars: Task: a number, from the cells of 'score'." in data.notes
    assert any(note.startswith("mood: Target: column 'label'") for note in data.notes)
    assert data.notes[-1] == "Rows of 3 sources together: 140 train, 20 validation, 40 test."


def test_bad_rows_and_findings_of_all_sources(tmp_path):
    first, second = moods(100), moods(100, 1)
    first[3]["text"], second[5]["label"] = "", ""
    second.append(dict(second[0]))
    data = read({"one": first, "two": second}, ReadOptions(), tmp_path)
    assert [bad.reason for bad in data.quarantine] == ["empty text in column 'text'", "missing target 'label'"]
    assert [finding.message.split(":")[0] for finding in found(data, "bad-rows")] == ["one", "two"]
    assert {finding.evidence["source"] for finding in data.findings} <= {"one", "two"}
    (twice,) = [finding for finding in data.findings if finding.code.startswith("duplicate")]
    assert twice.message.startswith("two: ")


def test_too_many_bad_rows_are_counted_by_source(tmp_path):
    bad = moods(40)
    for row in bad[:4]:
        row["text"] = ""
    with pytest.raises(DataError, match=r"bad: 4 of 40 rows cannot be used"):
        read({"good": moods(1000, 2), "bad": bad}, ReadOptions(), tmp_path)


def test_one_named_source(tmp_path):
    data = read({"mood": moods()}, ReadOptions(task="classify"), tmp_path)
    assert data.name == "mood"
    assert data.targets == (Target("mood", "classify", ("a", "b"), "label"),)
    assert data.joined == (Joined("mood", ("text",), ("mood",)),)
    same = read({"label": moods()}, ReadOptions(), tmp_path)
    assert same.targets[0].column == ""


def test_options_apply_to_each_source(tmp_path):
    def user(i):
        return f"u{i // 5}"

    first = moods(100, user=user, note=lambda i: text_of(i, 11), kind=lambda i: "xyz"[i % 3])
    second = moods(60, 2, note=lambda i: text_of(i, 12), kind=lambda i: "uv"[i % 2])
    options = ReadOptions(target=("kind",), inputs=("note",), group="user")
    data = read({"one": first, "two": second}, options, tmp_path)
    assert [target.labels for target in data.targets] == [("x", "y", "z"), ("u", "v")]
    assert data.columns == ("note",)
    users = [set(rows.column("user")) - {None} for rows in data.splits.values()]
    assert sum(map(len, users)) == len(set.union(*users)) == 20
    assert "two: there is no column 'user', so --group does not apply." in data.notes
    with pytest.raises(DataError, match="no source has a column 'usr'") as error:
        read({"one": first, "two": second}, ReadOptions(group="usr"), tmp_path)
    assert "Did you mean 'user'?" in error.value.hint
    with pytest.raises(DataError, match="two: there is no column 'user'"):
        read({"one": first, "two": second}, ReadOptions(target=("user",)), tmp_path)


def test_a_column_of_splits_in_one_of_the_sources(tmp_path):
    first = moods(60, part=lambda i: ["train", "train", "test", "dev"][i % 4])
    data = read({"one": first, "two": moods(60, 2)}, ReadOptions(split="part"), tmp_path)
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 72, "validation": 21, "test": 27}


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ({}, ReadOptions(), "mapping of sources is empty"),
        ({"a b": moods()}, ReadOptions(), "'a b' cannot be the name"),
        ({"../up": moods()}, ReadOptions(), "'../up' cannot be the name"),
        ({3: moods()}, ReadOptions(), "3 cannot be the name"),
        ({"train": moods(), "test": moods(20, 2)}, ReadOptions(), "names train, test are those of splits"),
        ({"one": moods(), "two": "nowhere.csv"}, ReadOptions(), "two: nowhere.csv: no such file"),
        ({"one": moods(), "two": moods(60, 1)}, ReadOptions(task="classify"), "--task classify is for one target"),
        ({"one": moods(), "two": [{"text": "t", "label": "a"}] * 9}, ReadOptions(), "two: target 'two' has one class"),
        ({"one": moods(), "two": moods(60, 1)}, ReadOptions(test=0.0), "'one' has no test rows"),
        ({"one": moods(), "two": moods(60, 1, x=lambda i: i)}, ReadOptions(target=("label", "text")), "one: 2 targets"),
    ],
)
def test_sources_that_cannot_be_used(tmp_path, given, options, said):
    with pytest.raises(DataError) as error:
        read(given, options, tmp_path)
    assert said in error.value.message


def test_the_same_source_twice_asks_the_same(tmp_path):
    path = table(tmp_path / "mood.csv", moods())
    with pytest.raises(DataError, match="'one' and 'two' both ask for column 'label'"):
        read({"one": path, "two": str(path)}, ReadOptions(), tmp_path / "cache")


# ---------------------------------------------------------------- kinds of input


def test_texts_and_pairs_go_together(tmp_path):
    data = read({"mood": moods(), "nli": pairs()}, ReadOptions(), tmp_path)
    assert data.modality == "pair"
    assert data.columns == ("premise", "hypothesis")
    assert mixed(data)
    assert {len(row.inputs) for row in data.splits["train"]} == {1, 2}
    for row in data.splits["test"]:
        assert len(row.inputs) == (1 if row.targets["mood"] is not None else 2)
    assert not mixed(read({"nli": pairs(), "more": pairs(60, 20)}, ReadOptions(), tmp_path))
    assert not mixed(read(pairs(), ReadOptions(), tmp_path))


def test_pictures_go_with_pictures_alone(tmp_path):
    folder = pictures(tmp_path / "pets")
    data = read({"pet": folder, "again": pictures(tmp_path / "more")}, ReadOptions(), tmp_path / "cache")
    assert data.modality == "image"
    assert data.targets[0] == Target("pet", "classify", ("cat", "dog"), "label")
    assert all(row.inputs[0].is_file() for row in data.splits["test"])
    with pytest.raises(DataError, match="'pet' holds pictures and 'mood' texts") as error:
        read({"mood": moods(), "pet": folder}, ReadOptions(), tmp_path / "cache")
    assert "a run for each" in error.value.hint


# ---------------------------------------------------------------- across sources


def test_the_same_input_across_tasks(tmp_path):
    for split, one, two in (("train", 0, 30), ("dev", 40, 60), ("test", 80, 0)):
        table(tmp_path / "one" / f"{split}.csv", moods(30, one))
        table(tmp_path / "two" / f"{split}.csv", moods(10, two))
    data = read({"one": tmp_path / "one", "two": tmp_path / "two"}, ReadOptions(), tmp_path / "cache")
    (leak,) = found(data, "same-input-across-tasks")
    assert leak.severity == "warning"
    assert {k: leak.evidence[k] for k in ("train", "test", "count", "rows")} == {
        "train": "one", "test": "two", "count": 10, "rows": 10,
    }  # fmt: skip
    example = leak.evidence["examples"][0]
    line = int(example["test"].rpartition(":")[2])
    assert example["train"] == f"{tmp_path / 'one' / 'train.csv'}:{line}"
    assert example["input"] == text_of(line - 2)
    apart = read({"one": moods(60, 1), "two": moods(60, 2)}, ReadOptions(), tmp_path / "cache")
    assert not found(apart, "same-input-across-tasks")


# ---------------------------------------------------------------- a file of tasks


def test_a_file_of_tasks(tmp_path):
    table(
        tmp_path / "data" / "mood.csv", moods(60, 0, kind=lambda i: "xyz"[i % 3], note=lambda i: f"n {text_of(i, 9)}")
    )
    table(tmp_path / "stars.csv", scores())
    path = file_of(
        tmp_path,
        """
sampling: temperature:5
tasks:
  - {name: mood, data: data/mood.csv, target: label}
  - {name: stars, data: stars.csv, weight: 0.5}
  - {name: kind, data: data/mood.csv, target: kind, weight: 2}
  - {name: note, data: data/mood.csv, target: kind, text: note}
""",
    )
    with pytest.raises(DataError, match="'mood' and 'note' read the same data, and only one of them names its text"):
        read(path, ReadOptions(), tmp_path / "cache")
    path.write_text(path.read_text().replace("target: label}", "target: label, text: [text]}"))
    path.write_text(path.read_text().replace("weight: 2}", "weight: 2, text: text}"))
    data = read(str(path), ReadOptions(), tmp_path / "cache")
    assert data.sampling == "temperature:5"
    assert [(t.name, t.column, t.weight) for t in data.targets] == [
        ("mood", "label", 1.0), ("stars", "score", 0.5), ("kind", "", 2.0), ("note", "kind", 1.0),
    ]  # fmt: skip
    assert data.joined == (
        Joined("mood+kind", ("text",), ("mood", "kind")),
        Joined("stars", ("sentence",), ("stars",)),
        Joined("note", ("note",), ("note",)),
    )
    assert sum(map(len, data.splits.values())) == 180
    both = [row for rows in data.splits.values() for row in rows if row.targets["mood"] is not None]
    assert len(both) == 60
    assert all(row.targets["kind"] in "xyz" for row in both)


def test_flags_of_one_table_as_tasks_of_their_own(tmp_path):
    rows = moods(60, loud=lambda i: i % 2, glad=lambda i: int(i % 3 == 0), sad=lambda i: int(i % 4 == 0))
    table(tmp_path / "t.csv", rows)
    path = file_of(
        tmp_path,
        "tasks:\n- {name: loud, data: t.csv, target: loud}\n- {name: feels, data: t.csv, target: [glad, sad]}\n",
    )
    data = read(path, ReadOptions(), tmp_path / "cache")
    assert data.targets == (Target("loud", "classify", ("0", "1")), Target("feels", "multilabel", ("glad", "sad")))
    for row in data.splits["train"]:
        number = int(row.inputs[0].split()[-1])
        assert row.targets["loud"] == str(number % 2)
        assert ("glad" in row.targets["feels"]) == (number % 3 == 0)


def test_options_that_every_task_overrules_are_refused(tmp_path):
    table(tmp_path / "t.csv", moods())
    path = file_of(tmp_path, "tasks:\n- {name: mood, data: t.csv, target: label}\n")
    with pytest.raises(DataError, match="--target kind was given, and every task names its own"):
        read(path, ReadOptions(target=("kind",)), tmp_path / "cache")
    assert read(path, ReadOptions(inputs=("text",)), tmp_path / "cache").columns == ("text",)


def test_tasks_that_disagree_about_splits(tmp_path):
    table(tmp_path / "t.csv", moods(60, p=lambda i: ["train", "test"][i % 2], q=lambda i: "train"))
    path = file_of(
        tmp_path,
        "tasks:\n- {name: a, data: t.csv, target: label, split: p}\n- {name: b, data: t.csv, target: q, split: q}\n",
    )
    with pytest.raises(DataError, match="'a' and 'b' read the same data with other splits: 'p' and 'q'"):
        read(path, ReadOptions(), tmp_path / "cache")


# ---------------------------------------------------------------- labelled rows of several sources

KNOWN = (Target("mood", "classify", ("a", "b"), "label"), Target("nli", "classify", ("no", "yes"), "label"))
TRAINED = (Joined("mood", ("text",), ("mood",)), Joined("nli", ("premise", "hypothesis"), ("nli",)))


def test_labelled_rows_of_named_sources(tmp_path):
    given = {"nli": pairs(10), "mood": table(tmp_path / "m.csv", moods(20))}
    data = read_labelled(given, ("premise", "hypothesis"), KNOWN, "pair", tmp_path / "cache", joined=TRAINED)
    assert data.targets == KNOWN
    assert data.modality == "pair"
    rows = list(data.splits["test"])
    assert len(rows) == 30
    assert [len(row.inputs) for row in rows] == [2] * 10 + [1] * 20
    assert rows[0].targets == {"mood": None, "nli": "yes"}
    assert rows[10].targets == {"mood": "a", "nli": None}
    one = read_labelled({"mood": moods(20)}, ("text",), KNOWN, "text", joined=TRAINED)
    assert {row.targets["nli"] for row in one.splits["test"]} == {None}
    with pytest.raises(DataError, match="'moods' is no task of the model") as error:
        read_labelled({"moods": moods(20)}, ("text",), KNOWN, "text")
    assert "mood, nli" in error.value.hint


def test_labelled_rows_of_a_file_of_tasks(tmp_path):
    table(tmp_path / "t.csv", moods(20, kind=lambda i: "xy"[i % 2]))
    path = file_of(
        tmp_path,
        "tasks:\n- {name: mood, data: t.csv, target: label}\n- {name: kind, data: t.csv, target: kind}\n",
    )
    targets = (KNOWN[0], Target("kind", "classify", ("x", "y")))
    data = read_labelled(path, ("text",), targets, "text", tmp_path / "cache")
    assert data.splits["test"][1].targets == {"mood": "b", "kind": "y"}
    assert len(data.splits["test"]) == 20


# ---------------------------------------------------------------- NAME=PATH


def test_arguments_with_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd=name.csv").write_text("text,label\n")
    assert named(["data.csv"]) == "data.csv"
    assert named(["odd=name.csv"]) == "odd=name.csv"
    assert named(["one=odd=name.csv"]) == {"one": "odd=name.csv"}
    assert named(["a.1-x=p", "b_2=hub/id"]) == {"a.1-x": "p", "b_2": "hub/id"}
    assert named(["not a name=p"]) == "not a name=p"
    for arguments, said in (
        (["a.csv", "b.csv"], "2 sources were given, and a.csv, b.csv without a name"),
        (["a=x", "b.csv"], "b.csv without a name"),
        (["a=x", "odd=name.csv"], "odd=name.csv without a name"),
        (["a=x", "b="], "b= without a name"),
        (["a=x", "b c=y"], "b c=y without a name"),
    ):
        with pytest.raises(DataError) as error:
            named(arguments)
        assert said in error.value.message
        assert "NAME=PATH" in error.value.hint
    with pytest.raises(DataError, match="the name 'a' stands twice: x and y"):
        named(["a=x", "a=y"])
