"""One candidate, from its name to its answers. A rung of the ladder and a control take the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any

from torch import nn

from ukulele import models
from ukulele.events import Event, Judged, Lookahead, Place, Said, Saved, Souped, Stepped
from ukulele.loop.assembly import Assembled, assemble, finished
from ukulele.loop.between import Start
from ukulele.loop.feed import Feed
from ukulele.loop.meter import Meter
from ukulele.loop.selection import changing, check, match_group, put, select, trained
from ukulele.loop.train import NotFiniteError, train
from ukulele.loop.work import operations
from ukulele.tasks import Write
from ukulele.trial.context import Context, facts_of
from ukulele.trial.outcome import Outcome
from ukulele.types import Candidate, Cost, Head, Model, Phase, Plan, Task

LONG = 100  # answers, the longest in bytes, whose tokens are counted
NAMED = 8  # rows of a step that an error names
EMPTY: Mapping[str, float] = MappingProxyType({})
MAKES_ITS_OWN = (
    *models.CLASSICAL,
    *models.COPYING,
    *models.COUNTING,
)  # names of models that are made from the training rows


def attempt(
    candidate: Candidate,
    context: Context,
    before: Mapping[str, float] = EMPTY,
    ahead: int = 0,
    until: float | None = None,
) -> Outcome:
    """Fit a candidate on the training rows, or take up where it was left, and tune its decoding on validation.

    `before` are the seconds that were spent on it already, by what on: loading, encoding, choosing its layer.
    `ahead` is a cut that a later candidate will read: the pass through the model stores it on the way. `until` are the
    seconds of the run from which on no further epoch begins.
    """
    run, name = context.run, candidate.name
    done = run.result(name)
    latest = None if done else run.latest(name)
    context.engine.wait()  # every process has read what there was before one writes anew
    prepared = {"seconds": sum(before.values()), "peak": 0, "phases": before}
    meter = Meter(latest[1]["meter"] if latest else prepared)
    outcome, ours, whole = _prepared(candidate, context, meter, ahead)
    if done:
        return _again(outcome, done, ours, whole)
    if latest:
        outcome.recall(latest[1])
    _fit(outcome, context, meter, latest[0] if latest else None, until)
    weights = _weights(outcome)
    _finish(outcome, ours, whole)
    _tune(outcome)
    meter.mark("validate")
    outcome.cost = replace(
        outcome.cost,
        seconds=meter.seconds,
        peak_memory_bytes=meter.peak,
        total_parameters=_cost(outcome.model, outcome.heads, candidate, meter).total_parameters,
        phases=tuple(meter.phases.items()),
        flops=_flops(outcome),
    )
    if context.engine.main:
        run.save_result(name, {"weights": weights, **outcome.particulars(), "cost": asdict(outcome.cost)})
    return outcome


def _prepared(candidate: Candidate, context: Context, meter: Meter, ahead: int) -> tuple[Outcome, Assembled, Model]:
    """The candidate before its first step, its model as the plan trains it, and whole as it was loaded."""
    whole, trunk = context.load(candidate)
    whole = untied(whole, candidate.plan)
    own = candidate.model in MAKES_ITS_OWN
    tasks = {name: roomed(task, whole, context) for name, task in context.asked(candidate).items()}
    ours = assemble(whole, candidate.plan, tasks, 0 if own else context.private(candidate.plan))
    model, heads = ours.model, {name: placed(head, context.engine.device) for name, head in ours.heads.items()}
    check(model, heads, candidate.plan)
    cut = _cut(model, heads, candidate)
    for stage in model.stages[cut:]:  # also where nothing is left to train
        stage.module.to(context.engine.device)
    taps = context.taps and not own and candidate.pretrained
    feed = Feed(
        model, heads, candidate.plan, context.tables(tasks, model), context.cache, context.engine, context.dtype,
        context.hear,
        trunk if taps or ours.private or candidate.plan.adapters else None,
        context.run.decide, ahead=ahead, taps=taps, truths=context.truths,
    )  # fmt: skip
    meter.mark("load")
    cost, facts = _cost(model, heads, candidate, meter), facts_of(whole, context)
    outcome = Outcome(candidate, model, heads, tasks, feed, cost, cut, facts, ours.private)
    if candidate.plan.wise_ft is not None:
        outcome.start = Start(whole if candidate.plan.adapters else model, cut, candidate.plan, heads)
    return outcome, ours, whole


def roomed(task: Task, model: Model, context: Context) -> Task:
    """The task, if it is to write, with room for the longest answers of the training rows in the model's own tokens."""
    if not isinstance(task, Write) or task.free or model.lengths is None:
        return task
    cells = context.truth("train").cells(task.name)
    longest = sorted(context.truth("train").numbers(task.name).tolist(), key=lambda at: -len(cells[at].encode()))[:LONG]
    rows = context.tables({task.name: task}, model)["train"].rows.take(sorted(longest))
    inputs = [row.inputs for row in rows]
    if any(len(row) != 2 for row in inputs):
        return task
    whole, alone = model.lengths(inputs), model.lengths([row[:1] for row in inputs])
    return task.roomy([sum(both) - sum(one) for both, one in zip(whole, alone, strict=True)])


