"""One candidate, from its name to its answers. A rung of the ladder and a control take the same way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ukulele import data, evaluate, features, models
from ukulele.config import FitOptions
from ukulele.events import Event, Hear, Judged, Lookahead, Place, Saved, Souped, Stepped
from ukulele.loop.assembly import Assembled, assemble, finished
from ukulele.loop.between import Start
from ukulele.loop.engine import Engine
from ukulele.loop.feed import Feed
from ukulele.loop.meter import Meter
from ukulele.loop.private import shared
from ukulele.loop.selection import changing, check, match_group, put, select, trained
from ukulele.loop.summed import Summed, spread
from ukulele.loop.teaching import Taught
from ukulele.loop.train import NotFiniteError, train
from ukulele.loop.truth import Numbers, Truth
from ukulele.loop.work import operations
from ukulele.models.adapters import places
from ukulele.runs import RunFolder
from ukulele.strategies import Facts
from ukulele.types import (
    WRITTEN,
    Candidate,
    Cost,
    Dataset,
    Estimate,
    Head,
    Model,
    Phase,
    Plan,
    Request,
    Split,
    Table,
    Task,
)  # fmt: skip

Track = Callable[[str, Event], None]  # hears of each event whose it is, by the candidate's name
SUMMED = 2000  # rows of a split whose summaries are kept as they are answered
NAMED = 8  # rows of a step that an error names
EMPTY: Mapping[str, float] = MappingProxyType({})
MAKES_ITS_OWN = (
    *models.CLASSICAL,
    *models.COPYING,
    *models.COUNTING,
)  # names of models that are made from the training rows


@dataclass(frozen=True)
class Context:
    """What every candidate of a run shares."""

    options: FitOptions
    data: Dataset
    tasks: Mapping[str, Task]
    cache: features.Cache
    engine: Engine
    dtype: str
    run: RunFolder
    hear: Hear
    taps: bool = False  # every stage's summary is stored with the pooled vector
    track: Track = lambda _candidate, _event: None
    pristine: dict[str, Model] = field(default_factory=dict)  # by name; shared by candidates that train no stage
    truths: dict[Split, Truth] = field(default_factory=dict)  # shared by all
    vocabulary: Mapping[str, bytes] = field(default_factory=dict)  # of the model that plain text was cut for

    @property
    def boxes(self) -> bool:
        """Whether the data are pictures with boxes."""
        return any(target.kind == "detect" for target in self.data.targets)

    def decide(self, what: str, how: Callable[[], Any]) -> Any:
        """A decision that is made once, is the same in all processes, and is replayed in a resumed run."""
        return self.engine.agree(self.run.decide(what, how))

    def asked(self, candidate: Candidate) -> dict[str, Task]:
        """The tasks that a candidate is for."""
        return {n: task for n, task in self.tasks.items() if candidate.tasks is None or n in candidate.tasks}

    @property
    def writes(self) -> str | None:
        """The kind of task, where a text is to be written."""
        return next((target.kind for target in self.data.targets if target.kind in WRITTEN), None)

    def tables(self, tasks: Mapping[str, Task], model: Model | None = None) -> dict[Split, Table]:
        """The splits as tables; their answers stand among the inputs where the model is taught so."""
        taught = next(iter(tasks)) if model is not None and model.teaches else None
        return {
            split: Table(rows if taught is None else Taught(rows, taught), tasks)
            for split, rows in self.data.splits.items()
        }

    def private(self, plan: Plan) -> int:
        """How many of the top stages each task has for its own, where a plan trains stages."""
        return self.options.private_stages if len(self.tasks) > 1 and not is_still(plan) else 0

    def truth(self, split: Split) -> Truth:
        """The true answers of a split."""
        return self.truths.setdefault(split, Truth(self.data.splits[split]))

    @property
    def languages(self) -> tuple[str, ...]:
        """Those of the source and the target: as they were given, or the names of their columns."""
        if self.options.languages or self.writes != "translate":
            return self.options.languages
        return (self.data.columns[0], self.data.targets[0].column or self.data.targets[0].name)

    def load(self, candidate: Candidate) -> tuple[Model, Model]:
        """The candidate's model, and the one it was cut from."""
        rows = self.data.splits["train"]
        request = Request(
            name=candidate.model,
            pretrained=candidate.pretrained,
            seed=candidate.plan.seed,
            inputs=len(self.data.columns),
            mixed=any(len(joined.columns) != len(self.data.columns) for joined in self.data.joined),
            max_length=self.options.max_length,
            long=self.options.long,
            rows=rows,
            writes=self.writes,
            chat=self.data.columns == (data.MESSAGES,),
            vocabulary=self.vocabulary,
            languages=self.languages,
        )
        still = candidate.pretrained and is_still(candidate.plan)
        if not still or candidate.model not in self.pristine:
            trunk = models.load(request, self.data.modality)
            if still:
                self.pristine[candidate.model] = trunk
        else:
            trunk = self.pristine[candidate.model]
        stop = candidate.stop
        if candidate.gather:
            return models.gathered(trunk, dict(candidate.gather)), trunk
        return (trunk if stop is None else models.truncate(trunk, stop, [rows[0].inputs])), trunk


