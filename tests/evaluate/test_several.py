"""What several tasks in one model gained, and which of them belong together."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukulele.evaluate import Compared, Grouping, change, delta_m, delta_m_seeds, grouping, in_words
from ukulele.tasks import Classify, Regress
from ukulele.types import Metric

NAMES = ("irony", "hate", "offensive", "emotion")


def right(answers) -> np.ndarray:
    """Row statistics of which `ACCURACY` takes the mean."""
    return np.asarray(answers, np.float64).reshape(-1, 1)


ACCURACY = Metric("accuracy", lambda table, counts: float(counts @ table[:, 0] / counts.sum()))
ERROR = replace(ACCURACY, name="error", higher_is_better=False)


def compared(ours, theirs, rows, metric=ACCURACY, task="") -> Compared:
    return Compared(metric, right(ours), right(theirs), np.asarray(rows), task)


def random_pair(rows, seed: int, task: str = "") -> Compared:
    generator = np.random.default_rng(seed)
    return compared(generator.random(len(rows)) < 0.8, generator.random(len(rows)) < 0.7, rows, task=task)


# ---------------------------------------------------------------- what it gained


def test_the_mean_relative_change_is_signed_so_that_positive_is_better() -> None:
    up = compared([1, 1, 1, 0] * 20, [1, 1, 0, 0] * 20, range(80))  # .75 for .5: + 50 %
    down = compared([1, 1, 1, 1] * 20, [1, 1, 1, 0] * 20, range(80, 160), ERROR)  # 1 for .75, lower is better: - 33 %
    found = delta_m([up, down], 160)
    assert found is not None
    assert found.value == pytest.approx(100 * (0.5 - 1 / 3) / 2)
    assert found.low < found.value < found.high
    assert found.n == 160
    assert found.method == "mean over 2 tasks, paired percentile bootstrap over joined rows, 1,000 draws, 95 %"
    assert delta_m([up, down], 160) == found


def test_several_seeds_are_averaged_and_drawn() -> None:
    pairs = [random_pair(range(100), 0, "a"), random_pair(range(100, 200), 1, "b")]
    one, same = delta_m(pairs, 200), delta_m_seeds([pairs] * 3, 200)
    assert one is not None
    assert same is not None
    assert (same.value, same.low, same.high) == pytest.approx((one.value, one.low, one.high))
    assert same.method.startswith("mean over 2 tasks and 3 seeds, paired hierarchical percentile bootstrap over seeds")
    other = [random_pair(range(100), 2, "a"), replace(pairs[1], ours=np.ones_like(pairs[1].ours))]
    two, both = delta_m(other, 200), delta_m_seeds([pairs, other], 200)
    assert two is not None
    assert both is not None
    assert both.value == pytest.approx((one.value + two.value) / 2)
    assert both.high - both.low > max(one.high - one.low, two.high - two.low), "the seeds differ, too"


def test_a_task_that_cannot_be_counted_with_one_seed_is_left_out_with_all() -> None:
    pairs = [random_pair(range(50), 0, "a"), random_pair(range(50, 100), 1, "b")]
    nothing = [pairs[0], replace(pairs[1], theirs=np.zeros_like(pairs[1].theirs))]
    found = delta_m_seeds([pairs, nothing], 100)
    assert found is not None
    assert found.value == pytest.approx(change(pairs[0].ours.mean(), pairs[0].theirs.mean()))
    assert "left out: b (accuracy is 0 for what it is compared with)" in found.method


def test_a_negative_score_to_compare_with_keeps_the_sign_of_the_change() -> None:
    r2 = Regress("t").metrics[0]
    table = Regress("t").table
    truth = [1.0, 2.0, 3.0, 4.0]
    ours, theirs = table([1.1, 2.1, 2.9, 3.9], truth), table([4.0, 3.0, 2.0, 1.0], truth)
    assert r2.value(theirs, np.ones(4)) < 0
    found = delta_m([Compared(r2, ours, theirs, np.arange(4))], 4)
    assert found is not None
    assert found.value > 100


def test_a_change_relative_to_almost_nothing_lies_within_its_interval() -> None:
    draw = np.random.default_rng(0)
    task, truth = Regress("t"), draw.normal(size=24)
    ours = task.table(list(truth + draw.normal(size=24) / 2), truth.tolist())
    theirs = task.table(list(truth.mean() + 1e-7 * (truth - truth.mean())), truth.tolist())
    found = delta_m([Compared(task.metrics[0], ours, theirs, np.arange(24))], 24)
    assert found is not None
    assert found.value > 10_000, "the base is next to nothing here, and further from it in most draws"
    assert found.low <= found.value <= found.high


def test_the_same_model_twice_changes_nothing() -> None:
    pair = random_pair(range(50), 0)
    found = delta_m([replace(pair, theirs=pair.ours)], 50)
    assert found is not None
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_tasks_that_share_rows_are_drawn_together() -> None:
    pair = random_pair(range(200), 0)
    alone, twice = delta_m([pair], 200), delta_m([pair, pair], 200)
    assert alone is not None
    assert twice is not None
    assert (twice.low, twice.high) == pytest.approx((alone.low, alone.high))  # the second task tells nothing new
    assert twice.n == 200
    apart = delta_m([pair, replace(pair, rows=pair.rows + 200)], 400, [np.arange(200), np.arange(200, 400)])
    assert apart is not None
    assert apart.n == 400
    assert apart.high - apart.low < 0.85 * (alone.high - alone.low)  # 1 / sqrt(2) of it, but for chance


def test_each_source_is_drawn_by_itself_and_differently() -> None:
    seen: dict[str, list[np.ndarray]] = {"a": [], "b": [], "few": []}

    def spy(name: str) -> Metric:
        def value(table, counts) -> float:
            seen[name].append(counts)
            return 1.0 + counts[0]

        return Metric("spy", value)

    blocks = [np.arange(0, 90, 2), np.arange(1, 90, 2), np.arange(90, 93)]
    pairs = [compared(np.ones(len(b)), np.ones(len(b)), b, spy(n)) for n, b in zip(seen, blocks, strict=True)]
    found = delta_m(pairs, 93, blocks)
    assert found is not None
    assert "within each of 3 sources" in found.method
    for name, block in zip(seen, blocks, strict=True):
        assert {int(counts.sum()) for counts in seen[name]} == {len(block)}
    assert any((a != b).any() for a, b in zip(seen["a"], seen["b"], strict=True))


def test_rows_without_a_true_value_count_for_nothing() -> None:
    task = Classify("t", ("x", "y"))
    truth = ["x", None, "y", "y"]
    ours = task.table([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8]], truth)
    theirs = task.table([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.8, 0.2]], truth)
    found = delta_m([Compared(task.metrics[0], ours, theirs, np.array([4, 5, 6, 7]))], 8)
    assert found is not None
    assert found.n == 3
    assert found.value == pytest.approx(50.0)


def test_a_task_that_cannot_be_counted_is_left_out_and_named() -> None:
    good = random_pair(range(40), 1, "good")
    undefined = compared([1, 1], [1, 0], [40, 41], Metric("roc_auc", lambda *_: float("nan")), "flat")
    zero = compared([1, 1], [0, 0], [42, 43])
    empty = compared([], [], np.zeros(0, int), task="empty")
    found = delta_m([undefined, good, zero, empty], 44, [np.arange(40), np.arange(40, 44)])
    alone = delta_m([good], 44, [np.arange(40), np.arange(40, 44)])
    assert found is not None
    assert alone is not None
    assert found.method == alone.method + (
        "; left out: flat (roc_auc is not defined on these rows), task 3 (accuracy is 0 for what it is compared with), "
        "empty (accuracy is not defined on these rows)"
    )
    assert found.method.startswith("mean over 1 task, ")
    assert replace(found, method="") == replace(alone, method="")
    json.dumps(asdict(found), allow_nan=False)


def test_where_nothing_can_be_counted_there_is_no_number() -> None:
    assert delta_m([], 0) is None
    assert delta_m([compared([1, 1], [0, 0], [0, 1])], 2) is None
    assert delta_m([compared([], [], np.zeros(0, int))], 0, []) is None
    once = Metric("once", lambda table, counts: 1.0 if (counts == 1).all() else float("nan"))  # in no draw but by luck
    assert delta_m([compared(np.ones(300), np.ones(300), range(300), once)], 300) is None


def test_draws_without_a_value_are_left_out_and_counted() -> None:
    rare = compared([1] * 50, [1] + [0] * 49, range(50))  # 36 % of the draws miss the only right answer
    found = delta_m([rare], 50)
    assert found is not None
    assert found.low <= found.high < np.inf
    left = int(found.method.split("; ")[1].split(" draws left out")[0])
    assert 300 < left < 430


def test_tables_and_blocks_must_fit_the_rows() -> None:
    with pytest.raises(ValueError, match="different rows: 2, 3 and 2"):
        compared([1, 1], [1, 1, 1], [0, 1])
    pair = compared([1, 1], [1, 1], [0, 1])
    for blocks in ([np.array([0])], [np.array([0, 1]), np.array([1])], [np.array([0, 1, 2])], []):
        with pytest.raises(ValueError, match="once"):
            delta_m([pair], 2, blocks)


def test_rows_of_no_task_need_no_block() -> None:
    pair = random_pair(range(20, 60), 2)
    found, among_others = delta_m([replace(pair, rows=pair.rows - 20)], 40), delta_m([pair], 80, [np.arange(20, 60)])
    assert among_others == found


# ---------------------------------------------------------------- which belong together


def worth(groups, table) -> float:
    """The sum over tasks of the mean affinity of their companions, spelt out."""
    return sum(np.mean([table[i][j] for i in group if i != j]) for group in groups for j in group if len(group) > 1)


def partitions(items):
    """Every partition, by where each next item goes: another way than the one under test."""
    if not items:
        yield []
        return
    for parts in partitions(items[1:]):
        yield [[items[0]], *parts]
        for at, part in enumerate(parts):
            yield [*parts[:at], [items[0], *part], *parts[at + 1 :]]


def as_sets(found: Grouping) -> set[frozenset[str]]:
    return {frozenset(group) for group in found.groups}


def test_negative_affinity_separates_tasks() -> None:
    table = np.full((4, 4), 0.1)
    table[3, :3] = table[:3, 3] = -0.2
    found = grouping(NAMES, table)
    assert found.groups == (("irony", "hate", "offensive"), ("emotion",))
    assert found.gains == pytest.approx({"irony": 0.1, "hate": 0.1, "offensive": 0.1, "emotion": 0.0})
    assert in_words(found) == "Train emotion alone and irony, hate and offensive together."
    json.dumps(asdict(found), allow_nan=False)


def test_a_gain_is_read_down_the_column() -> None:
    table = np.zeros((3, 3))
    table[0, 1], table[1, 0], table[:, 2], table[2] = 0.5, 0.1, -1, -1
    found = grouping(["a", "b", "c"], table)
    assert found.groups == (("a", "b"), ("c",))
    assert found.gains == {"a": 0.1, "b": 0.5, "c": 0.0}


def test_all_apart_and_all_together() -> None:
    assert grouping(NAMES, np.full((4, 4), -0.1)).groups == tuple((name,) for name in NAMES)
    assert grouping(NAMES, np.full((4, 4), 0.1)).groups == (NAMES,)


@pytest.mark.parametrize("tasks", [1, 2, 4, 9])
def test_equal_sums_go_to_fewer_groups(tasks: int) -> None:
    names = [f"t{number}" for number in range(tasks)]
    assert grouping(names, np.zeros((tasks, tasks))).groups == (tuple(names),)
    almost = np.full((tasks, tasks), -1e-15)
    assert grouping(names, almost).groups == (tuple(names),)


def test_a_tie_says_what_one_model_fewer_is_worth() -> None:
    table = np.full((4, 4), 0.1)
    table[0, 1] = table[1, 0] = table[2, 3] = table[3, 2] = 0.11  # in sum .44 in pairs, .4133 together
    assert grouping(NAMES, table).groups == (("irony", "hate"), ("offensive", "emotion"))
    assert grouping(NAMES, table, tie=0.05).groups == (NAMES,)


def test_the_diagonal_is_not_looked_at_and_what_is_not_finite_counts_as_no_effect() -> None:
    table = np.random.default_rng(3).normal(size=(4, 4))
    other = table.copy()
    np.fill_diagonal(other, [np.nan, 1e9, -5, np.inf])
    assert grouping(NAMES, other) == grouping(NAMES, table)
    for unknown in (np.nan, np.inf, -np.inf):
        assert grouping(["a", "b"], [[0, unknown], [0.2, 0]]) == Grouping((("a", "b"),), {"a": 0.2, "b": 0.0})


def test_affinities_must_fit_the_tasks() -> None:
    for names, shape in ((NAMES, (4, 3)), (NAMES[:3], (4, 4)), (("a", "a"), (2, 2)), ((), (0, 0))):
        with pytest.raises(ValueError, match="one row and column each"):
            grouping(names, np.zeros(shape))


matrices = st.integers(1, 5).flatmap(
    lambda k: st.lists(st.lists(st.floats(-1, 1), min_size=k, max_size=k), min_size=k, max_size=k)
)


@given(matrices)
@settings(max_examples=100, deadline=None)
def test_no_partition_is_better(table) -> None:
    names = [f"t{number}" for number in range(len(table))]
    found = grouping(names, table)
    assert sorted(name for group in found.groups for name in group) == names
    chosen = worth([[names.index(name) for name in group] for group in found.groups], table)
    totals = [(worth(parts, table), len(parts)) for parts in partitions(list(range(len(table))))]
    assert chosen >= max(total for total, _ in totals) - 1e-11
    assert sum(found.gains.values()) == pytest.approx(chosen)
    assert all(len(found.groups) <= groups for total, groups in totals if total > chosen + 1e-15)


@given(st.data(), st.integers(1, 10), st.integers(0, 1000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_order_of_tasks_does_not_matter(data, tasks: int, seed: int, tied: bool) -> None:
    generator = np.random.default_rng(seed)
    table = generator.integers(-1, 2, (tasks, tasks)) / 10 if tied else generator.normal(size=(tasks, tasks))
    names = [f"task {number}" for number in range(tasks)]
    order = data.draw(st.permutations(range(tasks)))
    found, other = grouping(names, table), grouping([names[at] for at in order], table[np.ix_(order, order)])
    assert as_sets(other) == as_sets(found)
    assert dict(other.gains) == found.gains


def test_names_do_not_matter_where_sums_differ() -> None:
    table = np.random.default_rng(5).normal(size=(4, 4))
    base = grouping(NAMES, table)
    for names in permutations(NAMES):
        back = dict(zip(names, NAMES, strict=True))
        assert {frozenset(back[name] for name in group) for group in grouping(names, table).groups} == as_sets(base)


def test_many_tasks_are_merged_step_by_step() -> None:
    team = np.arange(9) % 3
    table = np.where(team[:, None] == team, 0.2, -0.1) + np.random.default_rng(0).normal(0, 0.01, (9, 9))
    names = [f"t{number}" for number in range(9)]
    found = grouping(names, table)
    assert found.groups == tuple(tuple(names[start::3]) for start in range(3))
    assert all(0.15 < gain < 0.25 for gain in found.gains.values())


def test_merging_finds_what_trying_everything_finds_where_it_is_plain() -> None:
    for one, two in combinations(range(9), 2):
        table = np.full((9, 9), -0.1)
        table[one, two] = table[two, one] = 0.3
        found = grouping([f"t{number}" for number in range(9)], table)
        assert (f"t{one}", f"t{two}") in found.groups
        assert len(found.groups) == 8


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ((("a", "b", "c", "d"),), "All four together."),
        ((("a", "b"),), "Both together."),
        ((tuple(map(str, range(12))),), "All 12 together."),
        ((("a",), ("b",), ("c",)), "Each alone."),
        ((("a",),), "Train a alone."),
        ((("a", "b"), ("c", "d", "e")), "Train a and b together and c, d and e together."),
        ((("a", "b"), ("c",), ("d",)), "Train c and d alone and a and b together."),
        ((("a", "b"), ("c",), ("d", "e")), "Train c alone, a and b together, and d and e together."),
    ],
)
def test_groupings_in_words(groups: tuple[tuple[str, ...], ...], said: str) -> None:
    assert in_words(Grouping(groups, {})) == said