def _fit(outcome: Outcome, context: Context, meter: Meter, start: Saved | None, until: float | None) -> None:
    """Carry out the plan, from where it was saved; what happens is told, kept and written down."""
    name, plan, feed, run = outcome.candidate.name, outcome.candidate.plan, outcome.feed, context.run
    if start is None and plan.phases and plan.phases[0].optimiser == "probe":
        feed.pooled("train")  # now, so that encoding and fitting are told apart
        meter.mark("encode")
    late = _late(name, context, until)
    probing = ["probe" if phase.optimiser == "probe" else "train" for phase in plan.phases]
    events = train(outcome.model, outcome.heads, plan, feed, context.engine, start, late)
    for event in _told(events, feed):
        meter.mark(_what(event, probing))
        outcome.note(event)
        outcome.note_probes()
        if outcome.start is not None:
            outcome.start.note(event, outcome.heads)
        context.hear(event)
        context.track(name, event)
        if isinstance(event, Saved) and context.engine.main:
            run.checkpoint(name, event, {**outcome.particulars(), "meter": meter.plain()})


def _tune(outcome: Outcome) -> None:
    """Decoding, tuned on validation."""
    feed = outcome.feed
    outcome.tasks = {
        name: task.tuned(outcome.answers("validation", name), feed.values("validation", name))
        for name, task in outcome.tasks.items()
    }


def untied(model: Model, plan: Plan) -> Model:
    """The model, weights that a cut of the plan would part made two, so that those above it can be trained."""
    if model.untie is None or plan.adapters is not None:
        return model
    for phase in plan.phases:
        cut = wished(model, phase)
        if cut and model.untie is not None:
            model = model.untie(cut)
    return model


def wished(model: Model, phase: Phase) -> int:
    """The lowest stage that a phase would train, were its weights its own: of a tied one a lower stage has them yet."""
    for place, stage in enumerate(model.stages):
        names = (f"{stage.name}.{name}" for name, _ in stage.module.named_parameters())
        if any(match_group(phase, name) is not None for name in names):
            return place
    return len(model.stages)


def placed(head: Head, device: str) -> Head:
    """A head on the device."""
    if isinstance(head, nn.Module):
        head.to(device)
    return head


def _told(events: Iterator[Event], feed: Feed) -> Iterator[Event]:
    """The events; where a loss becomes no number, the error says from which rows."""
    try:
        yield from events
    except NotFiniteError as error:
        rows = feed.tables["train"].rows
        places = [str(rows[number].where) for number in error.rows[:NAMED]]
        more = f" and {len(error.rows) - NAMED} more" if len(error.rows) > NAMED else ""
        message = f"{error.message} The rows of that step: {', '.join(places)}{more}." if places else error.message
        raise NotFiniteError(message, hint=error.hint) from error


def _late(name: str, context: Context, until: float | None) -> Callable[[Place], bool]:
    """Whether time is up before an epoch; that is decided once, and replayed."""
    if until is None:
        return lambda _place: False
    return lambda place: bool(
        context.decide(
            f"{name}: time was up before epoch {place.epoch} of phase {place.phase}",
            lambda: context.run.spent() > until,
        )
    )


