"""A phase under way: what it trains, the epochs that validation liked best, and its state, saved and taken up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ukulele import balance
from ukulele.events import Event, Place, Said, Saved
from ukulele.loop import soup
from ukulele.loop.above import Above
from ukulele.loop.averaging import Average
from ukulele.loop.engine import Engine
from ukulele.loop.optimisers import OPTIMISERS
from ukulele.loop.selection import Selection, changing, put, select
from ukulele.loop.vocabulary import Compact
from ukulele.types import Head, Model, Phase, Plan

LOOKS = 15  # times a phase, about, that the effect of the tasks on each other is measured


@dataclass
class PhaseRun:
    """One phase under way, and the trained values at the epoch that validation liked best."""

    seed: int
    number: int
    phase: Phase
    chosen: Selection
    above: Above
    optimiser: torch.optim.Optimizer
    balancer: balance.Balancer | None
    weights: Mapping[str, Tensor]  # all that this phase and those before it change
    changes: Mapping[str, Tensor]  # what this one does
    average: Average | None = None  # of those
    best_epoch: int = -1
    best_score: float = float("-inf")
    best_values: Mapping[str, Tensor] = field(default_factory=dict)
    best_by_task: dict[str, tuple[int, float]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)  # tasks whose loss became no number
    totals: dict[str, list[float]] = field(default_factory=dict)  # of this epoch's losses: sum and count
    unsaid: list[str] = field(default_factory=list)
    kept: list[soup.Kept] = field(default_factory=list)  # the best epochs, where their mean may be better than any
    pulled: list[tuple[nn.Parameter, Tensor]] = field(default_factory=list)  # weights, and where they started
    table: Compact | None = None  # an embedding table whose gradient stays between steps

    def clear_gradients(self) -> None:
        """No gradient from an earlier step."""
        kept = None if self.table is None else self.table.weight
        for group in self.optimiser.param_groups:
            for parameter in group["params"]:
                if parameter is not kept:
                    parameter.grad = None
        if self.table is not None:
            self.table.clear()

    @property
    def gradients(self) -> list[Tensor]:
        """What has a gradient of it; of a table whose gradient stays between steps the rows of this step."""
        kept = None if self.table is None else self.table.weight
        found = [p.grad for p in self.chosen.parameters if p.grad is not None and p is not kept]
        return found if self.table is None else [*found, self.table.gradient]

    def pull_to(self, origin: Mapping[str, Tensor], known: Mapping[nn.Parameter, tuple[str, int]]) -> None:
        """The penalty of this phase pulls its stages' weights there."""
        if self.phase.penalty:
            named = [(parameter, known[parameter][0]) for parameter in self.chosen.parameters if parameter in known]
            self.pulled = [(p, origin[name].to(p.device)) for p, name in named if name in origin]

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

    def begin_epoch(self, *, resumed: bool) -> None:
        """Training modes; a fresh count of the losses, unless the epoch was begun before."""
        self.set_modes()
        if not resumed:
            self.totals = {task: [0.0, 0.0] for task in self.above.tasks}

    def end_epoch(self) -> None:
        """Balancers that go by epochs hear of the mean losses."""
        if self.balancer is not None:
            self.balancer.epoch_done(torch.tensor([total / max(1.0, n) for total, n in self.totals.values()]))

    def looks(self, steps: int, engine: Engine) -> frozenset[int]:
        """The steps of an epoch before which the tasks' effect on each other is measured."""
        if len(self.above.tasks) < 2 or not self.chosen.shared or engine.world > 1:
            return frozenset()
        looks = -(-LOOKS // self.phase.epochs)
        return frozenset(int((look + 0.5) * steps / looks) for look in range(looks))

    def rest(self, scores: Mapping[str, float], epoch: int) -> None:
        """A task that waited for a better score of its own for too long rests: its loss counts no more."""
        patience = self.phase.patience
        if self.balancer is None or patience is None:
            return
        for task, score in scores.items():
            if score > self.best_by_task.get(task, (0, float("-inf")))[1]:
                self.best_by_task[task] = (epoch, score)
        waiting = {task for task, (at, _) in self.best_by_task.items() if epoch - at >= patience}
        if len(waiting | set(self.lost)) < len(self.above.tasks):  # where all wait the phase is over anyway
            self.balancer.rest(waiting | set(self.lost))

    def lose(self, tasks: Sequence[str], step: int) -> None:
        """Go on without tasks whose loss is no number."""
        self.lost += tasks
        self.unsaid += [
            f"the loss of {task} is no number from phase {self.number}, step {step + 1} on: the others are trained "
            "without it. Lower the rate (--rate), train in full precision (--precision fp32), or look at its targets"
            for task in tasks
        ]
        if self.balancer is not None:
            self.balancer.rest(self.lost)

    def news(self) -> Iterator[Event]:
        """What has to be said and was not yet."""
        while self.unsaid:
            yield Said(self.unsaid.pop(0), "warning")

    def consider(self, score: float, epoch: int) -> bool:
        """Keep the values where the score is the best so far."""
        better = score > self.best_score
        if better:
            self.best_epoch, self.best_score = epoch, score
            self.best_values = {name: value.clone() for name, value in self.changes.items()}
        if self.phase.soup:
            now = self.best_values if better else {name: value.clone() for name, value in self.changes.items()}
            self.kept = soup.best([*self.kept, soup.Kept(epoch, score, now)], self.phase.soup)
        return better

    def shown(self) -> AbstractContextManager[None]:
        """What is judged stands in its place: the average, where there is one."""
        return nullcontext() if self.average is None else self.average.shown()

    def out_of_patience(self, epoch: int) -> bool:
        """Whether validation has been waiting for a better epoch for too long."""
        return self.phase.patience is not None and epoch - self.best_epoch >= self.phase.patience

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        best = {"epoch": self.best_epoch, "score": repr(self.best_score), "values": dict(self.best_values)}
        state: dict[str, Any] = {
            "weights": dict(self.weights), "optimiser": self.optimiser.state_dict(), "best": best,
        }  # fmt: skip
        if self.average is not None:
            state["average"] = dict(self.average.values)
        if self.phase.soup:
            state["kept"] = soup.plain(self.kept)
        if self.balancer is not None:
            state["tasks"] = {
                "balance": self.balancer.state(),
                "best": {task: [at, repr(score)] for task, (at, score) in self.best_by_task.items()},
                "lost": list(self.lost),
                "totals": {task: [repr(number) for number in total] for task, total in self.totals.items()},
            }
        return state

    def restore(self, saved: Saved) -> Place:
        """Take up a saved state."""
        put(self.weights, saved.state["weights"])
        self.optimiser.load_state_dict(saved.state["optimiser"])
        best = saved.state["best"]
        self.best_epoch, self.best_score, self.best_values = best["epoch"], float(best["score"]), best["values"]
        if self.average is not None:
            self.average.restore(saved.state.get("average", {}))
        self.kept = soup.restored(saved.state.get("kept", {}))
        if self.balancer is not None:
            kept = saved.state["tasks"]
            self.balancer.restore(kept["balance"])
            self.best_by_task = {task: (at, float(score)) for task, (at, score) in kept["best"].items()}
            self.lost = list(kept["lost"])
            self.totals = {task: [float(number) for number in total] for task, total in kept["totals"].items()}
        return saved.place


def start_phase(
    model: Model, heads: Mapping[str, Head], plan: Plan, number: int, engine: Engine, table: Compact | None = None
) -> PhaseRun:
    """Phase `number` of a plan before its first step: parameters chosen, on the device, with their optimiser."""
    phase = plan.phases[number]
    chosen = select(model, heads, phase)
    above = Above(model, heads, chosen.cut, phase.loss).to(engine.device)
    balancer = _balancer(plan, above.tasks, engine)
    groups = list(chosen.groups)
    if balancer is not None and balancer.parameters():
        groups.append({"params": balancer.parameters(), "rate": max(g.rate for g in phase.groups), "decays": False})
    optimiser = OPTIMISERS[phase.optimiser](groups, phase.decay)
    weights = changing(model, heads, plan.phases[: number + 1])  # now that all of it is on the device
    changes = changing(model, heads, [phase])
    average = Average(changes, phase.average) if phase.average is not None else None
    run = PhaseRun(plan.seed, number, phase, chosen, above, optimiser, balancer, weights, changes, average)
    if table is not None and balancer is None and engine.device == "cpu" and engine.world == 1:
        table.keep_gradient()
        run.table = table
    return run


def _balancer(plan: Plan, tasks: Sequence[str], engine: Engine) -> balance.Balancer | None:
    if len(tasks) < 2:
        return None
    weights = {task: weight for task, weight in plan.weights if task in tasks}
    return balance.make(plan.balance, tasks, weights, engine.device)
