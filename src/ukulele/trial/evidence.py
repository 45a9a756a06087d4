"""Rows seen through one model before anything is trained: every stage's features, and what a probe makes of them.

The features are those that a run stores on its one pass, and are read from the same cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ukulele import evaluate, features
from ukulele.errors import InternalError, ModelError, PlanError
from ukulele.loop.feed import Feed
from ukulele.loop.probing import pick, probe_search, probe_targets
from ukulele.loop.truth import Numbers, Truth
from ukulele.models import CLASSICAL
from ukulele.strategies import Plan
from ukulele.tools.probe import Score, held_out, score_layers
from ukulele.tools.search import paired
from ukulele.trial.context import Context
from ukulele.types import Candidate, Model, Rows, Split, Table, Task

ROWS, FOLDS = 2000, 3  # enough to tell stages apart, and quick with many classes
TUNINGS = 5  # parts of the rows, each decided by thresholds that suit the others
WORTH = 0.5  # of what there is to gain: as long as that much may have been missed, rows are too few
AVERAGE = "average"  # of all blocks of a text encoder: one more summary
Floats = NDArray[np.float64]


class Own(NamedTuple):
    """A model's own classifier: of how many classes, and its logits (n, classes) of some of the rows."""

    classes: int
    logits: Callable[[Numbers], Tensor]


@dataclass(frozen=True)
class Seen:
    """Some rows of a split seen through a model: `stages` holds each stage's summary (rows, width), lowest first."""

    model: Model
    split: Split
    rows: Numbers
    stages: Mapping[str, Tensor]
    truth: Truth  # of those rows
    answers: Tensor | None = None  # (rows, classes of its source task): logits of the model's own classifier

    @property
    def last(self) -> str:
        """The stage that a probe stands on where no other is clearly better."""
        return list(self.stages)[-1]

    @property
    def own(self) -> Own | None:
        """The classifier that the model brings along; None where it brings none."""
        if self.answers is not None:
            given = self.answers
            return Own(given.shape[1], lambda rows: given[rows])
        if self.model.classifier is None:
            return None
        (weight, bias), pooled = self.model.classifier, self.stages[self.last]
        return Own(len(bias), lambda rows: pooled[rows].float() @ weight.T + bias)

    @cached_property
    def average(self) -> Tensor | None:
        """The mean over the blocks of an encoder; None where stages differ in width, as those of pictures do."""
        below = list(self.stages.values())[:-1]
        if len(below) < 2 or len({values.shape[1] for values in below}) > 1 or "token" not in _axes(self.model):
            return None
        return torch.stack([values.float() for values in below]).mean(0)


def _axes(model: Model) -> set[str | None]:
    return {field.axis for field in model.inputs.values()}


def refuse_unprobed(context: Context) -> None:
    """What has no probe cannot be looked at without training.

    Raises
    ------
    PlanError
        If the data are pictures with boxes, or their answers are texts.
    """
    if context.boxes or context.writes:
        what = "pictures with boxes" if context.boxes else "answers that are texts"
        raise PlanError(
            f"{context.data.name}: {what} cannot be probed on frozen features.", hint="Fit models, and `uke compare`."
        )


def look(name: str, context: Context, rows: Numbers | None = None, split: Split = "train") -> Seen:
    """Rows of a split through a model; all of them where `rows` is None, and then what a run stored is read."""
    return through(load(name, context), context, rows, split)


def load(name: str, context: Context) -> Model:
    """The model as a probe uses it.

    Raises
    ------
    ModelError
        If there is no such model, or it is none that was trained before.
    """
    if name in CLASSICAL:
        raise ModelError(
            f"{name} was never trained: it is a control.", hint="`uke fit` holds every model against it by itself."
        )
    model, _ = context.load(Candidate("look", name, Plan("probe", seed=context.options.seed)))
    if "pooled" not in model.live(len(model.stages)):
        raise ModelError(f"{name} is made to find boxes or to write texts: no probe can stand on it.")
    return model


