"""Facts about data and model, and the user's wishes, to a Plan. One strategy a file; names are looked up here alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from ukulele.errors import PlanError
from ukulele.strategies import autorgn, bitfit, fewshot, finetune, full, gradual, l2sp, lora, probe, scratch, stages
from ukulele.strategies.facts import Facts, Wishes
from ukulele.types import Phase, Plan

STRATEGIES: Mapping[str, Callable[[Facts, Wishes], Plan]] = {
    "probe": probe.plan,
    "stages": stages.plan,
    "finetune": finetune.plan,
    "full": full.plan,
    "lora": lora.plan,
    "dora": lora.dora,
    "bitfit": bitfit.plan,
    "gradual": gradual.plan,
    "l2sp": l2sp.plan,
    "autorgn": autorgn.plan,
    "fewshot": fewshot.plan,
    "scratch": scratch.plan,
}

READS: Mapping[str, frozenset[str]] = {
    "probe": probe.READS, "stages": stages.READS, "finetune": finetune.READS, "full": full.READS, "lora": lora.READS,
    "dora": lora.READS, "bitfit": bitfit.READS, "gradual": gradual.READS, "l2sp": l2sp.READS,
    "autorgn": autorgn.READS,
    "fewshot": fewshot.READS, "scratch": scratch.READS,
}  # by strategy: the options that it reads of those that not every strategy does  # fmt: skip

LADDER = ("probe", "stages", "fewshot", "finetune", "lora", "full")  # all rungs that `ladder` may choose from
SOUP = 5  # epochs whose weights are kept for a mean: memory, and a file, of so many times what is trained

__all__ = ["READS", "STRATEGIES", "Facts", "Plan", "Wishes", "cut", "in_words", "make", "rungs"]


def rungs(wanted: str, probes: bool = True, choice: bool = True, facts: Facts | None = None) -> tuple[str, ...]:
    """The strategies that are carried out where one is wanted, cheapest first.

    Where the heads cannot be fitted in closed form there is no probe; `auto` then goes on to everything where the
    cut is its own `choice`. With `facts`, `auto` is the whole ladder, of which a budget pays a part.

    >>> rungs("auto"), rungs("full"), rungs("scratch"), rungs("auto", probes=False)
    (('probe', 'finetune'), ('probe', 'full'), ('scratch',), ('finetune', 'full'))
    """
    if wanted == "auto" and facts is not None:
        return ladder(facts)
    if not probes:
        return {"auto": ("finetune", "full") if choice else ("finetune",)}.get(wanted, (wanted,))
    return {"auto": ("probe", "finetune"), "probe": ("probe",), "scratch": ("scratch",)}.get(wanted, ("probe", wanted))


def ladder(facts: Facts) -> tuple[str, ...]:
    """The strategies that are worth trying, cheapest first: each is tried if the one before it gained.

    >>> ladder(Facts("text", 32, ("embed", "pool"), frozenset({"pool"}), 800, each=16))
    ('probe', 'fewshot')
    >>> blocks = ("embed", "block0", "pool")
    >>> ladder(Facts("text", 900, blocks, frozenset({"pool"}), 800, linear=frozenset({"block0"}), each=450))
    ('probe', 'stages', 'finetune', 'full', 'lora')
    """
    if not facts.probes:
        return ("finetune", "full")
    if fewshot.suits(facts) and 2 <= facts.each <= fewshot.FEW:
        return ("probe", "fewshot")
    large = facts.parameters > finetune.LARGE and bool(facts.linear)
    small = ("full", "lora") if facts.linear else ("full",)
    return ("probe", "stages", "finetune", *(("lora", "full") if large else small))


def make(name: str, facts: Facts, wishes: Wishes) -> Plan:
    """The plan of a strategy.

    Raises
    ------
    PlanError
        If there is no such strategy, or it cannot do what is wished.
    """
    if name not in STRATEGIES:
        raise PlanError(f"no strategy {name!r}.", hint=f"Choose one of: auto, {', '.join(STRATEGIES)}.")
    plan = STRATEGIES[name](facts, wishes)
    if "soup" in READS[name]:
        plan = averaged(plan, facts, wishes)
    return replace(plan, balance=wishes.balance, sampling=wishes.sampling, weights=wishes.weights)


def averaged(plan: Plan, facts: Facts, wishes: Wishes) -> Plan:
    """The plan with the means of weights that are wished for.

    Raises
    ------
    PlanError
        If the start has no head to go back to.
    """
    if wishes.wise_ft is not None and facts.modality == "boxes":
        raise PlanError(
            "--wise-ft: the head of a detector has no optimum on the frozen model to go back to.",
            hint="Choose --soup, the mean of epochs.",
        )
    *before, last = plan.phases
    return replace(plan, phases=(*before, replace(last, soup=SOUP * wishes.soup)), wise_ft=wishes.wise_ft)


def cut(plan: Plan, facts: Facts) -> int:
    """The lowest stage that a plan trains; where it trains heads alone, the number of stages.

    >>> from ukulele.types import Group, Phase
    >>> facts = Facts("text", 100, ("embed", "block0", "pool"), frozenset({"pool"}), 800)
    >>> cut(Plan("x", (Phase((Group("head.*", 1e-4), Group("block0.*", 1e-4)), epochs=3),)), facts)
    1
    """
    patterns = [group.names for phase in plan.phases if phase.optimiser != "probe" for group in phase.groups]
    trained = (
        place
        for place, stage in enumerate(facts.stages)
        if stage not in facts.bare
        and (
            any(_takes(pattern, stage) for pattern in patterns)
            or (plan.adapters is not None and stage in plan.adapters.stages)
        )
    )
    return next(trained, len(facts.stages))


def first_stored(plan: Plan, facts: Facts) -> int:
    """The lowest cut above the first stage that a phase reads from; where there is none, the number of stages.

    >>> from ukulele.types import Group, Phase
    >>> facts = Facts("text", 100, ("embed", "block0", "pool"), frozenset({"pool"}), 800)
    >>> top, all_ = Group("block0.*", 1e-4), Group("embed.*", 1e-4)
    >>> first_stored(Plan("x", (Phase((top,), epochs=1), Phase((top, all_), epochs=3))), facts)
    1
    """
    cuts = (cut(replace(plan, phases=(phase,)), facts) for phase in plan.phases)
    return min((at for at in cuts if at), default=len(facts.stages))


def in_words(plan: Plan, facts: Facts, stop: str | None = None) -> str:
    """A plan as a sentence for people.

    >>> from ukulele.types import Group, Phase
    >>> facts = Facts("text", 100, ("embed", "block0", "pool"), frozenset({"pool"}), 800)
    >>> in_words(Plan("x", (Phase((Group("head.*", 1e-4), Group("block0.*", 1e-4)), epochs=3),)), facts)
    'train the head and block0 for up to 3 epochs in batches of 32, rate 0.0001; frozen: embed'
    """
    said = [_phase_in_words(phase, plan, facts, stop) for phase in plan.phases]
    if plan.wise_ft is not None:
        share = "chosen on validation" if plan.wise_ft == "auto" else f"{plan.wise_ft:g}"
        said.append(f"go back towards the start: the share of the way is {share}")
    return "; then ".join(said) or "as it is"


def _takes(pattern: str, stage: str) -> bool:
    """Whether a group takes all or some parameters of a stage."""
    return fnmatchcase(f"{stage}.x", pattern) or pattern.startswith(f"{stage}.")


def _phase_in_words(phase: Phase, plan: Plan, facts: Facts, stop: str | None) -> str:
    adapters, strategy = plan.adapters, plan.strategy
    where = " of all stages" if strategy == "stages" else f" behind {stop}" if stop else ""
    if phase.optimiser == "probe":
        return f"fit the head to its optimum on the frozen model's features{where}"
    trained = [s for s in facts.stages if s not in facts.bare and any(_takes(g.names, s) for g in phase.groups)]
    frozen = [s for s in facts.stages if s not in facts.bare and s not in trained]
    rates = [group.rate for group in phase.groups]
    rate = f"rate {min(rates):.3g}" if min(rates) == max(rates) else f"rates {min(rates):.3g} to {max(rates):.3g}"
    epochs = f"{phase.epochs} epoch{'s' if phase.epochs > 1 else ''}"
    if phase.loss != "heads":
        what = "pairs" if phase.loss == "pairs" else "the nearest"
        taught = f"teach {_span(trained)} which rows have one class, from {what} among {phase.batch} rows a step"
        return f"{taught}, {epochs}, {rate}"
    what = " and ".join(["the head", *([_span(trained)] if trained else [])])
    rest = f"; frozen: {_span(frozen)}" if frozen else ""
    kept = "; the running average of the weights is kept" if phase.average is not None else ""
    if adapters is not None:
        whose = "each task's own adapters" if adapters.own else "adapters"
        what = f"the head and {whose} of rank {adapters.rank} ({adapters.kind}) in {_span(adapters.stages)}"
        few = f", those beside adapters in {adapters.bits} bits" if adapters.bits else ""
        rest = f"; frozen: all weights of the model{few}"
    elif any(group.names.endswith("*bias") for group in phase.groups):
        what, rest = f"the head and the biases of {_span(trained)}", "; frozen: all other weights"
    if phase.penalty:
        rest = f", pulled to where the weights started by {phase.penalty:g}{rest}"
    if phase.relative:
        rest = f", of which each stage gets the share that its relative gradient norm asks for{rest}"
    if phase.soup:
        rest += "; the mean of the best epochs where that is no worse"
    return f"train {what} for up to {epochs} in batches of {phase.batch}, {rate}{rest}{kept}"


def _span(stages: Sequence[str]) -> str:
    return stages[0] if len(stages) == 1 else f"{stages[0]} … {stages[-1]}"
