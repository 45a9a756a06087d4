"""Files of tasks: what they may say, and that whatever else they say is told with its place."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukulele.data.entry import Entry, Listed
from ukulele.data.task_file import read_tasks
from ukulele.errors import DataError


def write(folder: Path, text: str) -> Path:
    path = folder / "tasks.yaml"
    path.write_text(text, "utf-8")
    return path


def test_everything_that_a_file_may_say(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "b").mkdir()
    path = write(
        tmp_path,
        """
sampling: sqrt
tasks:
  - name: irony
    data: here/a.csv
    target: label
    text: [first, second]
    weight: 2
    split: part
  - {name: hate, data: here/b, target: [x, y]}
  - {name: hub, data: tweet_eval}
  - {name: far, data: owner/set}
  - {name: up, data: ../c.csv}
  - {name: root, data: /d.csv}
""",
    )
    assert read_tasks(path) == Listed(
        (
            Entry("irony", str(tmp_path / "here" / "a.csv"), ("label",), ("first", "second"), 2.0, "part"),
            Entry("hate", str(tmp_path / "here" / "b"), ("x", "y")),
            Entry("hub", "tweet_eval"),
            Entry("far", "owner/set"),
            Entry("up", str(tmp_path / "../c.csv")),
            Entry("root", "/d.csv"),
        ),
        "sqrt",
    )


GOOD = "{name: a, data: a.csv}"


@pytest.mark.parametrize(
    ("text", "said", "way_out"),
    [
        ("", "tasks.yaml: nothing was found", "tasks:"),
        ("- a", "tasks.yaml: ['a'] was found", "tasks:"),
        ("tasks: []", "`tasks` is []", "name: irony"),
        ("sampling: sqrt", "`tasks` is nothing", "name: irony"),
        (f"task:\n- {GOOD}", "unknown key 'task'", "Did you mean 'tasks'?"),
        (f"tasks:\n- {GOOD}\n- {{name: b, data: b.csv, taget: x}}", "tasks.yaml:3: unknown key 'taget'", "'target'"),
        (f"tasks:\n- {GOOD}\n- {GOOD}", "tasks.yaml:3: the name 'a' stands twice", "own name"),
        (f"tasks:\n- {GOOD}\n\n-\n  name: b", "tasks.yaml:5: the task has no `data`", "name and data"),
        ("tasks:\n- data: b.csv", "tasks.yaml:2: the task has no `name`", "name and data"),
        ("tasks:\n- words", "tasks.yaml:2: 'words' is no task", "name, data"),
        ("tasks:\n- {name: yes, data: b.csv}", "True cannot be the name", "letters"),
        ("tasks:\n- {name: a b, data: b.csv}", "'a b' cannot be the name", "letters"),
        ("tasks:\n- {name: a, data: [b.csv]}", "`data` is ['b.csv']", "path"),
        ("tasks:\n- {name: a, data: b.csv, weight: 0}", "`weight` is 0", "above 0"),
        ("tasks:\n- {name: a, data: b.csv, weight: -1.5}", "`weight` is -1.5", "above 0"),
        ("tasks:\n- {name: a, data: b.csv, weight: much}", "`weight` is 'much'", "above 0"),
        ("tasks:\n- {name: a, data: b.csv, weight: true}", "`weight` is True", "above 0"),
        ("tasks:\n- {name: a, data: b.csv, weight: .nan}", "`weight` is nan", "above 0"),
        ("tasks:\n- {name: a, data: b.csv, weight: .inf}", "`weight` is inf", "above 0"),
        ("tasks:\n- {name: a, data: b.csv, target: 3}", "`target` is 3", "column"),
        ("tasks:\n- {name: a, data: b.csv, text: [x, 3]}", "`text` is ['x', 3]", "column"),
        ("tasks:\n- {name: a, data: b.csv, split: [x]}", "`split` is ['x']", "column"),
        (f"sampling: often\ntasks:\n- {GOOD}", "`sampling` is 'often'", "temperature:T"),
        (f"sampling: temperature:0\ntasks:\n- {GOOD}", "`sampling` is 'temperature:0'", "temperature:T"),
        (f"sampling: sqrt\ntasks:\n- {GOOD}\nsampling: equal", "tasks.yaml:4: the key 'sampling' stands twice", "one"),
        ("tasks:\n- {name: a, data: b.csv,\n   data: c.csv}", "tasks.yaml:3: the key 'data' stands twice", "one"),
        ("tasks: [", "not YAML that can be read", "tasks:"),
        ("tasks:\n- !!python/object/apply:os.system [ls]", "not YAML that can be read", "tasks:"),
        ("tasks: !!int ''", "not YAML that can be read", "tasks:"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, said, way_out):
    with pytest.raises(DataError) as error:
        read_tasks(write(tmp_path, text))
    assert said in error.value.message
    assert way_out in error.value.hint


def test_files_that_are_not_there_or_no_text(tmp_path):
    path = write(tmp_path, f"tasks:\n- {GOOD}")
    with pytest.raises(DataError, match=r"task\.yaml: no such file") as error:
        read_tasks(tmp_path / "task.yaml")
    assert str(path) in error.value.hint
    path.write_bytes(b"tasks: \xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        read_tasks(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_tasks(tmp_path)


def test_a_file_that_holds_itself(tmp_path):
    with pytest.raises(DataError, match="is no task"):
        read_tasks(write(tmp_path, "tasks: &all\n- *all\n"))


PLAIN = st.recursive(
    st.sampled_from(
        ["name", "data", "a", "b.csv", "tasks", "sampling", "sqrt", "weight", "2", "~", "yes", "[", "{", "&x"]
    )
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: "[" + ", ".join(parts) + "]")
        | st.lists(st.tuples(inner, inner), max_size=3).map(
            lambda parts: "{" + ", ".join(f"{key}: {value}" for key, value in parts) + "}"
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.one_of(PLAIN, PLAIN.map(lambda text: f"tasks: [{text}]"), st.text(max_size=60)))
def test_wild_files_give_tasks_or_a_data_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "wild.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = read_tasks(path)
    except DataError as error:
        assert str(path) in error.message  # noqa: PT017
        return
    assert found.entries
    assert len({entry.name for entry in found.entries}) == len(found.entries)