def facts_of(model: Model, context: Context) -> Facts:
    """What strategies look at: of several tasks with stages of their own, the part that they share."""
    own = context.options.private_stages if len(context.tasks) > 1 else 0
    if own and len(model.stages) > own + 1:
        model = shared(model, own)
    bare = frozenset(s.name for s in model.stages if next(s.module.parameters(), None) is None)
    counts = {id(p): p.numel() for stage in model.stages for p in stage.module.parameters()}
    stages = tuple(stage.name for stage in model.stages)
    rows = round(sum(len(context.truth("train").numbers(task)) for task in context.tasks) / len(context.tasks))
    known = {str(label).lower().strip() for label in model.recipe.get("labels", ())}
    return Facts(
        "boxes" if context.boxes else "writing" if context.writes else context.data.modality,
        rows,
        stages,
        bare,
        sum(counts.values()),
        probes=not context.boxes and not context.writes,
        shared=sum(label.lower().strip() in known for target in context.data.targets for label in target.labels),
        linear=frozenset(s.name for s in model.stages if places(s.module)),
        biased=frozenset(s.name for s in model.stages if any(n.endswith("bias") for n in s.module.state_dict())),
        kinds=tuple(target.kind for target in context.data.targets),
        windows=any(target.free for target in context.data.targets),
        each=min((rows / len(target.labels) for target in context.data.targets if target.labels), default=math.inf),
    )


@dataclass
class Outcome:
    """A candidate that was fitted: its model, tuned tasks, raw answers by split and task, and what it took."""

    candidate: Candidate
    model: Model
    heads: Mapping[str, Head]
    tasks: Mapping[str, Task]
    feed: Feed
    cost: Cost
    cut: int
    facts: Facts  # that its plan was made from
    private: int = 0  # top stages that each head has for its own
    history: list[dict[str, Any]] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)  # how the tasks acted on each other
    raw: dict[Split, dict[str, list[Any]]] = field(default_factory=dict)
    sampled: dict[tuple[Split, int], dict[str, list[Any]]] = field(default_factory=dict)  # answers of some rows
    summed: dict[Split, Summed] = field(default_factory=dict)
    strength: float | None = None
    cross_validation: tuple[float, float] | None = None
    why: str = ""
    held: dict[str, torch.Tensor] = field(default_factory=dict)  # by task, a probe's answers on training rows, unseen
    figures: dict[tuple[Split, str], Mapping[str, Estimate]] = field(default_factory=dict)
    averages: dict[str, Any] = field(default_factory=dict)  # of weights: which epochs, how far back to the start
    start: Start | None = None  # where the weights were, if they go back towards that

    def answers(self, split: Split, task: str) -> list[Any]:
        """Raw answers, computed when first asked for."""
        if split not in self.raw:
            self.raw[split] = self._answered(split, None)
        return self.raw[split][task]

    def table(self, split: Split, task: str, most: int | None = None) -> Any:
        """Row statistics of the final answers, for the metrics; of `most` rows, evenly spread, where there are more."""
        asked, values, rows = self.tasks[task], self.feed.values(split, task), self.feed.numbers(split)
        if most is None or len(rows) <= most:
            return asked.table(asked.decode(self.answers(split, task)), values)
        if (split, most) not in self.sampled:
            self.sampled[split, most] = self._answered(split, spread(rows, most))
        pairs = zip(self.sampled[split, most][task], values, strict=True)
        answers, some = zip(*((answer, value) for answer, value in pairs if answer is not None), strict=True)
        return asked.table(asked.decode(answers), some)

    def summaries(self, split: Split, most: int = SUMMED) -> NDArray[np.float32]:
        """What the trunk makes of `most` rows, evenly spread, (rows, width): seen when they were answered, or now."""
        if split in self.summed and most == SUMMED:
            return self.summed[split].matrix
        return self.feed.summaries(split, self.lowest, most)

    def _answered(self, split: Split, some: Numbers | None) -> dict[str, list[Any]]:
        wanted = spread(self.feed.numbers(split), SUMMED)
        if self.still or (some is not None and len(some) < len(wanted)):
            return self.feed.answers(split, self.lowest, some=some)[0]
        self.summed[split] = Summed(self.model, wanted)
        return self.feed.answers(split, self.lowest, some=some, watch=self.summed[split])[0]

    @property
    def lowest(self) -> int:
        """The cut from which answers are computed."""
        return len(self.model.stages) if self.still else self.cut

    def measured(self, split: Split, task: str) -> Mapping[str, Estimate]:
        """Every metric of a task on a split, with its interval; computed once."""
        if (split, task) not in self.figures:
            self.figures[split, task] = evaluate.estimates(self.tasks[task], self.table(split, task))
        return self.figures[split, task]

    @property
    def still(self) -> bool:
        """Whether the trunk is as it was loaded."""
        return is_still(self.candidate.plan)


