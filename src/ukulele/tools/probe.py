"""Linear probes: the best penalised logistic or ridge regression on fixed features, found in a second or so.

One path of penalty strengths, from strong to weak with warm starts; all cross-validation folds at once; features
standardised and turned to their principal axes, where the problem is nearly diagonal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from ukulele.tools.axes import Axes, principal_axes
from ukulele.tools.lbfgs import Dense, Logistic, minimise, onwards
from ukulele.tools.search import (
    Probe,
    Score,
    Search,
    judge,
    log_probabilities,
    mean_and_error,
    stratified_folds,
)
from ukulele.tools.sparse_probe import sparse_logistic, sparse_ridge

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Features: TypeAlias = "Tensor | csr_matrix"

__all__ = [
    "Probe",
    "Score",
    "Search",
    "by_strength",
    "fit_logistic",
    "fit_ridge",
    "held_out",
    "score_layers",
    "stratified_folds",
]

LOGISTIC_STRENGTHS = tuple(10 ** (0.75 * i - 5) for i in range(9))  # 1e-5 to 10
RIDGE_STRENGTHS = tuple(10 ** (0.75 * i - 4) for i in range(9))  # 1e-4 to 100

AT_ONCE = 300_000  # outputs at a time, rows x folds x classes: few enough for the processor's own memory
DOUBLE = 20_000_000  # numbers in the features up to which the last fit is in float64
TOLERANCE, LAST_TOLERANCE = 1e-6, 1e-11  # nats


def fit_logistic(
    x: Features,
    y: Tensor,
    classes: int,
    *,
    weights: Tensor | None = None,
    validation: tuple[Features, Tensor] | None = None,
    search: Search | None = None,
) -> Probe:
    """The best L2-penalised logistic regression.

    Parameters
    ----------
    x
        Features (n, d), a tensor or a scipy csr matrix (which is neither centred nor scaled).
    y
        True classes (n,), long, or marks of 0 and 1 (n, labels). Every row must have its target.
    classes
        Number of classes or labels.
    weights
        Weights of rows (n,), not negative.
    validation
        Features and targets that choose the strength instead of cross-validation.
    search
        Strengths, folds, metric, seed.

    Returns
    -------
    Probe
        `weight` (classes, d): logits of a softmax, or one logit a label where `y` holds marks.

    Examples
    --------
    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> probe = fit_logistic(x, torch.tensor([0, 0, 1, 1]), 2, search=Search(folds=2))
    >>> (x @ probe.weight.T + probe.bias).argmax(1).tolist()
    [0, 0, 1, 1]
    """
    search = search or Search()
    if not isinstance(x, Tensor):
        return sparse_logistic(x, y, classes, weights, validation, search)
    space = principal_axes(x)
    problem = _problem(space, x, y, weights, validation, search)
    scores, best, oof = _logistic_path(problem, classes, search)
    last = _last_fit(problem, classes, best[0], best[1])
    weight, bias = space.unfold(last)
    if classes == 2 and y.dim() == 1:
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return Probe(weight, bias, best[0], scores, oof)


def fit_ridge(
    x: Features,
    y: Tensor,
    *,
    weights: Tensor | None = None,
    validation: tuple[Features, Tensor] | None = None,
    search: Search | None = None,
) -> Probe:
    """The best ridge regression, in closed form for every strength and fold.

    Parameters
    ----------
    x
        Features (n, d), a tensor or a scipy csr matrix.
    y
        Numbers (n,), best standardised. Every row must have its target.
    weights, validation, search
        As for `fit_logistic`; the metric is always R².
    """
    search = search or Search()
    if not isinstance(x, Tensor):
        return sparse_ridge(x, y, weights, validation, search)
    space = principal_axes(x)
    problem = _problem(space, x, y.double(), weights, validation, search)
    strengths = sorted(search.strengths or RIDGE_STRENGTHS, reverse=True)
    grams = _grams(problem, masks=problem.shares)
    held = problem.held >= 0
    answers = torch.stack([_held_answers(problem, _ridge(*grams, strength)) for strength in strengths])
    errors = (answers - problem.y[held]).square()
    rows = problem.rows[held]
    centre = (problem.y[held] * rows).sum() / rows.sum()
    spread = ((problem.y[held] - centre).square() * rows).sum() / rows.sum()
    scores = []
    for strength, squared in zip(strengths, errors, strict=True):
        loss, error = mean_and_error(squared, rows, search.clusters)
        unit = max(float(spread), 1e-12)
        parts = (1 - squared.double() / unit) * rows.double() / rows.double().sum() if search.parts else None
        scores.append(Score(strength, 1 - loss / unit, error / unit, loss, parts, search.clusters))
    best = min(range(len(scores)), key=lambda i: scores[i].loss)
    whole = (problem.rows * (torch.arange(len(problem.rows)) < problem.train))[:, None]
    weight, bias = space.unfold(_ridge(*_grams(problem, whole / whole.sum()), strengths[best]))
    return Probe(weight, bias, strengths[best], tuple(scores), answers[best].float()[:, None])


def score_layers(
    features: Mapping[str, Tensor],
    y: Tensor,
    classes: int | None,
    *,
    weights: Tensor | None = None,
    search: Search | None = None,
    rows: int = 5000,
) -> dict[str, Score]:
    """How well a probe on each layer's features does, cheaply: on at most `rows` rows and half the strengths. Scores
    hold their `parts`.

    Parameters
    ----------
    features
        By layer (n, d of that layer).
    y, weights
        As for `fit_logistic`, or for `fit_ridge` where `classes` is None.
    classes
        Number of classes or labels; None for numbers.
    search
        Folds, metric, seed. All layers share the folds.
    rows
        At most that many rows are used, drawn so that classes keep their shares.
    """
    search = search or Search()
    strengths = search.strengths or (RIDGE_STRENGTHS if classes is None else LOGISTIC_STRENGTHS)[::2]
    search = replace(search, strengths=strengths, parts=True)
    pieces = -(-len(y) // rows)
    chosen = (stratified_folds(y, pieces, search.seed) == 0).nonzero()[:, 0] if pieces > 1 else slice(None)
    y, weights = y[chosen], None if weights is None else weights[chosen]
    bound, alike = (None if of is None else of[chosen] for of in (search.groups, search.clusters))
    search = replace(search, groups=bound, clusters=alike)
    found = {}
    for name, x in features.items():
        space = principal_axes(x[chosen])
        if classes is None:
            found[name] = fit_ridge(x[chosen], y, weights=weights, search=search).score
            continue
        scores, best, _ = _logistic_path(_problem(space, x[chosen], y, weights, None, search), classes, search)
        found[name] = next(score for score in scores if score.strength == best[0])
    return found


def held_out(
    x: Tensor,
    y: Tensor,
    classes: int | None,
    *,
    weights: Tensor | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    search: Search | None = None,
) -> tuple[Score, Tensor]:
    """How a probe fares on rows that it has not seen, and its answers there (n, outputs); no probe is kept.

    Parameters
    ----------
    x, y, weights, validation
        As for `fit_logistic`, or for `fit_ridge` where `classes` is None; x is dense.
    classes
        Number of classes or labels; None for numbers.
    search
        Half of the default strengths are tried where it names none.

    Returns
    -------
    tuple
        The score at the best strength, and what `Probe.oof` is there.
    """
    search = search or Search()
    if classes is None:
        probe = fit_ridge(x, y, weights=weights, validation=validation, search=search)
        return probe.score, probe.oof
    search = replace(search, strengths=search.strengths or LOGISTIC_STRENGTHS[::2])
    problem = _problem(principal_axes(x), x, y, weights, validation, search)
    scores, best, answers = _logistic_path(problem, classes, search)
    return next(score for score in scores if score.strength == best[0]), answers


def by_strength(
    x: Tensor, y: Tensor, classes: int | None, validation: tuple[Tensor, Tensor], *, weights: Tensor | None = None,
    search: Search,
) -> tuple[tuple[Score, ...], Tensor]:  # fmt: skip
    """The same for every strength of the search: scores on the validation rows, and the answers there (strengths, n,
    outputs). Who chooses a strength by them must not be judged by them.
    """
    if classes is not None:
        every: list[Tensor] = []
        problem = _problem(principal_axes(x), x, y, weights, validation, search)
        scores, _, _ = _logistic_path(problem, classes, search, every)
        return scores, torch.stack(every)
    strengths = sorted(search.strengths or RIDGE_STRENGTHS, reverse=True)
    searches = [replace(search, strengths=(strength,)) for strength in strengths]
    probes = [fit_ridge(x, y, weights=weights, validation=validation, search=one) for one in searches]
    return tuple(probe.score for probe in probes), torch.stack([probe.oof for probe in probes])


# ---------------------------------------------------------------- folds


@dataclass(frozen=True)
class _Problem:
    """Rows, and for each of several fits how much they weigh in it. The first `train` rows are the last fit's."""

    x: Tensor
    y: Tensor
    rows: Tensor  # (n,) weights
    shares: Tensor  # (n, fits), columns sum to 1
    held: Tensor  # (n,) the fit that a row is held out of, -1 for none
    train: int


