"""Features standardised and turned to their principal axes, where most linear problems are nearly diagonal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Axes:
    """An affine map of raw features (n, d) to coordinates (n, r): (x - mean) * inverse @ axes."""

    mean: Tensor
    inverse: Tensor  # 1 / standard deviation, 0 for a constant feature
    axes: Tensor  # (d, r), orthonormal columns

    def turn(self, x: Tensor) -> Tensor:
        """Coordinates on the axes, and a last column of ones (n, r + 1), float32."""
        turned = torch.ones(len(x), self.axes.shape[1] + 1)
        torch.matmul((x.detach().float().cpu() - self.mean) * self.inverse, self.axes, out=turned[:, :-1])
        return turned

    def unfold(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Weights on the axes (r + 1, k), the bias last, as weight (k, d) and bias (k,) on raw features."""
        weight = (self.axes.double() @ w[:-1].double()).T * self.inverse
        return weight.float(), (w[-1].double() - weight @ self.mean.double()).float()


def principal_axes(x: Tensor) -> Axes:
    """The axes of some features (n, d); where there are fewer rows than features, those that the rows span."""
    x = x.detach().float().cpu()
    variance, mean = torch.var_mean(x, 0, correction=0)
    # Below it a spread is rounding, or so small beside the others' that its weight would be huge: on rows that
    # differ, or once the trunk is trained further, such a feature would drown all others.
    floor = torch.maximum(1e-12 * mean.square().clamp(min=1e-12), 1e-6 * variance.mean())
    inverse = torch.where(variance > floor, variance.clamp(min=1e-30).rsqrt(), 0.0)
    scaled = (x - mean) * inverse
    if len(x) > x.shape[1]:
        return Axes(mean, inverse, torch.linalg.eigh((scaled.T @ scaled).double())[1].float())
    exact = scaled.double()
    values, vectors = torch.linalg.eigh(exact @ exact.T)
    keep = values > 1e-9 * values[-1].clamp(min=1e-12)
    return Axes(mean, inverse, (exact.T @ (vectors[:, keep] * values[keep].rsqrt())).float())
