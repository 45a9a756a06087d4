"""The loop: executes a Plan and yields Events. The only place with backward() and optimiser.step()."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from ukulele.engine import Engine
from ukulele.errors import UkuleleError
from ukulele.selection import Selection, changing, put, select
from ukulele.types import Event, Head, Judged, Loss, Model, Phase, Place, Plan, Saved, Stepped, Tensors, fold


@dataclass(frozen=True)
class Part:
    """Rows that pass the trunk together: live values at the cut, and targets by task."""

    live: Tensors
    targets: Mapping[str, Tensors]
    rows: int


class Feed(Protocol):
    """What the loop asks of the data. `number` is the phase's place in the plan."""

    def steps(self, phase: int, cut: int, epoch: int) -> Sequence[Sequence[int]]:
        """The row numbers of each step of an epoch: a function of seed, phase and epoch alone."""
        ...

    def part(self, cut: int, epoch: int, numbers: Sequence[int]) -> Part:
        """Those rows as a batch."""
        ...

    def fit_heads(self, phase: int, heads: Mapping[str, Head]) -> float:
        """Put the probe's optimum into the heads; its loss."""
        ...

    def judge(self, cut: int) -> tuple[float, float]:
        """(loss, score) on validation, of the model as it is; higher scores are better."""
        ...


class NotFiniteError(UkuleleError):
    """A loss that is no number: training cannot go on."""


class Above(nn.Module):
    """All that is trained and nothing else: frozen stages are not in it. One forward for DDP to wrap."""

    def __init__(self, model: Model, heads: Mapping[str, Head], cut: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stage.module for stage in model.stages[cut:])
        self.heads = nn.ModuleList(head for head in heads.values() if isinstance(head, nn.Module))
        self._tasks, self._prepare = tuple(heads), model.prepare

    def forward(self, part: Part) -> dict[str, Loss]:
        """Every task's loss, row by row."""
        live = fold(self._prepare, list(self.stages), part.live)
        pairs = zip(self._tasks, self.heads, strict=True)
        return {task: cast(Head, head).loss(live, part.targets[task]) for task, head in pairs}


def train(
    model: Model, heads: Mapping[str, Head], plan: Plan, feed: Feed, engine: Engine, start: Saved | None = None
) -> Iterator[Event]:
    """Run the plan from its start, or from where `start` was saved; it ends bit-identical either way.

    The model and the heads are changed in place, and left at the best weights where the phase judges.

    Yields
    ------
    Event
        `Stepped` after each step, `Judged` and `Saved` after each epoch. A state is a view of live
        tensors: who keeps it beyond the next step writes it down or copies it.
    """
    begin = start.place if start else Place()
    if start:
        put(changing(model, heads, plan.phases), start.state["weights"])
    for number, phase in enumerate(plan.phases[begin.phase :], begin.phase):
        if phase.optimiser == "probe":
            loss = feed.fit_heads(number, heads)
            yield Stepped(Place(number), 1, 1, {"probe": loss}, 0)
        else:
            here = start if start is not None and number == begin.phase and "optimiser" in start.state else None
            yield from _descend(_start(model, heads, plan, number, engine), feed, engine, here)
        yield Saved(Place(number + 1), {"weights": changing(model, heads, plan.phases[: number + 1])})


def _start(model: Model, heads: Mapping[str, Head], plan: Plan, number: int, engine: Engine) -> _Run:
    phase = plan.phases[number]
    chosen = select(model, heads, phase)
    above = Above(model, heads, chosen.cut).to(engine.device)
    optimiser = OPTIMISERS[phase.optimiser](chosen.groups, phase.decay)
    weights = changing(model, heads, plan.phases[: number + 1])  # now that all of it is on the device
    return _Run(plan.seed, number, phase, chosen, above, optimiser, weights, changing(model, heads, [phase]))


def _descend(run: _Run, feed: Feed, engine: Engine, start: Saved | None) -> Iterator[Event]:
    phase, number, cut = run.phase, run.number, run.chosen.cut
    begin = run.restore(start) if start else Place(number)
    forward = engine.wrap(run.above)
    for epoch in range(begin.epoch, phase.epochs):
        if run.out_of_patience(epoch - 1):
            break
        steps = feed.steps(number, cut, epoch)
        run.set_modes()
        for index in range(begin.step if epoch == begin.epoch else 0, len(steps)):
            place = Place(number, epoch, index)
            torch.manual_seed(zlib.crc32(f"{run.seed} {place}".encode()) + engine.rank)
            part = engine.place(feed.part(cut, epoch, engine.share(steps[index])))
            losses = _step(run, forward, part, engine, (epoch * len(steps) + index, phase.epochs * len(steps)))
            yield Stepped(place, len(steps), phase.epochs, losses, len(steps[index]))
            if engine.saves_now():
                yield Saved(Place(number, epoch, index + 1), run.state())
        place = Place(number, epoch + 1)
        if phase.patience is not None:
            run.above.eval()
            loss, score = engine.agree(feed.judge(cut))  # else some might stop and some go on
            yield Judged(place, loss, score, run.consider(score, epoch))
        yield Saved(place, run.state())
    run.above.eval()
    put(run.changes, run.best_values)


