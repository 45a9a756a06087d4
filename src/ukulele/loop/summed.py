"""What the trunk makes of rows, collected on their way to the heads."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ukulele.loop.truth import Numbers
from ukulele.types import Model, Tensors


def spread(numbers: Numbers, at_most: int) -> Numbers:
    """Of some rows all, or so many of them at most, evenly spread.

    >>> spread(np.arange(5), 3).tolist(), spread(np.arange(3), 3).tolist()
    ([0, 2, 4], [0, 1, 2])
    """
    return numbers[:: -(-len(numbers) // at_most)] if len(numbers) else numbers


class Summed:
    """Summaries of the rows `wanted`, (rows, width), as the live values behind the last stage come by."""

    def __init__(self, model: Model, wanted: Numbers) -> None:
        self.model = model
        self.matrix: NDArray[np.float32] = np.empty((len(wanted), 0), np.float32)
        self._places = {int(number): at for at, number in enumerate(wanted)}

    def __call__(self, numbers: Numbers, live: Tensors) -> None:
        """Take what is wanted from a batch."""
        mine = [at for at, number in enumerate(numbers) if int(number) in self._places]
        if not mine:
            return
        with torch.inference_mode():
            values = (live["pooled"] if "pooled" in live else self.model.summary(live)).float().cpu().numpy()
        if not self.matrix.shape[1]:
            self.matrix = np.empty((len(self.matrix), values.shape[1]), np.float32)
        self.matrix[[self._places[int(numbers[at])] for at in mine]] = values[mine]
