"""Rows of several sources as one sequence: whatever is asked of them, they are the list they stand for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukulele.data.columnar import read_records
from ukulele.data.join import JoinedRows
from ukulele.data.rows import Shape, TableRows
from ukulele.data.store import store
from ukulele.errors import DataError
from ukulele.types import Row, Target

TASKS = ("mood", "topic", "stars")


def part(number, size):
    """Rows of one source, which has a target of its own and a column that others lack."""
    task = TASKS[number % len(TASKS)]
    kind = "regress" if task == "stars" else "classify"
    records = [
        {"text": f"text {i} of {number}", task: str(i), "both": f"b{number}.{i}", f"own{number}": i}
        for i in range(max(size, 1))
    ]
    frame = store(lambda: [read_records(records)], (f"<{number}>",), None, None).frame
    return TableRows(frame, Shape(("text",), False, (Target(task, kind),)), np.arange(size))


def plain(parts):
    """The list that joined rows stand for."""
    return [
        Row(row.inputs, {task: row.targets.get(task) for task in TASKS}, row.where) for rows in parts for row in rows
    ]


SIZES = st.lists(st.integers(0, 7), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data(), SIZES)
def test_joined_rows_are_a_list(data, sizes):
    parts = [part(number, size) for number, size in enumerate(sizes)]
    joined, expected = JoinedRows(tuple(parts), TASKS), plain(parts)
    for _ in range(data.draw(st.integers(0, 3), label="takes")):
        size = len(expected)
        places = data.draw(st.lists(st.integers(-size, size - 1), max_size=12) if size else st.just([]), label="places")
        joined, expected = joined.take(places), [expected[at] for at in places]
    assert len(joined) == len(expected)
    assert list(joined) == expected
    assert [joined[at] for at in range(len(expected))] == expected
    assert [joined[at] for at in range(-len(expected), 0)] == expected
    for at in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError):
            joined[at]
        with pytest.raises(IndexError):
            joined.take([at])
    assert joined.column("text") == [row.inputs[0] for row in expected]
    own = [int(row.inputs[0].split()[1]) if row.inputs[0].endswith("of 0") else None for row in expected]
    assert joined.column("own0") == [None if number is None else str(number) for number in own]


def test_a_column_that_no_source_has():
    joined = JoinedRows((part(0, 3), part(1, 0)), TASKS)
    for rows in (joined, joined.take([]), joined.take([2, 0])):
        with pytest.raises(DataError, match="no source has a column 'own7'") as error:
            rows.column("own7")
        assert "own0" in error.value.hint
    assert joined.take([]).column("own1") == []


def test_rows_are_read_when_touched():
    read = []

    class Counted(TableRows):
        def _read(self, rows):
            read.extend(rows)
            return super()._read(rows)

        def take(self, indices):
            rows = super().take(indices)
            return Counted(rows.frame, rows.shape, rows.index)

    parts = [Counted(rows.frame, rows.shape, rows.index) for rows in (part(0, 50), part(1, 50))]
    joined = JoinedRows(tuple(parts), TASKS).take(range(99, -1, -1)).take([3, 97, 3])
    assert not read
    assert joined[1].inputs == ("text 2 of 0",)
    assert read == [2]
    assert [row.inputs[0] for row in joined] == ["text 46 of 1", "text 2 of 0", "text 46 of 1"]
    assert sorted(read) == [2, 2, 46, 46]


def test_many_rows_in_a_random_order():
    parts = [part(number, 3000) for number in range(3)]
    order = np.random.default_rng(0).permutation(9000)
    joined = JoinedRows(tuple(parts), TASKS).take(order)
    for row, at in zip(joined, order.tolist(), strict=True):
        assert row.inputs[0] == f"text {at % 3000} of {at // 3000}"
        assert row.where.file == f"<{at // 3000}>"


def test_groups_of_parts_are_told_apart():
    one, two, three = (part(number, 4) for number in range(3))
    assert JoinedRows((one, two), TASKS).groups is None
    for of, kind in (("bound", "groups"), ("named", "clusters")):
        bound = [replace(rows, **{of: np.array([0, 1, 0, 3])}) for rows in (one, three)]
        joined = JoinedRows((bound[0], two, bound[1].take([2, 0])), TASKS)
        groups = getattr(joined, kind).tolist()
        pairs = {(i, j) for i in range(10) for j in range(i) if groups[i] == groups[j]}
        assert pairs == {(2, 0), (9, 8)}
        assert getattr(joined.take([9, 2, 0]), kind).tolist() == [groups[9], groups[2], groups[0]]
