"""What a phase trains follows from names alone, for any plan."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ukulele.errors import PlanError
from ukulele.loop.selection import changing, check, match_group, owners, put, select
from ukulele.types import Card, Field, Group, Model, Phase, Plan, Stage, Tensors

STAGES = ("embed", "block0", "block1", "block10", "pool")


class Part(nn.Module):
    """A stage with a weight, a bias and a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, live: Tensors) -> Tensors:
        return {"x": self.norm(self.linear(live["x"]))}


class Nothing(nn.Module):
    """A stage without a parameter."""

    def forward(self, live: Tensors) -> Tensors:
        return {"pooled": live["x"]}


def made() -> Model:
    live = {"x": Field()}
    stages = [Stage(name, Part(), live) for name in STAGES[:-1]]
    net = nn.ModuleList(stage.module for stage in stages)
    return Model(
        name="made", net=net, encode=lambda inputs, draws: [], inputs=live,
        stages=(*stages, Stage("pool", Nothing(), {"pooled": Field()})), width=2,
        summary=lambda one: one["x"], recipe={"family": "made"}, card=Card("made"),
    )  # fmt: skip


HEADS: dict[str, Any] = {"mood": nn.Linear(2, 3), "type": nn.Linear(2, 1)}  # a column may have any name
MODEL = made()
NAMES = [name for name, _ in owners(MODEL, HEADS).values()]
PATTERNS = st.one_of(
    st.sampled_from([*NAMES, "*", "head.*", "*.bias", "block1.*", "block1*", "block?.*", "*norm*", "pool.*", "nobody"]),
    st.text("*?abdehklmoprt01.[]!", max_size=8),
)
GROUPS = st.lists(st.builds(Group, PATTERNS, st.floats(1e-6, 1)), max_size=4).map(tuple)
PHASE = st.builds(Phase, GROUPS, norm=st.sampled_from(["frozen", "trained"]))


def stage_of(name: str) -> int:
    return len(STAGES) if name.startswith("head.") else STAGES.index(name.split(".", maxsplit=1)[0])


@given(PHASE)
def test_the_first_group_that_matches_takes_a_parameter(phase: Phase) -> None:
    chosen = select(MODEL, HEADS, phase)
    by_rate: dict[int, list[Any]] = {}
    for parameter, (name, index) in owners(MODEL, HEADS).items():
        matching = [i for i, group in enumerate(phase.groups) if fnmatchcase(name, group.names)]
        assert parameter.requires_grad == bool(matching)
        assert match_group(phase, name) == (matching[0] if matching else None)
        assert index == stage_of(name)
        if matching:
            by_rate.setdefault(matching[0], []).append(parameter)
            group = next(g for g in chosen.groups if any(p is parameter for p in g["params"]))
            assert group["rate"] == phase.groups[matching[0]].rate
            assert group["decays"] == (parameter.ndim > 1)
    assert sum(len(group["params"]) for group in chosen.groups) == len(chosen.parameters)
    assert len(set(chosen.parameters)) == len(chosen.parameters) == sum(map(len, by_rate.values()))
    trained = [stage_of(name) for name in NAMES if match_group(phase, name) is not None]
    assert chosen.cut == min(trained, default=len(STAGES))


@given(st.lists(PHASE, max_size=3))
def test_changing_holds_all_that_some_phase_trains_and_no_more(phases: list[Phase]) -> None:
    found = changing(MODEL, HEADS, phases)
    trained = {name for name in NAMES if any(match_group(phase, name) is not None for phase in phases)}
    assert {name for name in found if name in NAMES} == trained
    for name in found.keys() - trained:  # statistics, above the cut of a phase that trains them
        assert any(phase.norm == "trained" and stage_of(name) >= select(MODEL, HEADS, phase).cut for phase in phases), (
            name
        )
    tensors = {name: parameter for parameter, (name, _) in owners(MODEL, HEADS).items()}
    assert all(found[name].data_ptr() == tensors[name].data_ptr() for name in trained)
    assert not any(value.requires_grad for value in found.values())


@settings(max_examples=30)
@given(st.lists(PHASE, max_size=2))
def test_put_brings_back_what_was_there(phases: list[Phase]) -> None:
    targets = changing(MODEL, HEADS, phases)
    before = {name: value.clone() for name, value in targets.items()}
    for value in targets.values():
        value.add_(1)
    put(targets, before)
    assert all(torch.equal(changing(MODEL, HEADS, phases)[name], value) for name, value in before.items())


@given(st.lists(PHASE, max_size=3).map(tuple))
def test_a_plan_is_refused_exactly_where_a_group_or_a_phase_trains_nothing(phases: tuple[Phase, ...]) -> None:
    useless = [g.names for phase in phases for g in phase.groups if not any(fnmatchcase(n, g.names) for n in NAMES)]
    idle = [phase for phase in phases if all(match_group(phase, name) is None for name in NAMES)]
    if not useless and not idle:
        check(MODEL, HEADS, Plan("made", phases))
        return
    with pytest.raises(PlanError) as error:
        check(MODEL, HEADS, Plan("made", phases))
    assert all(repr(pattern) in error.value.message for pattern in useless)
    assert error.value.message.count("nothing is trained") == len(idle)


def test_a_number_of_two_digits_is_not_a_block_of_one() -> None:
    select(MODEL, HEADS, Phase((Group("block1.*", 1.0),)))
    trained = {name for parameter, (name, _) in owners(MODEL, HEADS).items() if parameter.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"block1"}


def test_all_faults_are_told_at_once_with_what_was_meant() -> None:
    plan = Plan("made", (Phase((Group("blok1.*", 1.0), Group("head.*", 0.0)), epochs=0), Phase(())))
    with pytest.raises(PlanError) as error:
        check(MODEL, HEADS, plan)
    message = error.value.message
    for fault in ("did you mean block1.*?", "a rate of 0.0", "0 epochs", "phase 2: nothing is trained"):
        assert fault in message
    with pytest.raises(PlanError, match="rate of nan"):
        check(MODEL, HEADS, Plan("made", (Phase((Group("*", float("nan")),)),)))


def tied() -> Model:
    model = made()
    lower, upper = model.stages[0].module, model.stages[2].module
    upper.linear.weight = lower.linear.weight
    return model


def test_a_tied_parameter_belongs_to_its_lowest_stage() -> None:
    model = tied()
    weight = model.stages[0].module.linear.weight
    assert owners(model, {})[weight] == ("embed.linear.weight", 0)
    chosen = select(model, {}, Phase((Group("block1.*", 1.0),)))
    assert not weight.requires_grad
    assert all(parameter is not weight for parameter in chosen.parameters)
    assert chosen.cut == 2
    assert select(model, {}, Phase((Group("embed.*weight", 1.0),))).cut == 0
    assert "block1.linear.weight" not in changing(model, {}, [Phase((Group("*", 1.0),))])


def test_cuts_of_known_strategies(encoder_folder: Callable[..., Any]) -> None:
    from ukulele import models
    from ukulele.types import Request

    model = models.load(Request(str(encoder_folder("bert"))), "text")
    cuts = {
        pattern: select(model, HEADS, Phase((Group("head.*", 1.0), Group(pattern, 1.0)))).cut
        for pattern in ("head.*", "block1.*", "block0.*query*", "*.bias", "*")
    }
    assert cuts == {"head.*": 4, "block1.*": 2, "block0.*query*": 1, "*.bias": 0, "*": 0}