@dataclass
class _Run:
    """One phase under way, and the trained values at the epoch that validation liked best."""

    seed: int
    number: int
    phase: Phase
    chosen: Selection
    above: Above
    optimiser: torch.optim.Optimizer
    weights: Mapping[str, Tensor]  # all that this phase and those before it change
    changes: Mapping[str, Tensor]  # what this one does
    best_epoch: int = -1
    best_score: float = float("-inf")
    best_values: Mapping[str, Tensor] = field(default_factory=dict)

    def set_modes(self) -> None:
        """Frozen is frozen: modules without a trained parameter, and BatchNorm statistics, stay in eval mode.

        Without dropout all do: some layers call dropout as a function, by their own mode.
        """
        self.above.train(self.phase.dropout)
        for module in self.above.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(self.phase.norm == "trained")
        for module in self.above.modules():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                module.eval()

    def consider(self, score: float, epoch: int) -> bool:
        """Keep the values where the score is the best so far."""
        better = score > self.best_score
        if better:
            self.best_epoch, self.best_score = epoch, score
            self.best_values = {name: value.clone() for name, value in self.changes.items()}
        return better

    def out_of_patience(self, epoch: int) -> bool:
        """Whether validation has been waiting for a better epoch for too long."""
        return self.phase.patience is not None and epoch - self.best_epoch >= self.phase.patience

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        best = {"epoch": self.best_epoch, "score": repr(self.best_score), "values": dict(self.best_values)}
        return {"weights": dict(self.weights), "optimiser": self.optimiser.state_dict(), "best": best}

    def restore(self, saved: Saved) -> Place:
        """Take up a saved state; the weights are in place already."""
        self.optimiser.load_state_dict(saved.state["optimiser"])
        best = saved.state["best"]
        self.best_epoch, self.best_score, self.best_values = best["epoch"], float(best["score"]), best["values"]
        return saved.place


def _step(run: _Run, forward: nn.Module, part: Part, engine: Engine, at: tuple[int, int]) -> dict[str, float]:
    for group in run.optimiser.param_groups:
        group["lr"] = group["rate"] * schedule(run.phase, *at)
    run.optimiser.zero_grad(set_to_none=True)
    with engine.precision():
        found = forward(part)
    losses = {task: engine.mean(loss) for task, loss in found.items()}
    total = torch.stack(list(losses.values())).sum()
    engine.backward(total)
    if run.phase.clip is not None:
        nn.utils.clip_grad_norm_(run.chosen.parameters, run.phase.clip)
    run.optimiser.step()
    values = {task: float(engine.shown(loss)) for task, loss in losses.items()}
    if not all(abs(value) < float("inf") for value in values.values()):
        raise NotFiniteError(
            f"the loss became {values} in phase {run.number}, step {at[0] + 1} of {at[1]}.",
            hint="Lower the rate (--rate), or train in full precision (--precision fp32).",
        )
    return values


def schedule(phase: Phase, step: int, steps: int) -> float:
    """The share of the rate at a step: up in a line, then down as the phase says.

    >>> [round(schedule(Phase((), warmup=0.5), step, 4), 2) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    import math

    rising = int(steps * phase.warmup)
    if step < rising:
        return (step + 1) / rising
    left = (steps - step) / max(1, steps - rising)
    match phase.schedule:
        case "linear":
            return left
        case "cosine":
            return 0.5 * (1 - math.cos(math.pi * left))
        case "constant":
            return 1.0


def _adamw(groups: Sequence[dict[str, Any]], decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW([_decayed(group, decay) for group in groups], fused=True)


def _sgd(groups: Sequence[dict[str, Any]], decay: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([_decayed(group, decay) for group in groups], momentum=0.9, nesterov=True)


def _decayed(group: dict[str, Any], decay: float) -> dict[str, Any]:
    return {**group, "lr": group["rate"], "weight_decay": decay if group["decays"] else 0.0}


OPTIMISERS = {"adamw": _adamw, "sgd": _sgd}
