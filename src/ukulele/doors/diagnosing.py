"""`uke diagnose`: what one pass of a model through the data tells, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from ukulele import data, diagnose, evaluate
from ukulele.config import FitOptions
from ukulele.data import ReadOptions
from ukulele.doors.preview import preview_of_one
from ukulele.doors.show import findings as show_findings
from ukulele.doors.show import interval, table
from ukulele.errors import DataError
from ukulele.events import Hear, Said
from ukulele.story.scrutiny import Scrutiny, look_closer
from ukulele.tools.probe import Search, held_out
from ukulele.trial.context import Context
from ukulele.trial.drawing import PROBED, enough, sample
from ukulele.trial.evidence import AVERAGE, Held, Seen, clearly_best, look, probed, stage_scores, summaries
from ukulele.trial.neighbourhood import nearest
from ukulele.trial.origin import origin
from ukulele.types import Finding, Row, Rows

ALL = 20_000  # training rows up to which all are looked at
FEW = 20  # rows a side, below which distances say nothing
DIVISIONS = 5  # of rows, over which distances that depend on their number are averaged
MOST = 2000  # rows a side that distances are computed of
LISTED = "what --json prints"  # where all rows are that a finding tells of


def answer(source: Any, options: FitOptions, hear: Hear, *, against: Any = None) -> dict[str, Any]:
    """What the pass tells, as plain JSON.

    Parameters
    ----------
    against
        Other data, labelled or not: how far do the rows lie from it? None: how far do training and test rows lie apart?

    Raises
    ------
    UkuleleError
        If the data or the model cannot be used.
    """
    context, name = preview_of_one(source, options, hear)
    every = len(context.data.splits["train"])
    seen = look(name, context, None if every <= ALL else sample(context, PROBED))
    scores = stage_scores(seen.stages, seen.truth, context.tasks, options.seed)
    best = clearly_best(scores, seen.last)
    if seen.average is not None:
        scores |= stage_scores({AVERAGE: seen.average}, seen.truth, context.tasks, options.seed)
    hear(Said("probes on the features"))
    asked = {task: _task(seen, best or seen.last, context, task) for task in context.tasks}
    hear(Said("distances"))
    apart = _distances(seen, best or seen.last, context, against)
    source = origin(name, _spread(seen.stages[seen.last].float(), options.seed), options.seed)
    told = None if source is None else asdict(source)
    found = [*context.data.findings, *_findings(asked, scores, best, seen.last)]
    found += [*diagnose.apart(apart), *diagnose.from_source(told)]
    closer = _rows(name, best, context)
    found += [one for one in closer.findings if one.code not in {"nothing-to-learn", "too-few-to-tell"}]  # told above
    return {
        "data": context.data.name, "model": name, "rows": len(seen.rows), "stage": best or seen.last,
        "far": best is not None, "layers": [{"stage": stage, **score} for stage, score in scores.items()],
        "tasks": asked, "distance": apart, "source": told, "findings": [asdict(one) for one in found],
        "suspects": closer.blocks.get("suspects", []), "copies": closer.blocks.get("copies", []),
    }  # fmt: skip


def _rows(name: str, stage: str | None, context: Context) -> Scrutiny:
    """Labels that may be wrong and copies across splits, as a run finds them; of many rows none are looked for."""
    if (every := len(context.data.splits["train"])) > ALL:
        context.hear(Said(f"wrong labels and copies are looked for among up to {ALL:,} rows; these are {every:,}"))
        return Scrutiny()
    context.hear(Said("labels and copies"))
    return look_closer(name, stage, context, LISTED)


# ---------------------------------------------------------------- what is learnt


def _task(seen: Seen, stage: str, context: Context, name: str) -> dict[str, Any]:
    """What a probe and the neighbours make of a task, held out, and what the same answer for every row makes."""
    task, seed = context.tasks[name], context.options.seed
    numbers, values = enough(seen.truth.numbers(name), task, seen.truth.values(name), seed)
    x = seen.stages[stage][numbers].float()
    groups = seen.truth.groups(numbers)
    held = probed(x, task, values, seed, groups, seen.truth.clusters(numbers))
    near = {f"{k} nearest": _estimate(held, found) for k, found in nearest(x, task, values, groups).items()}
    return {
        "metric": task.metrics[0].name, "rows": len(numbers), "learnt": held.learnt,
        "probe": _estimate(held, held.table), **near, "same for every row": _estimate(held, held.plain),
    }  # fmt: skip


def _estimate(held: Held, found: Any) -> dict[str, Any] | None:
    estimate = evaluate.decisive(held.task, found, held.clusters)
    return None if estimate is None else asdict(estimate)


def _findings(
    asked: Mapping[str, Mapping[str, Any]], scores: Mapping[str, Mapping[str, Any]], best: str | None, last: str
) -> list[Finding]:
    found = [diagnose.nothing_learnt(name, one) for name, one in asked.items() if one["learnt"] is False]
    found += [diagnose.cannot_tell(name) for name, one in asked.items() if one["learnt"] is None]
    if best is not None and any(one["learnt"] for one in asked.values()):
        found.append(diagnose.far_domain(best, scores[best], last, scores[last]))
    return found


# ---------------------------------------------------------------- how far


def _distances(seen: Seen, stage: str, context: Context, against: Any) -> dict[str, Any] | None:
    """How far the training rows lie from other data, or from the test rows; None where there are too few."""
    if against is None:
        rows, what = context.data.splits.get("test"), "the test rows"
    else:
        rows, what = _other(against, context), f"{against}"
    if rows is None or len(rows) < FEW or len(seen.rows) < 2 * FEW:
        return None
    ours = _spread(seen.stages[stage].float(), context.options.seed)
    if len(rows) > MOST:
        rows = rows.take(np.sort(np.random.default_rng(context.options.seed).permutation(len(rows))[:MOST]).tolist())
    theirs = summaries(seen.model, rows, context)[stage].float()
    a, b = ours.numpy(), theirs.numpy()
    tested, alike = diagnose.mmd(a, b, context.options.seed), _alike(a, b, context.options.seed)
    return {
        "of": "the training rows", "from": what, "rows": [len(ours), len(theirs)],
        "frechet": alike["frechet"][0], "frechet_within": alike["frechet"][1],
        "mmd": tested.value, "mmd_p": tested.p, "proxy_a": diagnose.proxy_a(_told_apart(ours, theirs)),
        "cka": alike["cka"][0], "cka_within": alike["cka"][1],
    }  # fmt: skip


def _alike(a: NDArray[np.float32], b: NDArray[np.float32], seed: int) -> dict[str, tuple[float, float]]:
    """Distances that depend on how many rows there are: of a part of `a` from `b`, and from as many others of `a`; the
    means over some divisions.
    """
    size, found = min(len(b), len(a) // 2), []
    for number in range(DIVISIONS):
        draw = np.random.default_rng((seed, number))
        order, some = draw.permutation(len(a)), draw.permutation(len(b))[:size]
        rest, apart = a[order[size:]], a[order[:size]]
        found.append([[of(rest, b[some]), of(rest, apart)] for of in (diagnose.frechet, diagnose.covariance_cka)])
    means = np.mean(found, 0).tolist()
    return {name: (here, within) for name, (here, within) in zip(("frechet", "cka"), means, strict=True)}


def _spread(x: Tensor, seed: int) -> Tensor:
    order = np.random.default_rng(seed).permutation(len(x))[:MOST]
    return x[torch.from_numpy(order)]


def _told_apart(ours: Tensor, theirs: Tensor) -> float:
    """The balanced error of a held-out probe that is to tell two sets of rows apart."""
    y = torch.cat([torch.zeros(len(ours)), torch.ones(len(theirs))]).long()
    rows = torch.where(y == 0, 1 / len(ours), 1 / len(theirs))
    _, answers = held_out(torch.cat([ours, theirs]), y, 2, weights=rows, search=Search(metric="log_loss"))
    wrong = (answers.argmax(1) != y).double()
    return float((wrong[y == 0].mean() + wrong[y == 1].mean()) / 2)


def _other(against: Any, context: Context) -> Rows:
    """Rows of other data: all of a labelled set, or inputs in the columns of ours."""
    cache = context.options.cache_folder
    source = data.named([against]) if isinstance(against, str) else against
    names = tuple(target.column or target.name for target in context.data.targets)
    ours = ReadOptions(inputs=context.data.columns, target=names)
    pictures = "image" in (context.data.modality, _modality(source, cache))
    try:
        found = data.read(source, ReadOptions() if pictures else ours, cache)
    except DataError:
        rows, _ = data.read_inputs(source, context.data.columns, context.data.modality, cache)
        return rows
    if found.modality != context.data.modality:
        raise DataError(
            f"{against} holds {found.modality} data; {context.data.name} is {context.data.modality}: there is no "
            "distance between them."
        )
    return _Chain([rows for rows in found.splits.values() if len(rows)])


def _modality(source: Any, cache: Path) -> str | None:
    """What other data hold, read as they would be by themselves; None where that cannot be done."""
    try:
        return data.read(source, ReadOptions(), cache).modality
    except DataError:
        return None


class _Chain:
    """Several rows one behind the other."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._places = [(part, i) for part in parts for i in range(len(part))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Row:
        part, at = self._places[index]
        return part[at]

    def __iter__(self) -> Any:
        return (part[at] for part, at in self._places)

    @property
    def groups(self) -> None:
        """None: each is by itself."""
        return None

    clusters = groups

    def take(self, indices: Sequence[int]) -> _Chain:
        """Those rows."""
        found = _Chain([])
        found._places = [self._places[int(i)] for i in indices]
        return found

    def column(self, name: str) -> list[Any]:
        """Not asked for: nothing but inputs is looked at."""
        raise DataError(f"no column {name!r} of several splits at once.")


# ---------------------------------------------------------------- for people


def show(found: Mapping[str, Any], console: Console, given: Sequence[str]) -> None:
    """What was found, for people."""
    del given
    console.print(f"{found['data']}: {found['rows']:,} training rows through {found['model']}", markup=False)
    console.print("a probe behind each stage, with 95 % intervals", markup=False)
    rows = [
        ("*" if one["stage"] == found["stage"] else "", one["stage"], interval(one, 3).strip())
        for one in found["layers"]
    ]
    table(console, ("", "stage", "held-out score"), rows)
    for name, task in found["tasks"].items():
        console.print(f"\n{name}, {task['metric']}, on {task['rows']:,} rows held out", markup=False)
        lines = [(what, interval(value).strip()) for what, value in task.items() if isinstance(value, dict)]
        table(console, ("answers of", "value (95 % interval)"), lines)
    if found["distance"] is not None:
        console.print()
        for line in diagnose.apart_in_words(found["distance"]):
            console.print(line, markup=False, soft_wrap=True)
    if found["source"] is not None:
        console.print()
        for line in diagnose.source_in_words(found["source"]):
            console.print(line, markup=False, soft_wrap=True)
    console.print()
    show_findings([Finding(**one) for one in found["findings"]], console, "--json")
