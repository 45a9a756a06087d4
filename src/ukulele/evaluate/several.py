"""Several tasks in one model: what that gained over one model a task, and which of them belong together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ukulele.evaluate.grouped import Groups
from ukulele.evaluate.seeds import mean_of_drawn
from ukulele.tools.bootstrap import around, draws_for, resamples, together
from ukulele.tools.bootstrap import values as many
from ukulele.types import Estimate, Metric

SMALL = 1e-9  # a score so near to 0 that a change relative to it means nothing
TIE = 1e-12
MOST = 8  # tasks up to which every partition is tried: there are 4,140 of eight
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

Group: TypeAlias = tuple[int, ...]
Worth: TypeAlias = Callable[[Group], float]


# ---------------------------------------------------------------- what it gained


@dataclass(frozen=True)
class Compared:
    """One task in two models: row statistics (n, k) of the same test rows.

    `rows` (n,) are the numbers of these rows among the joined test rows; tasks may share rows.
    """

    metric: Metric
    ours: NDArray[np.float64]
    theirs: NDArray[np.float64]
    rows: NDArray[np.integer[Any]]
    task: str = ""  # its name, for what is said of it

    def __post_init__(self) -> None:
        if not len(self.ours) == len(self.theirs) == len(self.rows):
            raise ValueError(f"tables of different rows: {len(self.ours)}, {len(self.theirs)} and {len(self.rows)}")


def change(ours: ArrayLike, theirs: ArrayLike, *, higher_is_better: bool = True) -> NDArray[np.float64]:
    """The relative change in percent, positive where ours is better: what Δm is the mean of. NaN where theirs is 0.

    >>> change([0.55, 0.5], 0.5).round(6).tolist(), float(change(0.2, 0.25, higher_is_better=False).round(6))
    ([10.0, 0.0], 20.0)
    """
    base = np.abs(np.asarray(theirs, np.float64))
    gap = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    found: NDArray[np.float64] = (100 if higher_is_better else -100) * gap / np.where(base < SMALL, np.nan, base)
    return found


def delta_m(
    pairs: Sequence[Compared],
    rows: int,
    blocks: Sequence[NDArray[np.integer[Any]]] | None = None,
    groups: NDArray[np.integer[Any]] | None = None,
) -> Estimate | None:
    """The mean relative change over tasks in percent, positive where ours is better (Maninis et al., 2019).

    Δm = 100 / T · Σ ± (ours - theirs) / |theirs| by the metric that decides each task, arXiv:1904.08918. The interval
    is by percentile bootstrap over the joined test rows, so tasks that share rows are drawn together.

    Parameters
    ----------
    pairs
        The tasks.
    rows
        How many joined test rows there are.
    blocks
        The row numbers of each source. Each is drawn by itself, so that no task loses its rows; None: one source.
        Rows of none of the tasks may be left out.
    groups
        Of each joined row (rows,) its group, whose rows are drawn together, whatever their block. None: each row is by
        itself.

    Returns
    -------
    Estimate or None
        `method` names the tasks that are left out, because their metric is not defined on these rows or theirs is 0.
        None where no task is left, or no draw in which all of them are defined.
    """
    return delta_m_seeds([pairs], rows, blocks, groups)


def delta_m_seeds(
    seeds: Sequence[Sequence[Compared]],
    rows: int,
    blocks: Sequence[NDArray[np.integer[Any]]] | None = None,
    groups: NDArray[np.integer[Any]] | None = None,
) -> Estimate | None:
    """The mean of Δm over seeds, with an interval by hierarchical bootstrap: seeds and rows are drawn.

    `seeds` has the tasks of each seed, in the same order; all else is as for `delta_m`. A task that cannot be counted
    with one seed is left out with all.
    """
    sources = _sources(rows, blocks, [pair for pairs in seeds for pair in pairs])
    of = Groups.of(groups)
    sources = sources if of.codes is None else [np.arange(rows)]  # a group may have rows of several
    known = [[_known(pair) for pair in pairs] for pairs in seeds]
    faults = [next(filter(None, map(_fault, of_task)), "") for of_task in zip(*known, strict=True)]
    kept = [[pair for pair, fault in zip(pairs, faults, strict=True) if not fault] for pairs in known]
    if not kept[0]:
        return None
    draws = draws_for(sum(pair.ours.size + pair.theirs.size for pairs in kept for pair in pairs))
    counted = together(_draws(rows, sources, draws, of), rows)
    parts = [np.stack([_percent(pairs, counts) for pairs in kept]) for counts in counted]
    drawn = mean_of_drawn(np.concatenate(parts, 1))
    value = float(np.mean([_percent(pairs, np.ones((1, rows)))[0] for pairs in kept]))
    fewest = _fewest(kept[0], groups)
    low, high = fewest.widened(value, *around(drawn, value))
    if math.isnan(low):
        return None
    left = [
        f"{pair.task or f'task {number}'} ({fault})"
        for number, (pair, fault) in enumerate(zip(seeds[0], faults, strict=True), 1)
        if fault
    ]
    skipped = int(np.isnan(drawn).sum())
    n = len(np.unique(np.concatenate([pair.rows for pair in kept[0]])))
    method = _method((len(kept[0]), len(sources), draws, skipped), left, len(seeds), fewest)
    return Estimate(value, low, high, n, method, fewest.count)


def _sources(
    rows: int, blocks: Sequence[NDArray[np.integer[Any]]] | None, pairs: Sequence[Compared]
) -> list[NDArray[np.integer[Any]]]:
    """The blocks that have rows; every row of a task must be in one of them, and in one alone."""
    sources = [np.arange(rows)] if blocks is None else [np.asarray(block, np.int64) for block in blocks]
    times = np.bincount(np.concatenate([np.zeros(0, np.int64), *sources]), minlength=rows)
    if len(times) > rows or (times > 1).any() or any((times[pair.rows] == 0).any() for pair in pairs):
        raise ValueError(f"the blocks are to hold each of the tasks' rows once, and no row beyond {rows - 1}")
    return [source for source in sources if len(source)]


def _known(pair: Compared) -> Compared:
    """The rows that have a true value, each column in one piece."""
    known = ~np.isnan(pair.ours[:, 0])
    ours, theirs = np.asfortranarray(pair.ours[known]), np.asfortranarray(pair.theirs[known])
    return replace(pair, ours=ours, theirs=theirs, rows=np.asarray(pair.rows)[known])


def _fault(pair: Compared) -> str:
    """Why the task cannot be counted; empty if it can."""
    ours, theirs = (float(side[0]) for side in _values(pair, np.ones((1, len(pair.rows)))))
    if math.isnan(ours) or math.isnan(theirs):
        return f"{pair.metric.name} is not defined on these rows"
    return f"{pair.metric.name} is 0 for what it is compared with" if abs(theirs) < SMALL else ""


def _values(pair: Compared, counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both sides' values for each draw, counts (draws, n); NaN where no row of the task was drawn."""
    there = counts.any(1)
    sides = []
    for table in (pair.ours, pair.theirs):
        found = np.full(len(counts), np.nan)
        if there.any():
            found[there] = many(pair.metric, table, counts[there])
        sides.append(found)
    return sides[0], sides[1]


