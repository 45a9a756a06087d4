"""The loop: executes a Plan and yields Events. The only place with optimiser.step()."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from ukulele.errors import UkuleleError
from ukulele.events import Event, Judged, Lookahead, Place, Said, Saved, Souped, Stepped
from ukulele.loop import soup
from ukulele.loop.above import Above
from ukulele.loop.descent import descend, look_ahead
from ukulele.loop.engine import Engine
from ukulele.loop.folded import folded
from ukulele.loop.optimisers import clip, schedule
from ukulele.loop.parts import Feed, Judgement, Part
from ukulele.loop.phase import PhaseRun, start_phase
from ukulele.loop.relative import LOOKS, shares
from ukulele.loop.selection import changing, owners, put
from ukulele.loop.vocabulary import compacted
from ukulele.tools.threads import helpers
from ukulele.types import Head, Model, Plan


class NotFiniteError(UkuleleError):
    """A loss that is no number: training cannot go on. `rows` are the numbers of those in the step."""

    rows: Sequence[int] = ()


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
        `Stepped` after each step, `Judged` after each epoch, `Saved` after each probe and else where it is worth its
        time; of several tasks that share what is trained, `Lookahead` a few times an epoch. A state is a view of live
        tensors: who keeps it beyond the next step writes it down or copies it.
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
            with compacted(model, heads, phase, feed) as table:
                run = start_phase(model, heads, plan, number, engine, table)
                run.pull_to(origin, owners(model, heads))
                yield from _descend(run, feed, engine, within if number == begin.phase else None, late)
        if phase.optimiser == "probe" or engine.saves_now(ended=True):
            with engine.saving():
                yield Saved(Place(number + 1), {"weights": changing(model, heads, plan.phases[: number + 1])})


def _origin(model: Model, heads: Mapping[str, Head], plan: Plan) -> dict[str, Tensor]:
    """Copies of the stages' weights as they were loaded, where a phase pulls them back there."""
    found = changing(model, heads, [phase for phase in plan.phases if phase.penalty])
    return {name: value.clone() for name, value in found.items() if not name.startswith("head.")}


def _descend(
    run: PhaseRun, feed: Feed, engine: Engine, start: Saved | None, late: Callable[[Place], bool]
) -> Iterator[Event]:
    """A phase, from its start or from where it was saved, to its best weights."""
    phase, number = run.phase, run.number
    begin = run.restore(start) if start else Place(number)
    reduces = run.balancer is None or run.balancer.on == "losses"  # else gradients are averaged by hand
    forward = engine.wrap(run.above) if reduces else run.above
    folds = phase.norm == "frozen" and engine.device == "cpu"  # elsewhere what it spares was not measured
    with folded(run.above, lambda: _few(run, feed, engine)) if folds else nullcontext():
        for epoch in range(begin.epoch, phase.epochs):
            if run.out_of_patience(epoch - 1) or (epoch and late(Place(number, epoch))):
                break
            yield from _epoch(run, forward, feed, engine, epoch, begin.step if epoch == begin.epoch else 0)
            if phase.patience is not None:
                yield _judged(run, feed, engine, epoch)
            if engine.saves_now(ended=True):
                with engine.saving():
                    yield Saved(Place(number, epoch + 1), run.state())
    run.above.eval()
    put(run.changes, run.best_values or (run.average.values if run.average else {}))
    if len(run.kept) > 1:
        yield _souped(run, feed, engine)


def _few(run: PhaseRun, feed: Feed, engine: Engine) -> Tensor:
    """The losses of a few rows, in full precision under a launcher too, which wraps the instance's `forward`."""
    found = Above.forward(run.above, engine.place(feed.few(run.number, run.chosen.cut)))
    return torch.cat([loss.sums.float().flatten() for loss in found.values()])