def _problem(
    space: Axes,
    x: Tensor,
    y: Tensor,
    weights: Tensor | None,
    validation: tuple[Features, Tensor] | None,
    search: Search,
) -> _Problem:
    x, y, train = space.turn(x), y.detach().cpu(), len(y)
    rows = torch.ones(train) if weights is None else weights.detach().float().cpu()
    if validation is None:
        held = stratified_folds(y, min(search.folds, train), search.seed, search.groups)
    else:
        x = torch.cat([x, space.turn(torch.as_tensor(validation[0]))])
        y = torch.cat([y, validation[1].detach().to(y)])
        rows = torch.cat([rows, torch.ones(len(y) - train)])
        held = torch.cat([torch.full((train,), -1), torch.zeros(len(y) - train, dtype=torch.long)])
    shares = rows[:, None] * (held[:, None] != torch.arange(int(held.max()) + 1))
    return _Problem(x, y, rows, shares / shares.sum(0), held, train)


# ---------------------------------------------------------------- logistic


def _targets(problem: _Problem, classes: int) -> Tensor:
    """Two classes are one sigmoid: half the work, and the penalty is that of the difference."""
    if problem.y.dim() == 2:
        return problem.y.to(problem.x.dtype)
    return problem.y[:, None].to(problem.x.dtype) if classes == 2 else problem.y