def is_still(plan: Plan) -> bool:
    """Whether a plan trains heads alone, to their optimum, and so leaves the model as it was loaded."""
    return all(phase.optimiser == "probe" for phase in plan.phases)


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
    whole, trunk = context.load(candidate)
    whole = untied(whole, candidate.plan)
    tasks, own = context.asked(candidate), candidate.model in MAKES_ITS_OWN
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
        run.decide, ahead=ahead, taps=taps, truths=context.truths,
    )  # fmt: skip
    meter.mark("load")
    outcome = Outcome(
        candidate,
        model,
        heads,
        tasks,
        feed,
        _cost(model, heads, candidate, meter),
        cut,
        facts_of(whole, context),
        ours.private,
    )
    if candidate.plan.wise_ft is not None:
        outcome.start = Start(whole if candidate.plan.adapters else model, cut, candidate.plan)
    if done:
        return _again(outcome, done, ours, whole)
    if latest:
        _recall(outcome, latest[1])
    if latest is None and candidate.plan.phases and candidate.plan.phases[0].optimiser == "probe":
        feed.pooled("train")  # now, so that encoding and fitting are told apart
        meter.mark("encode")
    late = _late(name, context, until)
    probing = ["probe" if phase.optimiser == "probe" else "train" for phase in candidate.plan.phases]
    events = train(model, heads, candidate.plan, feed, context.engine, latest[0] if latest else None, late)
    for event in _told(events, feed):
        meter.mark(_what(event, probing))
        _note(event, outcome)
        _note_probe(outcome)
        if outcome.start is not None:
            outcome.start.note(event, heads)
        context.hear(event)
        context.track(name, event)
        if isinstance(event, Saved) and context.engine.main:
            run.checkpoint(name, event, {**_particulars(outcome), "meter": meter.plain()})
    weights = _weights(outcome)
    _finish(outcome, ours, whole)
    outcome.tasks = {
        n: t.tuned(outcome.answers("validation", n), feed.values("validation", n)) for n, t in tasks.items()
    }
    meter.mark("validate")
    outcome.cost = replace(
        outcome.cost,
        seconds=meter.seconds,
        peak_memory_bytes=meter.peak,
        total_parameters=_cost(outcome.model, heads, candidate, meter).total_parameters,
        phases=tuple(meter.phases.items()),
        flops=_flops(outcome),
    )
    if context.engine.main:
        run.save_result(name, {"weights": weights, **_particulars(outcome), "cost": asdict(outcome.cost)})
    return outcome


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


