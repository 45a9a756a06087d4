"""What the one pass says about single rows, at no further pass: labels that may be wrong, copies across splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ukulele import diagnose, strategies
from ukulele.diagnose import Suspect
from ukulele.loop.probing import probe_targets
from ukulele.runs import RunFolder
from ukulele.story.candidates import survey, wishes_of
from ukulele.story.record import shown
from ukulele.story.twins import twins
from ukulele.tools.files import write_csv
from ukulele.tools.strays import strays
from ukulele.trial.attempt import attempt
from ukulele.trial.context import Context
from ukulele.trial.evidence import as_asked, constant, gains_over, learns, unweighted
from ukulele.trial.outcome import Outcome
from ukulele.types import SPLITS, Candidate, Finding, Row, Rows, Split, Task

SUSPECTS, COPIES = "suspects.csv", "copies.csv"
COPIES_HEADER = ("file", "line", "split", "train_file", "train_line", "input", "training_input", "alike")
HEADER = ("file", "line", "split", "task", "input", "given", "suggested", "score")
SHOWN = 12  # rows that the report shows
THUMBNAIL = 160  # pixels


@dataclass
class Scrutiny:
    """What was found: findings, and blocks of the record by name."""

    findings: list[Finding] = field(default_factory=list)
    blocks: dict[str, Any] = field(default_factory=dict)
    unlearnt: list[str] = field(default_factory=list)  # tasks of which a probe learns nothing


def scrutinise(probe: Outcome, context: Context, *, doubt: bool = True, listed: str = "") -> Scrutiny:
    """Look at single rows through the features that the probe stands on, and write down what is to be looked at.

    Nothing is said where there are none: of a detector, or of a network that was trained from scratch. `doubt` says
    whether a probe that learns nothing means that there is nothing to learn. Rows are written to files of the run, and
    some of them are shown in the blocks; with `listed`, which says in words where all are, the blocks hold them all.
    """
    found = Scrutiny()
    if not probe.held or not probe.candidate.pretrained:
        return found
    if doubt:
        learnt = {name: _learnt(probe, context, name) for name in probe.tasks}
        found.unlearnt = [name for name, something in learnt.items() if something is False]
        found.findings += [diagnose.nothing_learnt(name, {}) for name in found.unlearnt]
        found.findings += [diagnose.cannot_tell(name) for name, something in learnt.items() if something is None]
    _labels(probe, context, found, listed)
    _copies(probe, context, found, listed)
    return found


def look_closer(name: str, stage: str | None, context: Context, listed: str) -> Scrutiny:
    """The same without a run: the probe behind a stage (None: the last) of a model is fitted, and nothing is kept."""
    wishes = wishes_of(context.options, context.data)
    plan = strategies.make("probe", survey(name, context), wishes)
    unheard = replace(context, run=RunFolder.nowhere(), hear=lambda _: None)
    return scrutinise(attempt(Candidate("probe", name, plan, stop=stage), unheard), context, listed=listed)


def _learnt(probe: Outcome, context: Context, name: str) -> bool | None:
    """Whether the probe's held-out answers are clearly better than the same answer for every row: see `learns`."""
    task, values, answers = probe.tasks[name], context.truth("train").values(name), probe.held[name].double()
    if task.kind == "regress" and len(strays(np.array(values, np.float64))):
        return True  # numbers that far off hide whatever there is
    y, _, classes = probe_targets(task, values)
    clusters = context.truth("train").clusters(context.truth("train").numbers(name))
    return learns([gains_over(constant(task, y, classes), as_asked(task, answers, values), y, clusters)])


# ---------------------------------------------------------------- copies


def _copies(probe: Outcome, context: Context, found: Scrutiny, listed: str) -> None:
    """Rows of validation and test that are training rows but for small changes."""
    lines: list[Sequence[Any]] = []
    block: list[dict[str, Any]] = []
    for split in ("validation", "test"):
        rows = context.data.splits[split]
        pairs, looked = twins(probe, context, split)
        both = [(rows[one.row], one.of, one) for one in pairs]
        seen = [f"{row.where}, as {other.where}" for row, other, _ in both]
        found.findings += diagnose.copies(split, seen, looked, len(rows), listed or COPIES)
        for row, other, one in both:
            place = (row.where.file, row.where.line or "", split, other.where.file, other.where.line or "")
            lines.append((*place, _text(row), _text(other), f"{one.alike:.3f}"))
        block += [
            {
                "split": split,
                "where": str(row.where),
                "train": str(other.where),
                "input": shown(row, THUMBNAIL),
                "training_input": shown(other, THUMBNAIL),
                "alike": one.alike,
            }
            for row, other, one in both[: 0 if listed else SHOWN]
        ]
    _keep("copies", COPIES_HEADER, lines, block, (context, found, listed))