def _what(event: Event, phases: Sequence[str]) -> str:
    """What the time before an event was spent on."""
    match event:
        case Stepped(place=place) | Judged(place=place):
            return phases[min(place.phase, len(phases) - 1)]
        case Lookahead():
            return "look ahead"
        case Souped():
            return "average"
        case _:
            return "save"


def _cut(model: Model, heads: Mapping[str, Head], candidate: Candidate) -> int:
    """The lowest cut of all phases, from which answers are computed."""
    cuts = [select(model, heads, phase).cut for phase in candidate.plan.phases]
    return min(cuts, default=len(model.stages))


def _cost(model: Model, heads: Mapping[str, Head], candidate: Candidate, meter: Meter) -> Cost:
    stages = {id(p): p.numel() for stage in model.stages for p in stage.module.parameters()}
    top = sum(p.numel() for head in heads.values() if isinstance(head, nn.Module) for p in head.parameters())
    ours = trained(model, heads, candidate.plan.phases)
    return Cost(meter.seconds, meter.peak, ours, sum(stages.values()) + top, tuple(meter.phases.items()))


def _flops(outcome: Outcome) -> float | None:
    train = outcome.feed.tables["train"].rows
    epochs = sum("epoch" in epoch for epoch in outcome.history)
    inputs = [train[i].inputs for i in range(min(2, len(train)))]
    return operations(
        outcome.model,
        outcome.lowest,
        inputs,
        _passes(outcome) * len(train),
        epochs * len(outcome.feed.numbers("train")),
    )


def _passes(outcome: Outcome) -> int:
    """How often the training rows went through the frozen part: once in each view, and anew where none is kept."""
    plan = outcome.candidate.plan
    views = [outcome.feed.view(entry["epoch"], entry["phase"]) for entry in outcome.history if "epoch" in entry]
    views += [0 for phase in plan.phases if phase.optimiser == "probe"]
    anew = [] if plan.views else [view for view in views if view]
    return max(1, len(anew) + len(set(views) - set(anew)))


def _weights(outcome: Outcome) -> dict[str, Any]:
    """As they were trained; copies where they are going to be averaged."""
    found = changing(outcome.model, outcome.heads, outcome.candidate.plan.phases)
    return found if outcome.start is None else {name: value.clone() for name, value in found.items()}


def _finish(outcome: Outcome, ours: Assembled, whole: Model) -> None:
    """Adapters go into the weights, and those back towards their start: what answers now is what is handed over."""
    plan = outcome.candidate.plan
    if plan.adapters is not None:
        outcome.model = outcome.feed.model = finished(ours, whole).model
        for stage in outcome.model.stages[outcome.cut :]:  # what its twin moved are parameters alone, not buffers
            stage.module.to(outcome.feed.engine.device)
    if outcome.start is not None:
        tried = outcome.start.go(
            outcome.model, outcome.heads, plan.wise_ft, lambda: outcome.feed.judge(outcome.cut).joint()[1]
        )
        if "wise_ft" not in outcome.averages:
            outcome.averages["wise_ft"] = {"alpha": outcome.start.alpha, "tried": tried}


def _again(outcome: Outcome, done: Mapping[str, Any], ours: Assembled, whole: Model) -> Outcome:
    """A candidate whose result is in the run's folder: its weights put back, its answers computed when asked for."""
    put(changing(outcome.model, outcome.heads, outcome.candidate.plan.phases), done["weights"])
    outcome.recall(done)
    _finish(outcome, ours, whole)
    _tune(outcome)
    cost = done["cost"]
    phases = tuple((what, seconds) for what, seconds in cost.pop("phases"))
    outcome.cost = Cost(**cost, phases=phases)
    return outcome


def spared(candidate: Candidate, context: Context, what: str = "control", until: float | None = None) -> Outcome | None:
    """The same of a candidate that the others do not need: None, and a warning, where its loss becomes no number."""
    context.hear(Said(f"{what}: {candidate.name}"))
    try:
        return attempt(candidate, context, until=until)
    except NotFiniteError as error:
        context.hear(Said(f"the {what} {candidate.name} is left out: {error.message} {error.hint}", "warning"))
        return None
