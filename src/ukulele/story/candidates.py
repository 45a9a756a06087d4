"""Which candidates there are: rungs and controls, before anything is trained."""

from __future__ import annotations

from dataclasses import replace

from ukulele import models, strategies
from ukulele.config import FitOptions
from ukulele.errors import PlanError
from ukulele.strategies import Facts, Wishes, controls, scratch
from ukulele.trial.context import Context, facts_of
from ukulele.trial.gathering import gathers
from ukulele.types import Candidate, Dataset, Model


def planned(facts: Facts, context: Context) -> list[Candidate]:
    """The rungs that were asked for, cheapest first, before a layer or a rate is chosen by measurement."""
    name, wishes = model_name(context), wishes_of(context.options, context.data)
    if context.options.strategy == "probe" and context.boxes:
        raise PlanError(
            "--strategy probe: a detector's head has no optimum that can be computed.",
            hint="To train the head alone: --freeze all.",
        )
    if context.options.head == "new" and not context.boxes:
        raise PlanError(
            "--head new is of detectors, whose heads know classes by name; every other head is new anyway.",
            hint="Leave it out.",
        )
    strategy, within = "scratch" if is_made(context) else context.options.strategy, bool(context.options.budget)
    wanted = strategies.rungs(strategy, facts.probes, choice=wishes.freeze == "auto", facts=facts if within else None)
    return [
        Candidate(strategy, name, strategies.make(strategy, facts, wishes), pretrained=strategy != "scratch")
        for strategy in wanted
        if strategy != "stages" or context.options.strategy == "stages" or gathers(context)
    ]


def model_name(context: Context) -> str:
    """The model that was asked for, or the default of the data's kind."""
    default = models.DETECTOR if context.boxes else models.DEFAULTS[context.writes or context.data.modality]
    return context.options.model or default


def is_made(context: Context) -> bool:
    """Whether the model is a mere configuration, which `auto` can only train from scratch."""
    return model_name(context).startswith("config:") and context.options.strategy == "auto"


def survey(name: str, context: Context) -> Facts:
    """The facts that strategies look at."""
    return facts_of(survey_model(name, context), context)


def survey_model(name: str, context: Context) -> Model:
    """The model before anything is trained."""
    plan, weights = strategies.Plan("survey", seed=context.options.seed), not is_made(context)
    weights = weights and context.options.strategy != "scratch"
    return context.load(Candidate("survey", name, plan, pretrained=weights))[0]


def rivals(facts: Facts, context: Context) -> list[Candidate]:
    """The controls without pre-training that were asked for, cheapest first."""
    options, wishes = context.options, wishes_of(context.options, context.data)
    if options.controls in {"none", "tasks"}:
        return []
    if context.boxes:
        return [one for one in controls.detectors(facts, wishes, model_name(context)) if one.name != options.strategy]
    if context.writes:
        made = is_made(context) or options.strategy == "scratch"
        reads, name = bool(context.reads), model_name(context)
        return list(controls.writers(facts, wishes, name, context.writes, made=made, reads=reads))
    candidates = list(controls.cheap(facts, wishes))
    if options.controls == "all" and options.strategy != "scratch":
        plan = scratch.plan(facts, replace(wishes, rate=None, freeze=None))
        candidates.append(Candidate("scratch", model_name(context), plan, "control", pretrained=False))
    return candidates


def wishes_of(options: FitOptions, dataset: Dataset) -> Wishes:
    """The options that strategies look at, and what the source itself says of its tasks."""
    o = options
    weights = tuple((target.name, target.weight) for target in dataset.targets if target.weight != 1)
    sampling = o.sampling or dataset.sampling or "proportional"
    return Wishes(
        o.frozen, o.epochs, o.given_rate, o.batch, o.views, o.patience, o.seed, o.balance, sampling, weights,
        o.rank, o.alpha, o.adapters == "per-task", o.bits, o.layer_decay, o.penalty, o.wise_ft, o.soup, o.mosaic,  # type: ignore[arg-type]
    )  # fmt: skip