def through(model: Model, context: Context, rows: Numbers | None = None, split: Split = "train") -> Seen:
    """The same of a model that is loaded."""
    every = context.data.splits[split]
    some = every if rows is None else every.take(rows.tolist())
    truth = context.truth(split) if rows is None else Truth(some)
    numbers = np.arange(len(every)) if rows is None else rows
    stages, answers = features.told(_passed(model, some, context, whole=rows is None))
    return Seen(model, split, numbers, stages, truth, answers)


def summaries(model: Model, rows: Rows, context: Context) -> dict[str, Tensor]:
    """Each stage's summary of some rows (rows, width), lowest first."""
    return features.summaries(_passed(model, rows, context, whole=False))


def _passed(model: Model, rows: Rows, context: Context, *, whole: bool) -> features.Source:
    """Rows behind the last stage. What is decided of a `whole` split holds for the run that reads it."""
    plan = Plan("probe", seed=context.options.seed)
    feed = Feed(
        model, {}, plan, {"train": Table(rows, context.tasks)}, context.cache, context.engine, context.dtype,
        context.hear, model, context.decide if whole else lambda _what, how: how(),
    )  # fmt: skip
    return feed.pooled("train")


# ---------------------------------------------------------------- which stage


def stage_scores(
    stages: Mapping[str, Tensor], truth: Truth, tasks: Mapping[str, Task], seed: int
) -> dict[str, dict[str, Any]]:
    """By stage, the cross-validated score of a probe on its summary, with a 95 % interval, and the paired gain over the
    last of them; means over tasks. Errors are by group of `--group`, where rows come in some.
    """
    found = []
    for name, task in tasks.items():
        y, weights, classes = probe_targets(task, truth.values(name))
        having = {stage: pick(values, truth.numbers(name)) for stage, values in stages.items()}
        alike = truth.clusters(truth.numbers(name))
        search = replace(
            probe_search(task, None, seed, truth.groups(truth.numbers(name))),
            folds=FOLDS,
            clusters=None if alike is None else torch.from_numpy(alike),
        )
        found.append(score_layers(having, y, classes, weights=weights, search=search, rows=ROWS))
    last = list(found[0])[-1]
    return {stage: _shown([(scores[stage], scores[last]) for scores in found]) for stage in found[0]}


def _shown(scores: Sequence[tuple[Score, Score]]) -> dict[str, Any]:
    """The mean over tasks, with its error, and that of the gain over the last stage."""
    wider = [evaluate.Groups.of(score.clusters).stretch for score, _ in scores]
    value, error = _mean([(score.mean, by * score.error) for by, (score, _) in zip(wider, scores, strict=True)])
    found = [paired(*both) for both in scores]
    gain, its = _mean([(mean, by * its) for by, (mean, its) in zip(wider, found, strict=True)])
    interval = {"low": value - 1.96 * error, "high": value + 1.96 * error}
    return {"value": value, "error": error, **interval, "gain": gain, "gain_error": its}


