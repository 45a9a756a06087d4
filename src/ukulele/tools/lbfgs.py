"""Several L2-penalised logistic regressions on the same features, solved at once.

L-BFGS (Liu & Nocedal, 1989) with one difference: features lie on their principal axes, so the inverse of the
Hessian's bound is diagonal and makes a good first guess of it. That takes some 10 to 20 passes instead of hundreds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

MEMORY = 12  # pairs of steps and changes of the gradient that are kept
HALVINGS = 12
FLATTEST = 1e-6  # curvature, below which it counts as that: where all is learnt there would be none


class Matrix(Protocol):
    """Features (n, d + 1), dense or sparse, the last of them the constant 1."""

    def __len__(self) -> int:
        """Rows."""
        ...

    def __matmul__(self, w: Tensor, /) -> Tensor:
        """The matrix times weights."""
        ...

    def back(self, residual: Tensor) -> Tensor:
        """The transposed matrix times residuals."""
        ...

    def mean_squares(self) -> Tensor:
        """Of each column."""
        ...


@dataclass(frozen=True)
class Dense:
    """A plain tensor as a matrix."""

    x: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __matmul__(self, w: Tensor, /) -> Tensor:
        return self.x @ w

    def back(self, residual: Tensor) -> Tensor:
        """The transposed matrix times residuals."""
        return self.x.T @ residual

    def mean_squares(self) -> Tensor:
        """Of each column."""
        return self.x.square().mean(0)


@dataclass(frozen=True)
class Logistic:
    """Problems that differ in the weights of their rows and share everything else.

    The value of problem f is the weighted mean of its rows' losses plus half the strength times the sum of its
    squared weights; the last feature is the constant 1, and its weight, the bias, is not penalised.

    Parameters
    ----------
    x
        Features (n, d + 1) on their principal axes; the last column is 1.
    y
        True classes (n,), long: softmax; or 0 and 1 (n, k), floating: k sigmoids.
    shares
        The weight of each row in each problem (n, problems); columns sum to 1.
    outputs
        k, the number of classes or labels.
    """

    x: Matrix
    y: Tensor
    shares: Tensor
    outputs: int

    def scores(self, w: Tensor) -> Tensor:
        """Outputs (n, problems, k) for weights (d + 1, problems, k)."""
        return (self.x @ w.flatten(1)).view(len(self.x), -1, self.outputs)

    def look(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each row in each problem (n, problems), and the probabilities (n, problems, k)."""
        if self.y.dim() == 2:
            return (softplus(z) - self.y[:, None] * z).sum(2), z.sigmoid()
        logs = z.log_softmax(2)
        return -logs.gather(2, self._true)[..., 0], logs.exp_()

    def value(self, losses: Tensor, w: Tensor, strength: float) -> Tensor:
        """The value of each problem (problems,)."""
        return (losses * self.shares).sum(0) + 0.5 * strength * w[:-1].square().sum((0, 2))

    def gradient(self, p: Tensor, w: Tensor, strength: float) -> Tensor:
        """The gradient (d + 1, problems, k) where the probabilities are `p`, which are used up."""
        if self.y.dim() == 2:
            p -= self.y[:, None]
        else:
            p.scatter_add_(2, self._true, p.new_full((1,), -1.0).expand(self._true.shape))
        gradient = self.x.back(p.mul_(self.shares[..., None]).flatten(1)).view_as(w)
        gradient[:-1].add_(w[:-1], alpha=strength)
        return gradient

    def guess(self, p: Tensor, strength: float) -> Tensor:
        """The inverse of the Hessian, were the curvature the same in every row and output (d + 1, problems, 1).

        The same for all outputs: else steps would leave the weights that sum to 0 over the classes of a softmax, and
        what sticks out of them is pulled back by the penalty alone.
        """
        curvature = ((p - p.square()).mean(2) * self.shares).sum(0).clamp(min=FLATTEST)
        spread = self.x.mean_squares()[:, None] * curvature
        spread[:-1] += strength
        return 1 / spread.clamp(min=1e-12)[..., None]

    @property
    def _true(self) -> Tensor:
        return self.y[:, None, None].expand(-1, self.shares.shape[1], 1)


