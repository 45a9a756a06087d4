"""A method as data, and the balancer that runs one: names, weights, resting tasks and the method's memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

from ukulele.errors import PlanError

if TYPE_CHECKING:
    from torch import Tensor, nn

Memory: TypeAlias = "dict[str, Tensor]"
"""All that a method carries from step to step, by name: hence all that a resumed run needs of it."""


def _empty(_tasks: int) -> Memory:
    return {}


def _at_hand(_name: str) -> None:
    """It needs no library of its own."""


@dataclass(frozen=True)
class Method:
    """A way to make one descent of several.

    Each function is given the static weights (k,), 0 for a task that rests, and may change the memory. A task without
    a labelled row in the batch has a loss of exactly 0 and a row of zeros; it must neither matter nor do harm.
    """

    on: Literal["losses", "gradients"]
    combine: Callable[[Tensor, Tensor, Memory], Tensor]  # losses (k,) -> scalar, or Jacobian (k, n) -> gradient (n,)
    begin: Callable[[int], Memory] = _empty  # the number of tasks -> the memory before the first step
    learnt: str | None = None  # what of the memory the optimiser trains
    after: Callable[[Tensor, Tensor, Memory], None] | None = None  # the same batch's losses behind the step
    epoch_done: Callable[[Tensor, Memory], None] | None = None  # the epoch's mean losses
    check: Callable[[str], None] = _at_hand  # given its name; raises where a library is missing


@final
class Balancer:
    """Several tasks' losses, or the Jacobian of the shared parameters, to one descent.

    Parameters
    ----------
    tasks
        Their names, in the order of the losses and of the Jacobian's rows.
    weights
        Static weights; a task that is not in it has 1.
    device
        Where the losses are. What works on gradients solves its small problem on the CPU.
    method
        How.
    """

    def __init__(self, tasks: Sequence[str], weights: Mapping[str, float], device: str, method: Method) -> None:
        from torch import nn

        self._tasks, self._given, self._method = tuple(tasks), dict(weights), method
        self._device = device if method.on == "losses" else "cpu"
        self._resting: frozenset[str] = frozenset()
        self._weights = self._weigh()
        self._memory = {name: value.to(self._device) for name, value in method.begin(len(self._tasks)).items()}
        if method.learnt:
            self._memory[method.learnt] = nn.Parameter(self._memory[method.learnt])

    @property
    def on(self) -> Literal["losses", "gradients"]:
        """What `combine` takes."""
        return self._method.on

    @property
    def wants_after(self) -> bool:
        """Whether it learns from the losses of the same batch after the step."""
        return self._method.after is not None

    def combine(self, values: Tensor) -> Tensor:
        """Losses (k,) to a scalar to differentiate; or a Jacobian (k, n) to a gradient (n,)."""
        return self._method.combine(values, self._weights, self._memory)

    def after(self, losses: Tensor) -> None:
        """Hear the losses (k,) of the batch last combined, as they are after the step."""
        if self._method.after:
            self._method.after(losses.detach().to(self._device), self._weights, self._memory)

    def epoch_done(self, mean_losses: Tensor) -> None:
        """Hear the epoch's mean training losses (k,); 0 for a task that had no row."""
        if self._method.epoch_done:
            self._method.epoch_done(mean_losses.detach().to(self._device), self._memory)

    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser should train beside the model, without weight decay."""
        from torch import nn

        return [value for value in self._memory.values() if isinstance(value, nn.Parameter)]

    def weight(self, task: str) -> float:
        """The static weight of a task, for the parameters that are its alone; 0 while it rests."""
        return 0.0 if task in self._resting else self._given.get(task, 1.0)

    def rest(self, names: Collection[str]) -> None:
        """Let these tasks count for nothing from now on; those that rest already go on resting."""
        unknown = sorted(set(names) - set(self._tasks))
        if unknown:
            raise PlanError(f"no task {unknown[0]!r} to let rest.", hint=f"The tasks: {', '.join(self._tasks)}.")
        self._resting |= frozenset(names)
        self._weights = self._weigh()

    def state(self) -> dict[str, Any]:
        """All that is needed to go on bit-identically: a copy."""
        memory = {name: value.detach().clone() for name, value in self._memory.items()}
        return {"resting": sorted(self._resting), "memory": memory}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; a learnt parameter keeps its identity, for the optimiser's sake."""
        self._resting = frozenset(state["resting"])
        self._weights = self._weigh()
        for name, value in state["memory"].items():
            if name == self._method.learnt:
                self._memory[name].detach().copy_(value)
            else:
                self._memory[name] = value.detach().to(self._device, copy=True)

    def _weigh(self) -> Tensor:
        import torch

        precision = torch.float32 if self.on == "losses" else torch.float64
        return torch.tensor([self.weight(task) for task in self._tasks], dtype=precision, device=self._device)
