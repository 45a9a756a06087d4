"""What all probes share: how the strength is searched for, how each fared, and what is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, one_hot

RANGES = 10  # of numbers, each of which every fold has its share of where rows come in groups


@dataclass(frozen=True)
class Search:
    """How the strength of the penalty is chosen.

    The objective is mean loss + strength / 2 x squared norm of the weights on standardised features: in
    scikit-learn's words C = 1 / (n x strength), alpha = n x strength. `strengths` None means a wide path. `groups`
    (n,) are numbers of rows: those of one group are held out together. `parts`: scores keep theirs. `clusters` (n,) are
    numbers of rows that are alike: errors are by those.
    """

    strengths: tuple[float, ...] | None = None
    folds: int = 5
    metric: Literal["accuracy", "balanced_accuracy", "log_loss"] = "accuracy"
    seed: int = 0
    groups: Tensor | None = None
    parts: bool = False
    clusters: Tensor | None = None


@dataclass(frozen=True)
class Score:
    """How a strength fared on held-out rows: mean of the deciding metric, its standard error, and the loss.

    `mean` is higher for better: accuracy, balanced accuracy, negative log-loss; R² for ridge. `loss` is the mean
    log-loss (nats) or squared error. `parts`, where kept, are what the rows add to the mean (n,), and `clusters` the
    number of each row's.
    """

    strength: float
    mean: float
    error: float
    loss: float
    parts: Tensor | None = field(default=None, repr=False, compare=False)
    clusters: Tensor | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Probe:
    """An affine map of raw features, and what was learnt while choosing it.

    `weight` (outputs, d) and `bias` (outputs,) act on the features as they were given. `oof` holds the answers on
    held-out rows at the chosen strength: log-probabilities (n, classes), logits (n, labels) or numbers (n, 1), of
    the training rows by cross-validation, or of the validation rows where those were given.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    scores: tuple[Score, ...]
    oof: Tensor

    @property
    def score(self) -> Score:
        """That of the chosen strength."""
        return next(score for score in self.scores if score.strength == self.strength)


def stratified_folds(y: Tensor, folds: int, seed: int = 0, groups: Tensor | None = None) -> Tensor:
    """The fold of each row (n,): random, of equal size, each with its share of every class or range of numbers.

    Rows of several labels are spread by the rarest label they have. Rows of one of `groups` (n,) share a fold, where
    there are two groups or more; sizes and shares are then as equal as that allows, and folds no more than groups.
    """
    if y.dim() == 2:
        rarity = torch.where(y > 0, y.sum(0), torch.inf)
        y = torch.where((y > 0).any(1), rarity.argmin(1), y.shape[1])
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    if groups is not None and 1 < (count := len(np.unique(groups.numpy()))) < len(y):
        return _grouped_folds(y, groups, min(folds, count), order)
    order = order[y[order].argsort(stable=True)]
    found = torch.empty(len(y), dtype=torch.long)
    found[order] = torch.arange(len(y)) % folds
    return found


