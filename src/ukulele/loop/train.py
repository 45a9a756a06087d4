"""The loop: executes a Plan and yields Events. The only place with optimiser.step()."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from ukulele import balance
from ukulele.errors import UkuleleError
from ukulele.events import Event, Judged, Lookahead, Place, Said, Saved, Souped, Stepped
from ukulele.loop import soup
from ukulele.loop.averaging import Average
from ukulele.loop.contrast import pairs_loss
from ukulele.loop.descent import descend, look_ahead
from ukulele.loop.engine import Engine
from ukulele.loop.optimisers import OPTIMISERS, clip, schedule
from ukulele.loop.parts import Part, Piece
from ukulele.loop.selection import Selection, changing, owners, put, select
from ukulele.loop.vocabulary import compacted
from ukulele.tools.collate import widen
from ukulele.types import Head, Loss, Model, Phase, Plan, Tensors, fold

LOOKS = 15  # times a phase, about, that the effect of the tasks on each other is measured


@dataclass(frozen=True)
class Judgement:
    """How each task fares on validation: its score, higher is better, and its mean loss."""

    scores: Mapping[str, float]
    losses: Mapping[str, float]

    def joint(self, without: frozenset[str] = frozenset()) -> tuple[float, float]:
        """(loss, score): means over the tasks. Where a score is no number the loss decides for all."""
        kept = [task for task in self.scores if task not in without]
        loss = sum(self.losses[task] for task in kept) / max(1, len(kept))
        score = sum(self.scores[task] for task in kept) / max(1, len(kept))
        return loss, score if math.isfinite(score) else -loss


class Feed(Protocol):
    """What the loop asks of the data. `number` is the phase's place in the plan."""

    def steps(self, phase: int, cut: int, epoch: int) -> Sequence[Sequence[int]]:
        """The row numbers of each step of an epoch: a function of seed, phase and epoch alone."""
        ...

    def part(self, cut: int, epoch: int, numbers: Sequence[int]) -> Part:
        """Those rows as a batch."""
        ...

    def reads(self, cut: int, epoch: int) -> bool:
        """Whether a batch is merely read or decoded, and so can be made ready beside the step before it."""
        ...

    def fit_heads(self, phase: int, heads: Mapping[str, Head]) -> float:
        """Put the probe's optimum into the heads; its loss."""
        ...

    def judge(self, cut: int) -> Judgement:
        """How the model as it is fares on validation."""
        ...

    def seen(self, name: str) -> Tensor | None:
        """Every value that a field of `encode` has in what is trained and judged on, where that is known."""
        ...


class NotFiniteError(UkuleleError):
    """A loss that is no number: training cannot go on. `rows` are the numbers of those in the step."""

    rows: Sequence[int] = ()


class Above(nn.Module):
    """All that is trained and nothing else: frozen stages are not in it. One forward for DDP to wrap."""

    def __init__(self, model: Model, heads: Mapping[str, Head], cut: int, loss: str = "heads") -> None:
        super().__init__()
        self._loss = loss
        self.stages = nn.ModuleList(stage.module for stage in model.stages[cut:])
        self.heads = nn.ModuleList(head for head in heads.values() if isinstance(head, nn.Module))
        self._tasks, self._prepare = tuple(heads), model.prepare

    def forward(self, part: Part) -> dict[str, Loss]:
        """Every task's loss, row by row; that of pairs is one number."""
        if self._loss == "pairs":
            return self._pairs(part)
        found = [self._losses(piece) for piece in part]
        if len(found) == 1:
            return found[0]
        return {task: joined([losses[task] for losses in found]) for task in self._tasks}

    def _pairs(self, part: Part) -> dict[str, Loss]:
        vectors = torch.cat([self._live(piece)["pooled"] for piece in part])
        labels = {task: torch.cat([piece.targets[task]["label"] for piece in part]) for task in self._tasks}
        return {task: pairs_loss(vectors, label) for task, label in labels.items()}

    def _live(self, piece: Piece) -> Tensors:
        return fold(self._prepare, list(self.stages), widen(piece.live))

    def _losses(self, piece: Piece) -> dict[str, Loss]:
        live = self._live(piece)
        pairs = zip(self._tasks, self.heads, strict=True)
        return {task: cast(Head, head).loss(live, piece.targets[task]) for task, head in pairs}

    @property
    def tasks(self) -> tuple[str, ...]:
        """Their names."""
        return self._tasks


