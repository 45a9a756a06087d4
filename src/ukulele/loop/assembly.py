"""A model as a plan trains it: its heads, and what is put in for the time of training or for a task alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from ukulele.errors import PlanError
from ukulele.loop.private import Private, shared, tops, with_tops
from ukulele.models.adapters import adapted, merge, narrowed
from ukulele.types import Adapters, Head, Model, Plan, Task


@dataclass(frozen=True)
class Assembled:
    """What is trained. `private` counts the top stages that each head has for its own."""

    model: Model
    heads: Mapping[str, Head]
    private: int = 0


def assemble(model: Model, plan: Plan, tasks: Mapping[str, Task], private: int) -> Assembled:
    """Heads on a model, `private` of its top stages copied for each, and the plan's adapters put in.

    The model given stays the same function, and goes on sharing its weights with what is trained.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        heads: dict[str, Head] = {name: task.head(model) for name, task in tasks.items()}
        if plan.adapters is not None:
            return (_own if plan.adapters.own else _common)(model, heads, plan.adapters)
    if private:
        return Assembled(shared(model, private), with_tops(model, private, heads), private)
    return Assembled(model, heads)


def _common(model: Model, heads: Mapping[str, Head], adapters: Adapters) -> Assembled:
    return Assembled(replace(model, stages=adapted(narrowed(model.stages, adapters), adapters)), heads)


def _own(model: Model, heads: Mapping[str, Head], adapters: Adapters) -> Assembled:
    """The stages from the lowest adapted one on for each head: the same weights, adapters of its own."""
    names = [stage.name for stage in model.stages]
    lowest = min(names.index(name) for name in adapters.stages if name in names)
    if not lowest:
        raise PlanError(
            "--adapters per-task: nothing would be shared, as adapters stand in the first stage, too.",
            hint="Choose --freeze 1 or more.",
        )
    private = max(1, len(names) - 1 - lowest)
    made: dict[str, Head] = {}
    base = replace(model, stages=narrowed(model.stages, adapters))
    for name, head in heads.items():
        stages = adapted(base.stages, adapters)[-private - 1 :]
        made[name] = Private(model, [stage.module for stage in stages], head)
    return Assembled(replace(shared(model, private), above=tops(base, private)), made, private)


def finished(ours: Assembled, whole: Model) -> Assembled:
    """What is handed over: adapters merged into the weights of `whole`, the model that `ours` was assembled from."""
    merge([stage.module for stage in ours.model.stages])
    for head in ours.heads.values():
        match head:
            case Private():
                head.stages = nn.ModuleList(copy.deepcopy(stage) for stage in head.stages)  # weights of its own
                merge(list(head.stages))
    model = shared(whole, ours.private) if ours.private else whole
    return replace(ours, model=model)
