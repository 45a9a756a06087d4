"""The running average of what a phase trains: it is judged and kept; the optimiser goes on with its own values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """An exponential moving average of tensors (Polyak & Juditsky, 1992), kept beside them.

    Early values are forgotten faster: the decay at step t is at most (1 + t) / (10 + t), so the average of a short
    training is not that of its start. What is no floating-point number is copied.

    Parameters
    ----------
    live
        The tensors by name; they are read at each update.
    decay
        What the average keeps of itself at a step, once there were many.
    """

    def __init__(self, live: Mapping[str, Tensor], decay: float) -> None:
        self._live, self._decay = live, decay
        self.values = {name: value.clone() for name, value in live.items()}
        floating = [name for name, value in live.items() if value.is_floating_point()]
        self._averaged = [self.values[name] for name in floating], [live[name] for name in floating]
        self._copied = [name for name in live if name not in set(floating)]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the values after the step of that number, the first being 0."""
        if self._averaged[0]:
            torch._foreach_lerp_(*self._averaged, 1 - min(self._decay, (1 + step) / (10 + step)))
        for name in self._copied:
            self.values[name].copy_(self._live[name])

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The average in the place of the values, which come back to the bit."""
        kept = {name: value.clone() for name, value in self._live.items()}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(kept)

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Go on with an average that was saved."""
        for name, value in values.items():
            self.values[name].copy_(value)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._live[name].copy_(value)
