"""Weights between where fine-tuning started and where it ended.

WiSE-FT (Wortsman et al., 2022, arXiv:2109.01903), who found the mean of both as good on rows like those of training and
better on others. The start is the model as it was loaded, and under it the head that the probe found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ukulele.events import Event, Place, Saved
from ukulele.types import Head, Model, Plan

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)  # shares of the way that are tried where one is to be chosen
Values = dict[str, dict[str, Tensor]]  # by module


class Start:
    """Where a candidate's weights started, and the way back there.

    Heads start where the probe left them; those that came with the model, which no probe fits, as they came.
    """

    def __init__(self, model: Model, cut: int, plan: Plan, heads: Mapping[str, Head]) -> None:
        self._stages = _copied({stage.name: stage.module for stage in model.stages[cut:]})
        self._probes = next((i for i, p in enumerate(plan.phases) if p.optimiser != "probe"), len(plan.phases))
        self._heads: Values = {} if self._probes else _copied(_modules(heads))
        self._shrunk = plan.phases[self._probes - 1].shrink if self._probes else 1.0
        self.alpha: float | None = None

    def note(self, event: Event, heads: Mapping[str, Head]) -> None:
        """Keep the heads when the probe has been put into them."""
        if isinstance(event, Saved) and event.place == Place(self._probes):
            self._heads = {name: self._whole(values) for name, values in _copied(_modules(heads)).items()}

    def _whole(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A head as the probe found it, where training began with a part of that."""
        ours = {k for k in values if k.endswith(("linear.weight", "linear.bias")) and not k.startswith("stages.")}
        return {k: v / self._shrunk if k in ours else v for k, v in values.items()}

    def plain(self) -> dict[str, Any]:
        """What cannot be found again where a run goes on: the heads, and the share that was chosen."""
        return {"heads": self._heads if self._probes else {}, "alpha": self.alpha}

    def recall(self, kept: Mapping[str, Any]) -> None:
        """Take up what `plain` gave."""
        self._heads, self.alpha = {**self._heads, **kept["heads"]}, kept["alpha"]

    def go(
        self, model: Model, heads: Mapping[str, Head], wanted: Any, score: Callable[[], float]
    ) -> list[dict[str, float]]:
        """Put the weights `wanted` of the way from the start to the end, or as far as scores best; what was tried.

        Of shares that score alike the one nearest to one half is taken.
        """
        ends = _copied(self._modules(model, heads))
        tried: list[dict[str, float]] = []
        if self.alpha is None and wanted == "auto":
            for alpha in ALPHAS:
                self._put(model, heads, ends, alpha)
                tried.append({"alpha": alpha, "score": score()})
            best = max(tried, key=lambda one: (one["score"], -abs(one["alpha"] - 0.5)))
            self.alpha = best["alpha"]
        elif self.alpha is None:
            self.alpha = float(wanted)
        self._put(model, heads, ends, self.alpha)
        return tried

    def _modules(self, model: Model, heads: Mapping[str, Head]) -> dict[str, nn.Module]:
        stages = {stage.name: stage.module for stage in model.stages if stage.name in self._stages}
        return {**stages, **{f"head.{name}": head for name, head in _modules(heads).items()}}

    def _put(self, model: Model, heads: Mapping[str, Head], ends: Values, alpha: float) -> None:
        starts = {**self._stages, **{f"head.{name}": values for name, values in self._heads.items()}}
        with torch.no_grad():
            for place, module in self._modules(model, heads).items():
                for name, tensor in module.state_dict().items():
                    end = ends[place][name]
                    start = starts[place][name].to(end.device) if end.is_floating_point() else end
                    tensor.copy_(torch.lerp(start, end, alpha) if end.is_floating_point() else end)


def _modules(heads: Mapping[str, Head]) -> dict[str, nn.Module]:
    return {name: head for name, head in heads.items() if isinstance(head, nn.Module)}


def _copied(modules: Mapping[str, nn.Module]) -> Values:
    return {
        place: {name: value.detach().clone() for name, value in module.state_dict().items()}
        for place, module in modules.items()
    }
