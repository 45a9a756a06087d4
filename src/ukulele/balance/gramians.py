"""From a Jacobian to its rows' weighted sum, by way of the Gramian: the k x k inner products of the tasks' gradients.

Nothing of the Jacobian's size is copied. The small problems are solved on the CPU in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from torch import Tensor

from ukulele.balance.balancer import Memory, Method
from ukulele.errors import InternalError

Rule: TypeAlias = Callable[[Tensor], Tensor]
"""A Gramian (m, m) without a zero on its diagonal to the rows' weights (m,)."""

Floats: TypeAlias = NDArray[np.float64]

RADIUS = 0.5  # of CAGrad's ball, in lengths of the mean gradient; below 1 it still descends the mean
FADING = 0.01  # of GradVac's moving average, a step
RIDGE = 1e-10  # the least eigenvalue of a Gramian of unit vectors; rounding makes them negative


def through_gramian(rule: Rule) -> Method:
    """The method that weighs the rows by a rule without memory."""
    return Method("gradients", lambda jacobian, weights, _memory: descent(jacobian, weights, lambda g, _rows: rule(g)))


def descent(jacobian: Tensor, weights: Tensor, rule: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The gradient (n,): the rows times their static weights and those of the rule.

    Rows of zeros, and those whose weight is 0, are kept from the rule (MGDA would choose them); it is given the
    Gramian of the others and their numbers. What is not finite passes through, for the loop to see.
    """
    jacobian = jacobian.detach()
    gramian = (jacobian @ jacobian.T).cpu().double() * weights * weights[:, None]
    if not gramian.isfinite().all():
        return weights.to(jacobian) @ jacobian
    rows = gramian.diagonal().nonzero().flatten()
    shares = torch.zeros_like(weights)
    if len(rows):
        shares[rows] = rule(gramian[rows][:, rows], rows) * weights[rows]
    return shares.to(jacobian) @ jacobian


def unit_vectors(gramian: Tensor) -> tuple[Floats, Floats]:
    """Vectors (columns) of length 1 with the angles of a Gramian, and the lengths it says they have."""
    lengths = np.sqrt(gramian.diagonal().numpy())
    values, vectors = np.linalg.eigh(gramian.numpy() / lengths / lengths[:, None])
    return np.sqrt(values.clip(RIDGE))[:, None] * vectors.T, lengths


def non_negative(system: Floats, aim: Floats) -> Floats:
    """The x >= 0 with the least |system x - aim|.

    Of gradients that all but repeat each other, an older scipy may go round in circles; a stiffer system helps.
    """
    stiffer = np.eye(system.shape[1])
    for stiffness in (0.0, 1e-4, 1e-3, 1e-2):
        try:
            found: Floats = nnls(np.vstack([system, stiffness * stiffer]), np.append(aim, np.zeros(len(stiffer))))[0]
        except RuntimeError:
            continue
        return found
    raise InternalError("no direction was found for the tasks' gradients.", hint="Choose another balancer.")


def mgda(gramian: Tensor) -> Tensor:
    """The shortest convex combination (Désidéri 2012), exactly.

    It is found as a non-negative least squares: the least |J'u|² + (sum u - 1)², scaled, has the same direction.
    """
    vectors, lengths = unit_vectors(gramian)
    system = np.vstack([vectors, lengths.min() / lengths])
    found = non_negative(system, np.append(np.zeros(len(lengths)), 1.0)) / lengths
    return torch.from_numpy(found / found.sum())


def cagrad(gramian: Tensor) -> Tensor:
    """Conflict-averse gradient descent (Liu et al. 2021), algorithm 1.

    With g0 the mean gradient and r = c |g0|, w minimises gw'g0 + r |gw| over the simplex; the step is
    g0 + r gw / |gw|, of all that are within r of g0 the one that helps the worst task most.
    """
    inner = gramian.numpy() / float(gramian.diagonal().max())
    even = np.full(len(inner), 1 / len(inner))
    pull = inner @ even
    radius = RADIUS * np.sqrt(max(float(even @ pull), 0.0))

    def cost(w: Floats) -> tuple[float, Floats]:
        length = np.sqrt(max(float(w @ inner @ w), 1e-20))
        return float(pull @ w + radius * length), pull + radius / length * (inner @ w)

    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like}
    bounds = [(0.0, 1.0)] * len(even)
    options: dict[str, Any] = {"ftol": 1e-14, "maxiter": 200}
    found = minimize(cost, even, jac=True, method="SLSQP", bounds=bounds, constraints=simplex, options=options).x
    length = np.sqrt(max(float(found @ inner @ found), 0.0))
    worst = radius / length * found if length > 1e-8 else 0.0  # no direction helps all: the mean is left
    return torch.from_numpy(even + worst)


def _gradvac(jacobian: Tensor, weights: Tensor, memory: Memory) -> Tensor:
    """Gradient vaccine (Wang et al. 2021), one similarity a pair of tasks.

    Where gradient i is less similar to j than usual (cosine c below its moving average t), it is given as much of j
    as makes them so: |i| (t sqrt(1 - c²) - c sqrt(1 - t²)) / (|j| sqrt(1 - t²)).
    """
    usual = memory["similarity"] = memory["similarity"].clone()

    def rule(gramian: Tensor, rows: Tensor) -> Tensor:
        mixed = torch.eye(len(rows), dtype=gramian.dtype)
        lengths = gramian.diagonal().sqrt()
        for i, mix in enumerate(mixed):
            others = [j for j in range(len(rows)) if j != i]
            for j in (others[place] for place in torch.randperm(len(others)).tolist()):
                length = (mix @ gramian @ mix).clamp(min=0).sqrt()
                cosine = (mix @ gramian[j] / (length * lengths[j]).clamp(min=1e-300)).clamp(-1, 1)
                pair = rows[i], rows[j]
                aim = usual[pair].clone()
                if cosine < aim:
                    turn = aim * (1 - cosine**2).sqrt() - cosine * (1 - aim**2).sqrt()
                    mix[j] += length * turn / (lengths[j] * (1 - aim**2).sqrt().clamp(min=1e-4))
                usual[pair] = (1 - FADING) * aim + FADING * cosine
        return mixed.sum(0)

    return descent(jacobian, weights, rule)


METHODS: Mapping[str, Method] = {
    "mgda": through_gramian(mgda),
    "cagrad": through_gramian(cagrad),
    "gradvac": Method("gradients", _gradvac, lambda k: {"similarity": torch.zeros(k, k, dtype=torch.float64)}),
}