def joined(losses: Sequence[Loss]) -> Loss:
    """The losses of several pieces as one: sums and counts go on being added up, so no piece weighs too much."""
    return Loss(torch.cat([loss.sums for loss in losses]), torch.cat([loss.counts for loss in losses]))


def never(_place: Place) -> bool:
    """Time is never up."""
    return False


def train(
    model: Model, heads: Mapping[str, Head], plan: Plan, feed: Feed, engine: Engine, start: Saved | None = None,
    late: Callable[[Place], bool] = never,
) -> Iterator[Event]:  # fmt: skip
    """Run the plan from its start, or from where `start` was saved; it ends bit-identical either way.

    The model and the heads are changed in place, and left at the best weights where the phase judges. A phase ends
    before an epoch that is `late`, but not before its first.

    Yields
    ------
    Event
        `Stepped` after each step, `Judged` and `Saved` after each epoch; of several tasks that share what is
        trained, `Lookahead` a few times an epoch. A state is a view of live tensors: who keeps it beyond the next
        step writes it down or copies it.
    """
    begin = start.place if start else Place()
    within = start if start and "optimiser" in start.state else None  # saved in the middle of a phase
    origin = _origin(model, heads, plan)
    if start and not within:
        put(changing(model, heads, plan.phases), start.state["weights"])
    for number, phase in enumerate(plan.phases[begin.phase :], begin.phase):
        if phase.optimiser == "probe":
            loss = feed.fit_heads(number, heads)
            yield Stepped(Place(number), 1, 1, {"probe": loss}, 0)
        else:
            with compacted(model, heads, phase, feed):
                run = _start(model, heads, plan, number, engine)
                run.pull_to(origin, owners(model, heads))
                yield from _descend(run, feed, engine, within if number == begin.phase else None, late)
        yield Saved(Place(number + 1), {"weights": changing(model, heads, plan.phases[: number + 1])})


def _origin(model: Model, heads: Mapping[str, Head], plan: Plan) -> dict[str, Tensor]:
    """Copies of the stages' weights as they were loaded, where a phase pulls them back there."""
    found = changing(model, heads, [phase for phase in plan.phases if phase.penalty])
    return {name: value.clone() for name, value in found.items() if not name.startswith("head.")}


def _start(model: Model, heads: Mapping[str, Head], plan: Plan, number: int, engine: Engine) -> _Run:
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
    return _Run(plan.seed, number, phase, chosen, above, optimiser, balancer, weights, changes, average)


def _balancer(plan: Plan, tasks: Sequence[str], engine: Engine) -> balance.Balancer | None:
    if len(tasks) < 2:
        return None
    weights = {task: weight for task, weight in plan.weights if task in tasks}
    return balance.make(plan.balance, tasks, weights, engine.device)