def _logistic_path(
    problem: _Problem, classes: int, search: Search, every: list[Tensor] | None = None
) -> tuple[tuple[Score, ...], tuple[float, Tensor], Tensor]:
    """Scores along the path; the best strength and the folds' mean weights there (d + 1, k); held-out answers, and to
    `every` those of each strength.
    """
    y = _targets(problem, classes)
    outputs = y.shape[1] if y.dim() == 2 else classes
    fits = problem.shares.shape[1]
    together = max(1, min(fits, AT_ONCE // (len(y) * outputs)))
    path: list[Tensor] = []
    starts = [torch.zeros(problem.x.shape[1], fits, outputs)]
    held = problem.held >= 0
    scores: list[Score] = []
    best: tuple[tuple[float, float], float, Tensor, Tensor] | None = None
    for strength in sorted(search.strengths or LOGISTIC_STRENGTHS, reverse=True):
        solved = []
        for first in range(0, fits, together):
            some = slice(first, first + together)
            fold = _fold(problem, y, some, outputs)
            solved.append(minimise(fold, strength, [start[:, some] for start in starts], TOLERANCE))
        path = [*path[-1:], w := torch.cat(solved, 1)]
        starts = onwards(path)
        answers = _held_answers(problem, w)
        score = judge(answers, problem.y[held], problem.rows[held], strength, search)
        scores.append(score)
        if every is not None:
            every.append(log_probabilities(answers, problem.y))
        if best is None or (score.mean, -score.loss) > best[0]:
            best = ((score.mean, -score.loss), strength, w.mean(1), answers)
    assert best is not None  # a path has a strength
    return tuple(scores), (best[1], best[2]), log_probabilities(best[3], problem.y)


def _fold(problem: _Problem, y: Tensor, some: slice, outputs: int) -> Logistic:
    """Some of the fits; the rows that a single one does not look at are left out."""
    shares = problem.shares[:, some]
    if shares.shape[1] > 1:
        return Logistic(Dense(problem.x), y, shares, outputs)
    inside = shares[:, 0] > 0
    return Logistic(Dense(problem.x[inside]), y[inside], shares[inside], outputs)


def _held_answers(problem: _Problem, w: Tensor) -> Tensor:
    """Each held-out row's outputs from the fit that has not seen it: (rows, k), or (rows,) for (d + 1, fits)."""
    where = (problem.held >= 0).nonzero()[:, 0]
    found = torch.empty(len(where), *w.shape[2:], dtype=w.dtype)
    for fit in range(w.shape[1]):
        inside = problem.held[where] == fit
        found[inside] = problem.x[where[inside]].to(w.dtype) @ w[:, fit]
    return found


def _last_fit(problem: _Problem, classes: int, strength: float, start: Tensor) -> Tensor:
    """The optimum on all training rows (d + 1, k), in float64 where that is cheap."""
    dtype = torch.float64 if problem.x[: problem.train].numel() <= DOUBLE else torch.float32
    x, y = problem.x[: problem.train].to(dtype), _targets(problem, classes)[: problem.train]
    shares = problem.rows[: problem.train, None].to(dtype)
    fit = Logistic(Dense(x), y.to(dtype) if y.dim() == 2 else y, shares / shares.sum(), start.shape[1])
    tolerance = LAST_TOLERANCE if dtype == torch.float64 else TOLERANCE / 10
    return minimise(fit, strength, [start[:, None].to(dtype)], tolerance, limit=500)[:, 0]


# ---------------------------------------------------------------- ridge


def _grams(problem: _Problem, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Second moments of the features (fits, d + 1, d + 1) and with the target (fits, d + 1), in float64."""
    squares, crosses = [], []
    for share in masks.T.double():
        inside = share > 0
        x = problem.x[inside].double()
        weighted = x * share[inside][:, None]
        squares.append(x.T @ weighted)
        crosses.append(weighted.T @ problem.y[inside])
    return torch.stack(squares), torch.stack(crosses)


def _ridge(squares: Tensor, crosses: Tensor, strength: float) -> Tensor:
    """Weights (d + 1, fits); the bias, last, is not penalised."""
    penalty = torch.full_like(squares[0, 0], strength)
    penalty[-1] = 1e-12
    factor = torch.linalg.cholesky(squares + torch.diag(penalty))
    return torch.cholesky_solve(crosses[..., None], factor)[..., 0].T