def _keep(
    name: str, header: Sequence[str], lines: Sequence[Sequence[Any]], block: list[dict[str, Any]],
    at: tuple[Context, Scrutiny, str],
) -> None:  # fmt: skip
    """Rows to a file of the run, and some of them to a block; where there is no run, all of them to the block."""
    context, found, listed = at
    if listed:
        found.blocks[name] = [dict(zip(header, line, strict=True)) for line in lines]
        return
    if context.engine.main:
        write_csv(context.run.path / f"{name}.csv", header, lines)
    found.blocks[name] = block


def _text(row: Row) -> str:
    return " | ".join(value for value in row.inputs if isinstance(value, str))


# ---------------------------------------------------------------- labels


def _labels(probe: Outcome, context: Context, found: Scrutiny, listed: str) -> None:
    lines: list[Sequence[Any]] = []
    block: list[dict[str, Any]] = []
    for name in probe.tasks:
        if name in found.unlearnt and probe.tasks[name].kind != "regress":  # any label is as doubtful as any other
            continue
        pool = _Pool.of(probe, context, name)
        doubted = pool.doubted()
        places = [f"{pool.row(one).where}: {_said(one.given)}, rather {_said(one.suggested)}" for one in doubted]
        found.findings += diagnose.label_errors(name, places, len(pool.values), listed or SUSPECTS)
        lines += [_line(name, one, pool) for one in doubted]
        block += [_told(name, one, pool) for one in doubted[: 0 if listed else SHOWN]]
    _keep("suspects", HEADER, lines, block, (context, found, listed))


@dataclass(frozen=True)
class _Pool:
    """All rows that have a task: their targets, and what the probe says of each without having seen it."""

    task: Task
    values: list[Any]
    places: list[tuple[Split, int]]
    answers: NDArray[np.float64]  # log-probabilities, logits or numbers (n, k)
    rows: Mapping[Split, Rows]

    @classmethod
    def of(cls, probe: Outcome, context: Context, name: str) -> _Pool:
        """Training rows are held out by fold; those of validation and test the probe has never seen."""
        task, values, places = probe.tasks[name], list[Any](), list[tuple[Split, int]]()
        answers = [_unscaled(probe.held[name].double().numpy(), task)]
        for split in SPLITS:
            values += probe.feed.values(split, name)
            places += [(split, int(number)) for number in context.truth(split).numbers(name)]
            if split != "train":
                answers.append(np.asarray(probe.answers(split, name), np.float64).reshape(-1, answers[0].shape[1]))
        whole = unweighted(task, torch.from_numpy(np.concatenate(answers))).numpy()
        return cls(task, values, places, whole, context.data.splits)

    def row(self, suspect: Suspect) -> Row:
        split, number = self.places[suspect.row]
        return self.rows[split][number]

    def doubted(self) -> list[Suspect]:
        """Rows whose target the probe doubts."""
        labels: Sequence[str] = getattr(self.task, "labels", ())
        numbering = {label: number for number, label in enumerate(labels)}
        match self.task.kind:
            case "classify":
                given = np.array([numbering[value] for value in self.values], np.intp)
                known = np.array([split == "train" for split, _ in self.places])
                counts = np.bincount(given[known], minlength=len(labels))
                seen = counts[given] - known > 0  # by the probe that answers: some row of the class
                return diagnose.doubted_classes(given, np.exp(self.answers), labels, seen)
            case "multilabel":
                marks = np.array([[label in value for label in labels] for value in self.values], bool)
                return diagnose.doubted_sets(marks, 1 / (1 + np.exp(-self.answers)), labels)
            case "regress":
                numbers = np.array(self.values, np.float64)
                return diagnose.far_off(numbers) or diagnose.doubted_numbers(numbers, self.answers[:, 0])
            case _:
                return []


def _unscaled(answers: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    """A probe's held-out answers in the unit of the task."""
    return answers * getattr(task, "scale", 1.0) + getattr(task, "mean", 0.0)


def _line(name: str, one: Suspect, pool: _Pool) -> list[Any]:
    row, split = pool.row(one), pool.places[one.row][0]
    return [
        row.where.file, row.where.line or "", split, name, _text(row), _said(one.given),
        _said(one.suggested), one.score,
    ]  # fmt: skip


def _told(name: str, one: Suspect, pool: _Pool) -> dict[str, Any]:
    row = pool.row(one)
    return {
        "task": name,
        "split": pool.places[one.row][0],
        "where": str(row.where),
        "input": shown(row, THUMBNAIL),
        "given": _said(one.given),
        "suggested": _said(one.suggested),
        "score": one.score,
    }


def _said(value: Any) -> str:
    """A target for people.

    >>> _said("joy"), _said(("joy", "fear")), _said(()), _said(2.5)
    ('joy', 'joy;fear', '(none)', '2.5')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else ";".join(value) or "(none)"