def _mean(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(v for v, _ in found) / len(found), math.sqrt(sum(e**2 for _, e in found)) / len(found)


def clearly_best(scores: Mapping[str, Mapping[str, Any]], last: str) -> str | None:
    """The best stage where it beats the last on the same rows by more than chance lets the best of so many do, at a
    level of 2.5 %; None where none does.
    """
    from scipy.stats import norm

    best = max(scores, key=lambda stage: float(scores[stage]["value"]))
    z = float(norm.isf(0.025 / max(1, len(scores) - 1)))
    return best if best != last and scores[best]["gain"] > z * scores[best]["gain_error"] else None


# ---------------------------------------------------------------- what a probe answers


@dataclass(frozen=True)
class Held:
    """A probe's answers on rows held out of it, as row statistics, and how much they tell.

    `gains` are by how much its loss lies below that of answering the same for every row and, of classes, by how much
    more often it is right: means over rows with standard errors, as shares of what there is to gain. Nothing is learnt
    where none is clearly above 0, and few rows cannot tell. Rows whose class has no other row count for nothing; it is
    empty where those are most.
    """

    task: Task  # its decoding tuned on those answers
    table: Floats
    plain: Floats  # row statistics of answering the same for every row
    gains: tuple[tuple[float, float], ...]
    clusters: Numbers | None = None  # the group of each row, of --group

    @property
    def learnt(self) -> bool | None:
        """Whether anything is; None where the rows cannot tell."""
        return learns([self.gains])


def learns(gains: Sequence[tuple[tuple[float, float], ...]], looks: int = 1) -> bool | None:
    """Whether any of some gains is above 0, at a level of 2.5 % shared among all looks; None where there are none, or
    where none is and yet one of half of all there is to gain would not be surprising: rows are too few.

    The best of many looks at noise is better than nothing by chance. `looks` counts more than the gains, where those
    were picked.
    """
    from scipy.stats import norm

    every = [one for some in gains for one in some]
    if not every:
        return None
    z = float(norm.isf(0.025 / max(looks, len(every))))
    if any(mean > z * error for mean, error in every):
        return True
    return None if any(max(mean, 0.0) + 1.96 * error > WORTH for mean, error in every) else False


def probed(
    x: Tensor,
    task: Task,
    values: Sequence[Any],
    seed: int,
    groups: Numbers | None,
    clusters: Numbers | None = None,
) -> Held:
    """The held-out answers of a probe on features (n, d) for rows that all have a target, their groups held out whole.

    The strength of its penalty is chosen by the loss and not by the metric, which then is not flattered by it. What the
    answers tell is sure by `clusters`: of `groups` those that `--group` names.
    """
    y, weights, classes = probe_targets(task, values)
    folds = min(5, len(y))
    search = replace(probe_search(task, None, seed, groups), metric="log_loss", folds=folds)
    _, answers = held_out(x, y, classes, weights=weights, search=search)
    same = constant(task, y, classes)
    tuned, table = tabled(task, answers, values)
    gains = gains_over(same, as_asked(task, answers, values), y, clusters)
    return Held(tuned, table, tabled(task, same, values)[1], gains, clusters)


def unweighted(task: Task, answers: Tensor) -> Tensor:
    """A probe's log-probabilities (n, classes) as they would be had its rows not been weighed by their class.

    Where rare classes count more, they look more probable, too.
    """
    weights = getattr(task, "weights", None)
    if task.kind != "classify" or weights is None:
        return answers
    return (answers.double() - torch.tensor(weights, dtype=torch.float64).log()).log_softmax(1)


def as_asked(task: Task, answers: Tensor, values: Sequence[Any]) -> Tensor:
    """Log-probabilities that can be held against the frequencies of classes: without the weights of classes, and no
    surer than they are right. Other answers are as they are.
    """
    if task.kind != "classify":
        return answers
    counted = unweighted(task, answers)
    tuned: Any = task.tuned(list(counted.numpy()), values)
    return (counted / float(tuned.decoding.value)).log_softmax(1)


def gains_over(
    same: Tensor, answers: Tensor, y: Tensor, clusters: Numbers | None = None
) -> tuple[tuple[float, float], ...]:
    """See `Held.gains`; errors are by `clusters`, where rows come in some."""
    base = losses(same, y)
    found, mine = [(base - losses(answers, y)) / max(float(base.mean()), 1e-12)], [clusters]
    if y.dim() == 1 and not y.is_floating_point():
        told = np.asarray((torch.bincount(y)[y] > 1).numpy())
        if told.sum() < max(2, len(y) / 2):
            return ()
        usual = np.asarray((same.argmax(1) == y).numpy(), np.float64)[told]
        right = np.asarray((answers.argmax(1) == y).numpy(), np.float64)[told]
        found = [found[0][told], (right - usual) / max(1 - float(usual.mean()), 1 / len(usual))]
        mine = [None if clusters is None else clusters[told]] * 2
    return tuple((float(one.mean()), _error(one, of)) for one, of in zip(found, mine, strict=True))


def _error(values: Floats, clusters: Numbers | None) -> float:
    """The standard error of a mean, robust to rows of one cluster being alike.

    >>> _error(np.array([1.0, 1, 0, 0]), np.array([7, 7, 8, 8])), _error(np.array([1.0, 0]), None)
    (0.5, 0.5)
    """
    of = evaluate.Groups.of(clusters)
    if of.codes is None:
        return float(values.std()) / math.sqrt(max(len(values) - 1, 1))
    sums = of.sums(values - values.mean())
    return math.sqrt(float((sums**2).sum()) * len(sums) / (len(sums) - 1)) / len(values)


def tabled(task: Task, answers: Tensor, values: Sequence[Any]) -> tuple[Task, Floats]:
    """The task tuned on some answers (n, outputs), as a run tunes it on validation, and their row statistics.

    A threshold for each label flatters the rows it was chosen on: each fifth of them is decided by those of the others.
    """
    raw = raw_answers(task, answers)
    tuned = task.tuned(raw, values)
    if task.kind != "multilabel" or len(raw) < 2:
        return tuned, tuned.table(tuned.decode(raw), values)
    fold = np.random.default_rng(0).permutation(len(raw)) % min(TUNINGS, len(raw))
    parts = [_decided(task, raw, values, fold == one) for one in range(int(fold.max()) + 1)]
    return tuned, np.concatenate(parts)[np.argsort(np.argsort(fold, kind="stable"), kind="stable")]


def _decided(task: Task, raw: Sequence[Any], values: Sequence[Any], mine: NDArray[np.bool_]) -> Floats:
    """Row statistics of some rows, decided as suits the others best."""
    rest, some = np.flatnonzero(~mine).tolist(), np.flatnonzero(mine).tolist()
    other = task.tuned([raw[i] for i in rest], [values[i] for i in rest])
    return other.table(other.decode([raw[i] for i in some]), [values[i] for i in some])


def raw_answers(task: Task, answers: Tensor) -> list[Any]:
    """Log-probabilities, logits or standardised numbers (n, outputs) as the raw answers of a task's head."""
    if task.kind == "regress":
        scale, mean = getattr(task, "scale", 1.0), getattr(task, "mean", 0.0)
        return list((answers[:, 0].double() * scale + mean).tolist())
    return list(answers.double().numpy())


def constant(task: Task, y: Tensor, classes: int | None) -> Tensor:
    """The answers (n, outputs) of what looks at no row: the frequency of each class or label, or the mean."""
    match task.kind:
        case "classify":
            assert classes is not None  # a classifier has some
            share = (torch.bincount(y, minlength=classes).double() + 1e-9) / (len(y) + 1e-9 * classes)
            return share.log().expand(len(y), -1)
        case "multilabel":
            share = y.double().mean(0).clamp(1e-6, 1 - 1e-6)
            return share.logit().expand(len(y), -1)
        case "regress":
            return y.double().mean().expand(len(y), 1)
    raise InternalError(f"no constant answer for a task of the kind {task.kind!r}")


def losses(answers: Tensor, y: Tensor) -> Floats:
    """The loss of each row: log-loss of classes (whole numbers) or labels (n, labels), squared error of numbers."""
    answers = answers.double()
    if y.dim() == 2:
        found = torch.nn.functional.binary_cross_entropy_with_logits(answers, y.double(), reduction="none").sum(1)
    elif y.is_floating_point():
        found = (answers[:, 0] - y.double()).square()
    else:
        found = -answers.gather(1, y[:, None])[:, 0]
    return np.asarray(found.numpy())