def minimise(
    problems: Logistic, strength: float, starts: Sequence[Tensor], tolerance: float, limit: int = 200
) -> Tensor:
    """The weights (d + 1, problems, k) that minimise each problem's value.

    Parameters
    ----------
    problems, strength
        What is minimised.
    starts
        Weights to start from, of the same shape; each problem takes the best of them. They are not altered.
    tolerance
        A problem is done when it can hardly lose more than this, in nats.
    limit
        Passes at most.
    """
    here = _best(problems, strength, starts)
    guess = problems.guess(here.p, strength)
    gradient = problems.gradient(here.p, here.w, strength)
    history: list[tuple[Tensor, Tensor, Tensor]] = []
    moving = torch.ones_like(here.value, dtype=torch.bool)
    for _ in range(limit):
        active = moving & (_dot(gradient, guess * gradient) > 2 * tolerance)
        if not active.any():
            break
        move = _two_loops(gradient, guess, history).neg_()
        step, here = _downhill(problems, strength, here, (move, _dot(gradient, move), active))
        moving = moving & (step > 0)
        old, gradient = gradient, problems.gradient(here.p, here.w, strength)
        move, turn = move.mul_(step[:, None]), gradient - old
        bend = _dot(move, turn)
        history.append((move, turn, torch.where(bend > 0, 1 / bend, 0.0)))
        del history[:-MEMORY]
    return here.w


@dataclass(frozen=True)
class _Place:
    """Weights, their outputs, values and probabilities."""

    w: Tensor
    z: Tensor
    value: Tensor
    p: Tensor


def _place(problems: Logistic, strength: float, w: Tensor, z: Tensor) -> _Place:
    losses, p = problems.look(z)
    return _Place(w, z, problems.value(losses, w, strength), p)


def _best(problems: Logistic, strength: float, starts: Sequence[Tensor]) -> _Place:
    """Of several weights those of the least value, by problem."""
    here = _place(problems, strength, starts[0], problems.scores(starts[0]))
    for start in starts[1:]:
        there = _place(problems, strength, start, problems.scores(start))
        lower = (there.value < here.value)[:, None]
        w, z, p = (torch.where(lower, getattr(there, x), getattr(here, x)) for x in ("w", "z", "p"))
        here = _Place(w, z, torch.minimum(there.value, here.value), p)
    return here


def _downhill(
    problems: Logistic, strength: float, here: _Place, way: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, _Place]:
    """How far each active problem goes along a move (0: it finds no lower value), and where that is.

    `way`: the move, its slope, and which problems are active.
    """
    move, slope, active = way
    change, step = problems.scores(move), active.to(slope.dtype)
    for shorter in range(HALVINGS + 1):
        w, z = torch.addcmul(here.w, move, step[:, None]), torch.addcmul(here.z, change, step[:, None])
        there = _place(problems, strength, w, z)
        short = (step > 0) & ~(there.value <= here.value + 1e-4 * step * slope)
        if not short.any():
            break
        step = torch.where(short, step * 0.4 if shorter < HALVINGS - 1 else 0.0, step)
    return step, there


def onwards(solved: Sequence[Tensor]) -> list[Tensor]:
    """Where to start for the next strength of a path in equal ratios: where the last one ended, or as far again."""
    *before, last = solved[-2:]
    return [last, *(2 * last - w for w in before)]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    if a.shape[1] == 1:
        return torch.dot(a.flatten(), b.flatten())[None]
    return (a * b).sum((0, 2))


def _two_loops(gradient: Tensor, guess: Tensor, history: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The estimate of the inverse Hessian times the gradient. Pairs without curvature (0) change nothing."""
    q, alphas = gradient.clone(), []
    for move, turn, inverse in reversed(history):
        alpha = inverse * _dot(move, q)
        alphas.append(alpha)
        q.addcmul_(turn, alpha[:, None], value=-1)
    q.mul_(guess)
    if history:
        move, turn, inverse = history[-1]
        ratio = _dot(move, turn) / _dot(turn, guess * turn)
        q.mul_(torch.where(inverse > 0, ratio, 1.0)[:, None])
    for (move, turn, inverse), alpha in zip(history, reversed(alphas), strict=True):
        q.addcmul_(move, (alpha - inverse * _dot(turn, q))[:, None])
    return q