def _descend(
    run: _Run, feed: Feed, engine: Engine, start: Saved | None, late: Callable[[Place], bool]
) -> Iterator[Event]:
    phase, number, cut = run.phase, run.number, run.chosen.cut
    begin = run.restore(start) if start else Place(number)
    reduces = run.balancer is None or run.balancer.on == "losses"  # else gradients are averaged by hand
    forward = engine.wrap(run.above) if reduces else run.above
    for epoch in range(begin.epoch, phase.epochs):
        if run.out_of_patience(epoch - 1) or (epoch and late(Place(number, epoch))):
            break
        steps = feed.steps(number, cut, epoch)
        run.begin_epoch(resumed=bool(begin.step) and epoch == begin.epoch)
        looks = run.looks(len(steps), engine)
        read = partial(_read, feed, engine, (cut, epoch), steps)
        first = begin.step if epoch == begin.epoch else 0
        for index, given in _in_time(read, range(first, len(steps)), beside=feed.reads(cut, epoch)):
            place, part = Place(number, epoch, index), engine.place(given)
            if index in looks:
                few = steps[index][:: max(1, len(steps[index]) // phase.batch)]
                yield _look(run, engine.place(feed.part(cut, epoch, few)), place, engine)
            torch.manual_seed(zlib.crc32(f"{run.seed} {place}".encode()) + engine.rank)
            try:
                losses = _step(run, forward, part, engine, (epoch * len(steps) + index, phase.epochs * len(steps)))
            except NotFiniteError as error:
                error.rows = steps[index]
                raise
            yield from run.news()
            yield Stepped(place, len(steps), phase.epochs, losses, len(steps[index]))
            if engine.saves_now():
                yield Saved(Place(number, epoch, index + 1), run.state())
        run.end_epoch()
        place = Place(number, epoch + 1)
        if phase.patience is not None:
            run.above.eval()
            with run.shown():
                judgement = engine.agree(feed.judge(cut))  # else some might stop and some go on
                loss, score = judgement.joint(frozenset(run.lost))
                best = run.consider(score, epoch)
            run.rest(judgement.scores, epoch)
            yield Judged(place, loss, score, best, judgement.scores)
        yield Saved(place, run.state())
    run.above.eval()
    put(run.changes, run.best_values or (run.average.values if run.average else {}))
    if len(run.kept) > 1:

        def score(values: Mapping[str, Tensor]) -> float:
            put(run.changes, values)
            judgement: Judgement = engine.agree(feed.judge(cut))
            return judgement.joint(frozenset(run.lost))[1]

        inside, found = soup.greedy(run.kept, score)
        put(run.changes, soup.mean(inside))
        yield Souped(Place(number), tuple(one.epoch for one in inside), found, inside[0].score)


def _read(feed: Feed, engine: Engine, at: tuple[int, int], steps: Sequence[Sequence[int]], index: int) -> Part:
    return feed.part(*at, engine.share(steps[index]))


def _in_time(read: Callable[[int], Part], steps: range, *, beside: bool) -> Iterator[tuple[int, Part]]:
    """(step, its batch); where `beside`, each is read while the step before it is taken."""
    if not beside:
        yield from ((index, read(index)) for index in steps)
        return
    with ThreadPoolExecutor(1) as ahead:
        waiting = ahead.submit(read, steps[0]) if steps else None
        for index in steps:
            part = cast("Future[Part]", waiting).result()
            waiting = ahead.submit(read, index + 1) if index + 1 in steps else None
            yield index, part


@dataclass
class _Run:
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


def _step(run: _Run, forward: nn.Module, part: Part, engine: Engine, at: tuple[int, int]) -> dict[str, float]:
    for group in run.optimiser.param_groups:
        group["lr"] = group["rate"] * schedule(run.phase, *at)
    run.optimiser.zero_grad(set_to_none=True)
    losses = _losses(forward, part, engine)
    values = {task: float(engine.shown(loss)) for task, loss in losses.items()}
    strange = [task for task, value in values.items() if not math.isfinite(value)]
    fresh = [task for task in strange if task not in run.lost]
    if len(set(run.lost) | set(strange)) == len(values):
        raise NotFiniteError(
            f"the loss became {values} in phase {run.number}, step {at[0] + 1} of {at[1]}.",
            hint="Lower the rate (--rate), or train in full precision (--precision fp32).",
        )
    if fresh:
        run.lose(fresh, at[0])
    kept = {task: loss.new_zeros(()) if task in run.lost else loss for task, loss in losses.items()}
    descend(kept, run.chosen, run.balancer, engine)
    for parameter, origin in run.pulled:
        if parameter.grad is not None:
            parameter.grad.add_(parameter.detach() - origin, alpha=run.phase.penalty)
    if run.phase.clip is not None:
        clip(run.optimiser, run.chosen.parameters, run.phase.clip)
    run.optimiser.step()
    if run.average is not None:
        run.average.update(at[0])
    if run.balancer is not None and run.balancer.wants_after:
        with torch.no_grad():
            after = _losses(run.above, part, engine)
        run.balancer.after(torch.stack([engine.shown(after[task]) * (task not in run.lost) for task in after]))
    kept_values = {task: value for task, value in values.items() if task not in run.lost}
    for task, value in kept_values.items():
        total = run.totals.setdefault(task, [0.0, 0.0])
        total[0], total[1] = total[0] + value, total[1] + (value != 0)  # 0: none of its rows in this step
    return kept_values


def _losses(forward: nn.Module, part: Part, engine: Engine) -> dict[str, Tensor]:
    with engine.precision():
        found = forward(part)
    return {task: engine.mean(loss) for task, loss in found.items()}


def _look(run: _Run, part: Part, place: Place, engine: Engine) -> Lookahead:
    run.above.eval()
    affinity, conflicts = look_ahead(partial(_losses, run.above, part, engine), run.chosen, engine)
    run.set_modes()
    return Lookahead(place, run.above.tasks, tuple(map(tuple, affinity)), conflicts)