def _grouped_folds(y: Tensor, groups: Tensor, folds: int, order: Tensor) -> Tensor:
    """The largest groups first, each to the fold that has least of its classes; then rows by themselves to what these
    folds lack. `order` is random and decides between equals.
    """
    strata = y.argsort(stable=True).argsort() * RANGES // len(y) if y.is_floating_point() else y
    stratum = np.unique(strata[order].numpy(), return_inverse=True)[1]
    _, first, group, sizes = np.unique(
        groups[order].numpy(), return_index=True, return_inverse=True, return_counts=True
    )
    members, ends = np.argsort(group, kind="stable"), np.cumsum(sizes)
    whole, found = np.bincount(stratum), np.empty(len(y), np.int64)
    have, filled = np.zeros((folds, len(whole)), np.int64), np.zeros(folds, np.int64)
    for one in np.lexsort((first, -sizes))[: int((sizes > 1).sum())].tolist():
        rows = members[ends[one] - sizes[one] : ends[one]]
        classes, counts = np.unique(stratum[rows], return_counts=True)
        at = np.lexsort((filled, have[:, classes] @ (counts / whole[classes] ** 2)))[0]
        found[rows] = at
        have[at, classes] += counts
        filled[at] += len(rows)
    alone = np.flatnonzero(sizes[group] == 1)
    alone = alone[np.argsort(stratum[alone], kind="stable")]
    for rows in np.split(alone, np.flatnonzero(np.diff(stratum[alone])) + 1) if len(alone) else ():
        emptiest = np.argsort(filled, kind="stable").argsort()[:, None]  # decides between folds at one level
        places = (have[:, stratum[rows[0]], None] + np.arange(len(rows))) * folds + emptiest
        taken = np.bincount(np.argpartition(places.ravel(), len(rows) - 1)[: len(rows)] // len(rows), minlength=folds)
        found[rows] = np.repeat(np.arange(folds), taken)
        filled += taken
    result = torch.empty(len(y), dtype=torch.long)
    result[order] = torch.from_numpy(found)
    return result


def mean_and_error(values: Tensor, rows: Tensor, clusters: Tensor | None = None) -> tuple[float, float]:
    """The weighted mean, and its standard error, robust to rows of one cluster being alike.

    >>> right, alike = torch.tensor([1.0, 1, 0, 0]), torch.tensor([5, 5, 0, 0])
    >>> [round(mean_and_error(right, torch.ones(4), of)[1], 3) for of in (None, alike)]
    [0.25, 0.354]
    """
    values, shares = values.double(), rows.double() / rows.double().sum()
    mean = (values * shares).sum()
    return float(mean), _root((values - mean) * shares, clusters)


def _root(off: Tensor, clusters: Tensor | None) -> float:
    """The standard error of a sum of parts that are 0 in the mean."""
    if clusters is not None:
        off = off.new_zeros(int(clusters.max()) + 1).index_add(0, clusters, off)
    return float(off.square().sum().sqrt())


def log_probabilities(outputs: Tensor, y: Tensor) -> Tensor:
    """Log-probabilities of classes; where `y` holds marks of labels, the outputs as they are."""
    if y.dim() == 2:
        return outputs
    return (
        torch.cat([logsigmoid(-outputs), logsigmoid(outputs)], 1) if outputs.shape[1] == 1 else outputs.log_softmax(1)
    )


def judge(outputs: Tensor, y: Tensor, rows: Tensor, strength: float, search: Search) -> Score:
    """How held-out outputs (n, k) fared against targets, rows weighing `rows`."""
    if y.dim() == 2:
        losses = binary_cross_entropy_with_logits(outputs, y.to(outputs), reduction="none").sum(1)
    else:
        answers = log_probabilities(outputs, y)
        losses = -answers.gather(1, y[:, None])[:, 0]
    clusters = search.clusters
    loss, error = mean_and_error(losses, rows, clusters)
    if y.dim() == 2 or search.metric == "log_loss":
        return Score(strength, -loss, error, loss, _parts(-losses, rows) if search.parts else None, clusters)
    if search.metric == "balanced_accuracy":
        rows = 1 / one_hot(y).sum(0)[y]
    right = answers.argmax(1) == y
    mean, error = mean_and_error(right, rows, clusters)
    return Score(strength, mean, error, loss, _parts(right, rows) if search.parts else None, clusters)


def _parts(values: Tensor, rows: Tensor) -> Tensor:
    return values.double() * rows.double() / rows.double().sum()


def paired(one: Score, other: Score) -> tuple[float, float]:
    """By how much a score is above another on the same held-out rows, and the standard error of that.

    >>> right, half = (torch.tensor(x) / 4 for x in ([1.0, 1, 1, 1], [1.0, 1, 0, 0]))
    >>> paired(Score(1.0, 1.0, 0.0, 0.0, right), Score(1.0, 0.5, 0.25, 0.0, half))
    (0.5, 0.25)
    """
    assert one.parts is not None
    assert other.parts is not None
    apart = one.parts - other.parts
    return one.mean - other.mean, _root(apart - apart.mean(), one.clusters)