def _percent(pairs: Sequence[Compared], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Δm of each draw, counts (draws, rows); NaN if one of the tasks is not defined then."""
    total = np.zeros(len(counts))
    for pair in pairs:
        ours, theirs = _values(pair, counts[:, pair.rows])
        total += change(ours, theirs, higher_is_better=pair.metric.higher_is_better)
    return total / len(pairs)


def _fewest(pairs: Sequence[Compared], groups: NDArray[np.integer[Any]] | None) -> Groups:
    """The groups of the task whose rows are of the fewest: an interval is no surer than that."""
    every = [Groups.of(None if groups is None else groups[pair.rows]) for pair in pairs]
    return min(every, key=lambda of: math.inf if of.count is None else of.count)


def _draws(
    rows: int, sources: Sequence[NDArray[np.integer[Any]]], draws: int, groups: Groups
) -> Iterator[NDArray[np.float64]]:
    """How often each joined row is drawn, each source by itself: by its place as the seed, so that none are alike."""
    if groups.codes is not None:
        yield from resamples(rows, draws, groups=groups.codes)
        return
    streams = [resamples(len(source), draws, seed) for seed, source in enumerate(sources)]
    for drawn in zip(*streams, strict=True):
        counts = np.zeros(rows)
        for source, times in zip(sources, drawn, strict=True):
            counts[source] = times
        yield counts


def _method(figures: tuple[int, int, int, int], left: Sequence[str], seeds: int, groups: Groups) -> str:
    tasks, sources, draws, skipped = figures
    said = f"mean over {tasks} {'task' if tasks == 1 else 'tasks'}"
    said += f" and {seeds} seeds, paired hierarchical percentile bootstrap over seeds and" if seeds > 1 else ""
    joined = f"joined {groups.said}" if groups.count is None else groups.said
    said += f" {joined}" if seeds > 1 else f", paired percentile bootstrap over {joined}"
    said += f" within each of {sources} sources" if sources > 1 else ""
    said += f", {draws:,} draws, 95 %"
    said += f"; {skipped:,} draws left out, where a metric is not defined" if skipped else ""
    return said + (f"; left out: {', '.join(left)}" if left else "")


# ---------------------------------------------------------------- which belong together


@dataclass(frozen=True)
class Grouping:
    """Which tasks to train together, and what each gains from its companions: their mean affinity for it, alone 0."""

    groups: tuple[tuple[str, ...], ...]
    gains: Mapping[str, float]


def grouping(names: Sequence[str], affinity: ArrayLike, tie: float = TIE) -> Grouping:
    """The partition of the tasks in which their gains add up to most (Fifty et al., 2021, arXiv:2109.04617).

    Up to eight tasks every partition is tried; of more, groups are merged as long as that does not cost. Sums within
    `tie` of the best are equal, and the partition of the fewest groups takes it. Nothing but the order of the names in
    the answer depends on the order in which the tasks are given.

    Parameters
    ----------
    names
        The tasks, each once.
    affinity
        (k, k): at [i, j] 1 - loss of j after a step on i / before. Negative affinity separates tasks. The diagonal is
        not looked at; what is not finite counts as no effect.
    tie
        What one model fewer is worth.

    Examples
    --------
    >>> found = grouping(["mood", "topic", "age"], [[0, 0.2, -0.1], [0.1, 0, -0.1], [0, 0, 0]])
    >>> found.groups
    (('mood', 'topic'), ('age',))
    >>> found.gains
    {'mood': 0.1, 'topic': 0.2, 'age': 0.0}
    """
    table = np.array(affinity, np.float64)
    if table.shape != (len(names), len(names)) or len(set(names)) != len(names) or not names:
        raise ValueError(f"affinities of shape {table.shape} for the tasks {list(names)}: one row and column each")
    order = sorted(range(len(names)), key=lambda at: names[at])  # so that rounding is the same in whatever order
    table = np.where(np.isfinite(table), table, 0.0)[np.ix_(order, order)]
    np.fill_diagonal(table, 0.0)

    @cache
    def worth(group: Group) -> float:
        return float(table[np.ix_(group, group)].sum()) / (len(group) - 1) if len(group) > 1 else 0.0

    found = (_best if len(names) <= MOST else _merged)(len(names), worth, tie)
    given = sorted(sorted(order[task] for task in group) for group in found)
    gains = {
        names[order[task]]: float(table[list(group), task].sum()) / max(len(group) - 1, 1)
        for group in found
        for task in group
    }
    return Grouping(
        tuple(tuple(names[task] for task in group) for group in given), {name: gains[name] for name in names}
    )


def _best(tasks: int, worth: Worth, tie: float) -> Sequence[Group]:
    scored = [(math.fsum(map(worth, parts)), parts) for parts in _partitions(tuple(range(tasks)))]
    most = max(total for total, _ in scored)
    return min((len(parts), -total, parts) for total, parts in scored if total >= most - tie)[-1]


def _partitions(items: Group) -> Iterator[tuple[Group, ...]]:
    """Every way to put the items into groups.

    >>> list(_partitions((0, 1, 2)))
    [((0,), (1,), (2,)), ((0,), (1, 2)), ((0, 1), (2,)), ((0, 2), (1,)), ((0, 1, 2),)]
    """
    if not items:
        yield ()
        return
    first, *rest = items
    for size in range(len(rest) + 1):
        for others in combinations(rest, size):
            for parts in _partitions(tuple(item for item in rest if item not in others)):
                yield ((first, *others), *parts)


def _merged(tasks: int, worth: Worth, tie: float) -> Sequence[Group]:
    """From every task alone, the two groups merged that gain most by it, until any merger would cost."""
    groups: list[Group] = [(task,) for task in range(tasks)]
    while len(groups) > 1:
        gain, one, two = max(
            (worth(tuple(sorted(one + two))) - worth(one) - worth(two), one, two)
            for one, two in combinations(groups, 2)
        )
        if gain < -tie:
            break
        groups = sorted([*(group for group in groups if group not in (one, two)), tuple(sorted(one + two))])
    return groups


def in_words(found: Grouping) -> str:
    """A grouping as advice, those alone first.

    >>> in_words(Grouping((("irony", "hate", "offensive"), ("emotion",)), {}))
    'Train emotion alone and irony, hate and offensive together.'
    >>> in_words(Grouping((("irony", "hate", "offensive", "emotion"),), {}))
    'All four together.'
    """
    alone = [group[0] for group in found.groups if len(group) == 1]
    together = [group for group in found.groups if len(group) > 1]
    if not together and len(alone) > 1:
        return "Each alone."
    if not alone and len(together) == 1:
        tasks = len(together[0])
        return f"{'Both' if tasks == 2 else f'All {NUMBERS[tasks] if tasks < len(NUMBERS) else tasks}'} together."
    parts = [f"{_listed(alone)} alone"] if alone else []
    parts += [f"{_listed(group)} together" for group in together]
    return f"Train {_listed(parts) if len(parts) < 3 else ', '.join(parts[:-1]) + ', and ' + parts[-1]}."


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
