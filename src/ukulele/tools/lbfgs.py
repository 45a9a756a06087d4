"""Several L2-penalised logistic regressions on the same features, solved at once.

L-BFGS (Liu & Nocedal, 1989) with one difference: features lie on their principal axes, so the inverse of the
Hessian's bound is diagonal and makes a good first guess of it. That takes some 10 to 20 passes instead of hundreds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

MEMORY = 12  # pairs of steps and changes of the gradient that are kept
HALVINGS = 12


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

    def losses(self, z: Tensor) -> Tensor:
        """The loss of each row in each problem (n, problems)."""
        if self.y.dim() == 2:
            return (softplus(z) - self.y[:, None] * z).sum(2)
        true = z.gather(2, self.y[:, None, None].expand(-1, z.shape[1], 1))[..., 0]
        return z.logsumexp(2) - true

    def value(self, z: Tensor, w: Tensor, strength: float) -> Tensor:
        """The value of each problem (problems,)."""
        penalty = 0.5 * strength * w[:-1].square().sum((0, 2))
        return (self.losses(z) * self.shares).sum(0) + penalty

    def gradient(self, z: Tensor, w: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """The gradient (d + 1, problems, k), and the mean curvature of the loss in each problem's outputs."""
        if self.y.dim() == 2:
            p = z.sigmoid()
            residual = p - self.y[:, None]
        else:
            p = z.softmax(2)
            residual = p.clone()
            residual.scatter_add_(
                2, self.y[:, None, None].expand(-1, z.shape[1], 1), -torch.ones_like(residual[..., :1])
            )
        curvature = ((1 - p.square().mean(2) / p.mean(2).clamp(min=1e-12)) * p.mean(2) * self.shares).sum(0)
        gradient = self.x.back((residual * self.shares[..., None]).flatten(1)).view_as(w)
        gradient[:-1] += strength * w[:-1]
        return gradient, curvature


def minimise(problems: Logistic, strength: float, start: Tensor, tolerance: float, limit: int = 200) -> Tensor:
    """The weights (d + 1, problems, k) that minimise each problem's value.

    Parameters
    ----------
    problems, strength
        What is minimised.
    start
        Weights to start from, of the same shape; not altered.
    tolerance
        A problem is done when it can hardly lose more than this, in nats.
    limit
        Passes at most.
    """
    w, z = start.clone(), problems.scores(start)
    value = problems.value(z, w, strength)
    gradient, curvature = problems.gradient(z, w, strength)
    guess = _guess(problems.x, curvature, strength)
    history: list[tuple[Tensor, Tensor, Tensor]] = []
    moving = torch.ones_like(value, dtype=torch.bool)
    for _ in range(limit):
        active = moving & (_dot(gradient, guess * gradient) > 2 * tolerance)
        if not active.any():
            break
        direction = -_two_loops(gradient, guess, history)
        change = problems.scores(direction)
        slope = _dot(gradient, direction)
        step = active.to(value.dtype)
        for _ in range(HALVINGS):
            new = problems.value(z + step[:, None] * change, w + step[:, None] * direction, strength)
            short = active & ~(new <= value + 1e-4 * step * slope)
            if not short.any():
                break
            step = torch.where(short, step * 0.4, step)
        else:
            step = torch.where(short, 0.0, step)
        moving = moving & (step > 0)
        move = step[:, None] * direction
        w, z = w + move, z + step[:, None] * change
        value = problems.value(z, w, strength)
        old, (gradient, _) = gradient, problems.gradient(z, w, strength)
        turn = gradient - old
        bend = _dot(move, turn)
        history.append((move, turn, torch.where(bend > 0, 1 / bend, 0.0)))
        del history[:-MEMORY]
    return w


def _guess(x: Matrix, curvature: Tensor, strength: float) -> Tensor:
    """The inverse of the Hessian where the outputs' curvature is the same in every row (d + 1, problems, 1)."""
    spread = x.mean_squares()[:, None] * curvature.clamp(min=1e-3)
    spread[:-1] += strength
    return 1 / spread.clamp(min=1e-12)[..., None]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((0, 2))


def _two_loops(gradient: Tensor, guess: Tensor, history: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The estimate of the inverse Hessian times the gradient. Pairs without curvature (0) change nothing."""
    q, alphas = gradient.clone(), []
    for move, turn, inverse in reversed(history):
        alpha = inverse * _dot(move, q)
        alphas.append(alpha)
        q -= alpha[:, None] * turn
    q = q * guess
    if history:
        move, turn, inverse = history[-1]
        ratio = _dot(move, turn) / _dot(turn, guess * turn)
        q = q * torch.where(inverse > 0, ratio, 1.0)[:, None]
    for (move, turn, inverse), alpha in zip(history, reversed(alphas), strict=True):
        q += (alpha - inverse * _dot(turn, q))[:, None] * move
    return q