def _note(event: Event, outcome: Outcome) -> None:
    history = outcome.history
    match event:
        case Stepped(place, of, _, losses) if of:
            loss = sum(losses.values())
            last = history[-1] if history else None
            if last and (last["phase"], last["epoch"]) == (place.phase, place.epoch):
                last["train_loss"] += (loss - last["train_loss"]) / (place.step + 1)
            elif "probe" not in losses:
                history.append({"phase": place.phase, "epoch": place.epoch, "train_loss": loss})
        case Judged(_, loss, score, best, scores) if history:
            history[-1] |= {"validation_loss": _finite(loss), "score": _finite(score), "best": best}
            if len(scores) > 1:
                history[-1]["scores"] = {task: _finite(value) for task, value in scores.items()}
        case Souped(place, epochs, score, alone):
            found = {"epochs": list(epochs), "score": _finite(score), "alone": _finite(alone)}
            outcome.averages["soup"] = {"phase": place.phase, **found}
        case Lookahead(place, _, affinity, conflicts):
            rows = [[_finite(value) for value in row] for row in affinity]
            look = {"phase": place.phase, "epoch": place.epoch, "affinity": rows, "conflicts": conflicts}
            outcome.looks.append(look)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _note_probe(outcome: Outcome) -> None:
    probes = list(outcome.feed.probes.values())
    if not probes:
        return
    outcome.strength = float(probes[0].strength) if len(probes) == 1 else None
    if outcome.still and outcome.candidate.role == "rung":
        outcome.held = {task: probe.oof for task, probe in outcome.feed.probes.items()}
    if outcome.candidate.plan.phases[0].optimiser != "probe":
        return  # what its features were taught on tells nothing about it
    mean = sum(probe.score.mean for probe in probes) / len(probes)
    outcome.cross_validation = (mean, math.sqrt(sum(probe.score.error**2 for probe in probes)) / len(probes))


def _particulars(outcome: Outcome) -> dict[str, Any]:
    return {
        "history": outcome.history,
        "looks": outcome.looks,
        "strength": outcome.strength,
        "cross_validation": outcome.cross_validation,
        "held": outcome.held,
        "averages": outcome.averages,
        **({"start": outcome.start.plain()} if outcome.start is not None else {}),
    }


def _recall(outcome: Outcome, kept: Mapping[str, Any]) -> None:
    outcome.history, outcome.strength = list(kept["history"]), kept["strength"]
    outcome.looks, outcome.held = list(kept.get("looks", ())), dict(kept.get("held", {}))
    outcome.averages = dict(kept.get("averages", {}))
    if outcome.start is not None:
        outcome.start.recall(kept["start"])
    outcome.cross_validation = tuple(kept["cross_validation"]) if kept["cross_validation"] else None


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
    cut = len(outcome.model.stages) if outcome.still else outcome.cut
    views = max(1, min(outcome.candidate.plan.views, epochs))
    inputs = [train[i].inputs for i in range(min(2, len(train)))]
    return operations(outcome.model, cut, inputs, views * len(train), epochs * len(outcome.feed.numbers("train")))


def _weights(outcome: Outcome) -> dict[str, Any]:
    """As they were trained; copies where they are going to be averaged."""
    found = changing(outcome.model, outcome.heads, outcome.candidate.plan.phases)
    return found if outcome.start is None else {name: value.clone() for name, value in found.items()}


def _finish(outcome: Outcome, ours: Assembled, whole: Model) -> None:
    """Adapters go into the weights, and those back towards their start: what answers now is what is handed over."""
    plan = outcome.candidate.plan
    if plan.adapters is not None:
        outcome.model = outcome.feed.model = finished(ours, whole).model
    if outcome.start is not None:
        tried = outcome.start.go(
            outcome.model, outcome.heads, plan.wise_ft, lambda: outcome.feed.judge(outcome.cut).joint()[1]
        )
        if "wise_ft" not in outcome.averages:
            outcome.averages["wise_ft"] = {"alpha": outcome.start.alpha, "tried": tried}


def _again(outcome: Outcome, done: Mapping[str, Any], ours: Assembled, whole: Model) -> Outcome:
    put(changing(outcome.model, outcome.heads, outcome.candidate.plan.phases), done["weights"])
    _recall(outcome, done)
    _finish(outcome, ours, whole)
    cost = done["cost"]
    phases = tuple((what, seconds) for what, seconds in cost.pop("phases"))
    validation, feed = outcome.answers, outcome.feed
    outcome.tasks = {
        n: t.tuned(validation("validation", n), feed.values("validation", n)) for n, t in outcome.tasks.items()
    }
    outcome.cost = Cost(**cost, phases=phases)
    return outcome
