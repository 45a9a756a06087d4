"""Probes on sparse features, as word counts are: neither centred nor scaled, thousands of columns, few of them full."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ukulele.tools.lbfgs import Logistic, minimise, onwards
from ukulele.tools.search import Probe, Score, Search, judge, log_probabilities, mean_and_error, stratified_folds

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# a strength, where it may start, whether it is the last fit -> weights (d + 1, k), the bias last
Solve: TypeAlias = Callable[[float, Sequence[Tensor], bool], Tensor]
# rows, their targets and their weights, prepared once for all strengths
Fit: TypeAlias = "Callable[[csr_matrix, Tensor, Tensor], Solve]"

COSTS = tuple(10 ** (0.5 * i - 1) for i in range(8))  # 0.1 to 300, scikit-learn's C = 1 / (n x strength)
FEW_COSTS = (1.0, 10.0, 100.0, 1000.0)  # where a fit takes seconds
PENALTIES = tuple(10 ** (0.5 * i - 1.5) for i in range(7))  # 0.03 to 30, scikit-learn's alpha = n x strength
MANY = 10  # classes or labels from which fits are few: three folds, four strengths
TOLERANCE, LAST_TOLERANCE = 1e-5, 1e-8  # nats


def sparse_logistic(
    x: csr_matrix,
    y: Tensor,
    classes: int,
    weights: Tensor | None,
    validation: tuple[Any, Tensor] | None,
    search: Search,
) -> Probe:
    """As `fit_logistic`, on a scipy csr matrix."""
    y = y.detach().cpu()
    binary = classes == 2 and y.dim() == 1
    few = classes >= MANY
    costs = FEW_COSTS if few else COSTS
    strengths = search.strengths or tuple(1 / (x.shape[0] * cost) for cost in costs)
    marks = y[:, None].float() if binary else y
    search = replace(search, folds=min(search.folds, 3)) if few else search
    held = _Held(x, marks, weights, validation, search)
    fit = _logistic_of(1 if binary else classes)
    outputs = held.answers(fit, strengths)
    truth = held.truth[:, 0].long() if binary else held.truth
    scores = tuple(judge(o, truth, held.truth_rows, s, search) for s, o in outputs.items())
    best = max(scores, key=lambda found: (found.mean, -found.loss))
    w = fit(x, held.y, held.rows)(best.strength, (), True)
    weight, bias = w[:-1].T.float().contiguous(), w[-1].float()
    if binary:
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return Probe(weight, bias, best.strength, scores, log_probabilities(outputs[best.strength], y))


def sparse_ridge(
    x: csr_matrix, y: Tensor, weights: Tensor | None, validation: tuple[Any, Tensor] | None, search: Search
) -> Probe:
    """As `fit_ridge`, on a scipy csr matrix."""
    y = y.detach().cpu().float()
    strengths = search.strengths or tuple(penalty / x.shape[0] for penalty in PENALTIES)
    held = _Held(x, y, weights, validation, search)
    outputs = held.answers(_least_squares, strengths)
    centre = (held.truth * held.truth_rows).sum() / held.truth_rows.sum()
    spread = max(mean_and_error((held.truth - centre).square(), held.truth_rows)[0], 1e-12)
    scores = []
    for strength, answers in outputs.items():
        loss, error = mean_and_error((answers[:, 0] - held.truth).square(), held.truth_rows)
        scores.append(Score(strength, 1 - loss / spread, error / spread, loss))
    best = min(scores, key=lambda found: found.loss)
    w = _least_squares(x, y, held.rows)(best.strength, (), True)
    return Probe(w[:-1].T.float().contiguous(), w[-1].float(), best.strength, tuple(scores), outputs[best.strength])


class _Held:
    """Which rows are held out of which fit: each once, by folds, or the validation rows."""

    def __init__(
        self,
        x: csr_matrix,
        y: Tensor,
        weights: Tensor | None,
        validation: tuple[Any, Tensor] | None,
        search: Search,
    ) -> None:
        self.x, self.y = x, y
        self.rows = torch.ones(len(y)) if weights is None else weights.detach().float().cpu()
        self.validation, self.search = validation, search
        self.truth = y if validation is None else validation[1].detach().to(y).reshape(-1, *y.shape[1:])
        self.truth_rows = self.rows if validation is None else torch.ones(len(self.truth))

    def answers(self, fit: Fit, strengths: tuple[float, ...]) -> dict[float, Tensor]:
        """By strength, the outputs (n, k) for the held-out rows; each fit starts from the one before."""
        found: dict[float, Tensor] = {}
        for inside, outside, held in self._parts():
            starts, solve = list[Tensor](), fit(self.x[inside.numpy()], self.y[inside], self.rows[inside])
            path: list[Tensor] = []
            for strength in sorted(strengths, reverse=True):
                path = [*path[-1:], w := solve(strength, starts, False)]
                starts = onwards(path)
                outputs = torch.from_numpy(np.asarray(outside @ w[:-1].numpy())).float() + w[-1].float()
                found.setdefault(strength, outputs.new_empty(len(self.truth), outputs.shape[1]))[held] = outputs
        return found

    def _parts(self) -> list[tuple[Tensor, Any, Tensor]]:
        """Rows to fit on, features held out, and where their answers go."""
        if self.validation is not None:
            everywhere = torch.arange(len(self.truth))
            return [(torch.arange(len(self.y)), self.validation[0], everywhere)]
        parts, folds = [], min(self.search.folds, len(self.y))
        fold = stratified_folds(self.y, folds, self.search.seed, self.search.groups)
        for one in range(int(fold.max()) + 1):
            held = (fold == one).nonzero()[:, 0]
            parts.append(((fold != one).nonzero()[:, 0], self.x[held.numpy()], held))
        return parts


def _logistic_of(outputs: int) -> Fit:
    """Several classes, or labels where targets are marks."""

    def prepare(x: csr_matrix, y: Tensor, rows: Tensor) -> Solve:
        problem = Logistic(_Sparse(x), y.float() if y.dim() == 2 else y, (rows / rows.sum())[:, None], outputs)

        def solve(strength: float, starts: Sequence[Tensor], last: bool) -> Tensor:
            some = [w[:, None] for w in starts or [torch.zeros(x.shape[1] + 1, outputs)]]
            return minimise(problem, strength, some, LAST_TOLERANCE if last else TOLERANCE)[:, 0]

        return solve

    return prepare


def _least_squares(x: csr_matrix, y: Tensor, rows: Tensor) -> Solve:
    """A number."""
    from sklearn.linear_model import Ridge

    target, weights = y.numpy().astype(x.dtype), rows.numpy().astype(x.dtype)

    def solve(strength: float, _starts: Sequence[Tensor], last: bool) -> Tensor:
        model = Ridge(alpha=float(rows.sum()) * strength, solver="sparse_cg", tol=1e-6 if last else 1e-4)
        model.fit(x, target, sample_weight=weights)
        return torch.from_numpy(np.append(model.coef_, model.intercept_)[:, None]).float()

    return solve


class _Sparse:
    """A csr matrix with a last column of ones, as far as `Logistic` needs a matrix."""

    def __init__(self, x: csr_matrix) -> None:
        from scipy.sparse import csr_matrix, hstack

        whole = csr_matrix(hstack([x, np.ones((x.shape[0], 1))]), dtype=np.float32)
        self.squares = torch.from_numpy(np.asarray(whole.multiply(whole).mean(0)).ravel())
        self.rows, self.columns = _torch(whole), _torch(csr_matrix(whole.T))

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def __matmul__(self, w: Tensor) -> Tensor:
        return self.rows @ w

    def back(self, residual: Tensor) -> Tensor:
        """The transposed matrix times the residuals."""
        return self.columns @ residual

    def mean_squares(self) -> Tensor:
        """Of each column."""
        return self.squares


def _torch(matrix: csr_matrix) -> Tensor:
    starts, columns = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
    with (
        warnings.catch_warnings()
    ):  # torch calls these tensors a beta feature; a product of two matrices is all we need
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(starts, columns, torch.from_numpy(matrix.data), size=matrix.shape)
