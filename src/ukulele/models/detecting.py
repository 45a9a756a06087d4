"""What families of detectors share: live values, and stages between them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ukulele.types import Field, Tensors

FLOOR = 0.001  # score below which nothing is an answer
PRIOR = 0.01  # chance of a class that the last layer begins with
LEVELS = ("p3", "p4", "p5")  # the neck's maps, the finest first


def live(*names: str) -> dict[str, Field]:
    """The fields behind a stage: the geometry of each picture, and maps."""
    return {name: Field() for name in ("geometry", *names)}


def summary(values: Tensors) -> Tensor:
    """The means over the highest map."""
    *_, name = (name for name in values if name not in {"geometry", "image"})
    return values[name].float().mean((2, 3))


def joinable(map_: Tensor) -> Tensor:
    """A map in the dtype that autocast computes in: joined with one of that, a wider one would widen both."""
    kind = map_.device.type
    return map_.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else map_


class Held:
    """What a head's last layers gave for the batch whose loss was asked last: its answers follow from the same."""

    def __init__(self) -> None:
        self._last: tuple[Tensors, list[Tensor]] | None = None

    def keep(self, live: Tensors, levels: list[Tensor]) -> list[Tensor]:
        """Remember copies where nothing is trained: losses write into what they are given."""
        self._last = (live, [level.clone() for level in levels]) if torch.is_inference_mode_enabled() else None
        return levels

    def take(self, live: Tensors, make: Callable[[Tensors], list[Tensor]]) -> list[Tensor]:
        """Those of this very batch, once, or made anew."""
        last, self._last = self._last, None
        return last[1] if last is not None and last[0] is live else make(live)


class Step(nn.Module):
    """Reads one live value, writes another; `keep` what it read, because the neck reads it, too."""

    def __init__(self, body: nn.Module, source: str, result: str, keep: bool = False) -> None:
        super().__init__()
        self.body, self._names = body, (source, result, keep)

    def forward(self, live: Tensors) -> Tensors:
        source, result, keep = self._names
        rest = {name: value for name, value in live.items() if keep or name != source}
        return {**rest, result: self.body(live[source])}


class Shares(nn.Module):
    """The stem of families that were trained on values from 0 to 1, fed bytes in RGB."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, live: Tensors) -> Tensors:
        dtype = next(self.body.parameters()).dtype
        return {"geometry": live["geometry"], "x": self.body(live["image"].to(dtype) / 255)}