def _epoch(run: PhaseRun, forward: nn.Module, feed: Feed, engine: Engine, epoch: int, first: int) -> Iterator[Event]:
    """The steps of an epoch, from the one of number `first` on."""
    phase, number, cut = run.phase, run.number, run.chosen.cut
    steps = feed.steps(number, cut, epoch)
    run.begin_epoch(resumed=first > 0)
    if phase.relative and not first:  # else the state that it goes on from has them
        yield _rated(run, forward, feed, engine, (epoch, steps[:LOOKS]))
    looks = run.looks(len(steps), engine)
    shared = phase.loss == "heads"  # a loss of rows against each other has to see all of them, in each process
    read = partial(_read, feed, (cut, epoch), [engine.share(one) for one in steps] if shared else steps)
    for index, given in _in_time(read, range(first, len(steps)), beside=feed.reads(cut, epoch)):
        place, part = Place(number, epoch, index), engine.place(given)
        if index in looks:
            few = steps[index][:: max(1, len(steps[index]) // phase.batch)]
            yield _look(run, engine.place(feed.part(cut, epoch, few)), place, engine)
        engine.seed(f"{run.seed} {place}")
        try:
            losses = _step(run, forward, part, engine, (epoch * len(steps) + index, phase.epochs * len(steps)))
        except NotFiniteError as error:
            error.rows = steps[index]
            raise
        yield from run.news()
        yield Stepped(place, len(steps), phase.epochs, losses, len(steps[index]))
        if engine.saves_now():
            with engine.saving():
                yield Saved(Place(number, epoch, index + 1), run.state())
    run.end_epoch()


def _rated(
    run: PhaseRun, forward: nn.Module, feed: Feed, engine: Engine, at: tuple[int, Sequence[Sequence[int]]]
) -> Said:
    """Give each group the share of its rate that its relative gradient norm asks for."""
    epoch, steps = at
    engine.seed(f"{run.seed} {run.number} {epoch}")
    parts = (engine.place(feed.part(run.chosen.cut, epoch, engine.share(one))) for one in steps)
    found = shares(run, (partial(_losses, forward, part, engine) for part in parts), engine)
    for group in run.optimiser.param_groups:
        group["share"] = found.get(group.get("number", -1), 1.0)
    named = (f"{run.phase.groups[number].names.removesuffix('.*')} {share:.2g}" for number, share in found.items())
    return Said(f"  shares of the rate in epoch {epoch + 1}: {', '.join(named)}", "info")


def _judged(run: PhaseRun, feed: Feed, engine: Engine, epoch: int) -> Judged:
    """What validation says after an epoch; the values are kept where it likes them best."""
    run.above.eval()
    with run.shown():
        judgement = engine.agree(feed.judge(run.chosen.cut))  # else some might stop and some go on
        loss, score = judgement.joint(frozenset(run.lost))
        best = run.consider(score, epoch)
    run.rest(judgement.scores, epoch)
    return Judged(Place(run.number, epoch + 1), loss, score, best, judgement.scores)


def _souped(run: PhaseRun, feed: Feed, engine: Engine) -> Souped:
    """The mean of the weights of the best epochs, as many as validation likes, put in."""

    def score(values: Mapping[str, Tensor]) -> float:
        put(run.changes, values)
        judgement: Judgement = engine.agree(feed.judge(run.chosen.cut))
        return judgement.joint(frozenset(run.lost))[1]

    inside, found = soup.greedy(run.kept, score)
    put(run.changes, soup.mean(inside))
    return Souped(Place(run.number), tuple(one.epoch for one in inside), found, inside[0].score)


def _read(feed: Feed, at: tuple[int, int], steps: Sequence[Sequence[int]], index: int) -> Part:
    return feed.part(*at, steps[index])


def _in_time(read: Callable[[int], Part], steps: range, *, beside: bool) -> Iterator[tuple[int, Part]]:
    """(step, its batch); where `beside`, each is read while the step before it is taken."""
    if not beside:
        yield from ((index, read(index)) for index in steps)
        return
    with helpers() as ahead:
        waiting = ahead.submit(read, steps[0]) if steps else None
        for index in steps:
            part = cast("Future[Part]", waiting).result()
            waiting = ahead.submit(read, index + 1) if index + 1 in steps else None
            yield index, part


def _step(run: PhaseRun, forward: nn.Module, part: Part, engine: Engine, at: tuple[int, int]) -> dict[str, float]:
    """One step, `at` its number and how many there are; the losses by task, without those that are no number."""
    for group in run.optimiser.param_groups:
        group["lr"] = group["rate"] * group.get("share", 1.0) * schedule(run.phase, *at)
    run.clear_gradients()
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
        clip(run.optimiser, run.gradients, run.phase.clip)
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


def _look(run: PhaseRun, part: Part, place: Place, engine: Engine) -> Lookahead:
    run.above.eval()
    affinity, conflicts = look_ahead(partial(_losses, run.above, part, engine), run.chosen, engine)
    run.set_modes()
    return Lookahead(place, run.above.tasks, tuple(map(tuple, affinity)), conflicts)
