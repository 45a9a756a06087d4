"""Every strategy's plan can be carried out, says what it does, and does what was wished."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukulele import models, tasks
from ukulele.errors import PlanError
from ukulele.loop.assembly import assemble
from ukulele.loop.selection import check, select
from ukulele.models.adapters import places
from ukulele.strategies import STRATEGIES, Facts, Wishes, controls, in_words, make, rates, scratch, weights
from ukulele.strategies import cut as strategies_cut
from ukulele.strategies.facts import frozen_stages
from ukulele.types import Adapters, Group, Phase, Plan, Request, Target

BLOCKS = frozenset({"block0", "block1", "block2"})
FACTS = Facts(
    "text", 500, ("embed", "block0", "block1", "block2", "pool"), frozenset({"pool"}), 1_000_000,
    linear=BLOCKS, biased=BLOCKS | {"embed"},
)  # fmt: skip


@pytest.mark.parametrize("strategy", ["lora", "dora", "bitfit", "finetune", "full"])
def test_a_model_is_trained_at_its_pace(strategy: str) -> None:
    usual, slow = (make(strategy, replace(FACTS, pace=pace), Wishes()).phases[-1] for pace in (1.0, 0.2))
    assert [group.rate for group in slow.groups] == pytest.approx([0.2 * group.rate for group in usual.groups])
    assert make(strategy, replace(FACTS, pace=0.2), Wishes(rate=0.3)).phases[-1].groups[0].rate == 0.3


def test_plans_of_fewer_epochs_see_pictures_as_they_are_in_as_large_a_part() -> None:
    boxes = replace(FACTS, modality="boxes", probes=False)
    whole = make("full", boxes, Wishes(epochs=20))
    assert whole.phases[-1].plain == 2
    assert [plan.phases[-1].plain for _, plan in rates.search(whole)] == [0] * 3
    assert [plan.phases[-1].plain for _, plan in weights.search(whole, ("a",))] == [0] * 2
    early = [phase for phase in make("gradual", boxes, Wishes(epochs=20)).phases if phase.epochs == 1]
    assert len(early) > 1
    assert [phase.plain for phase in early] == [0] * len(early)


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    stages = (*(f"s{i}" for i in range(draw(st.integers(1, 20)))), "pool")
    bare = frozenset(draw(st.lists(st.sampled_from(stages[1:]), max_size=3))) | {"pool"}
    modality = draw(st.sampled_from(["text", "pair", "image"]))
    rows, parameters, full = draw(st.integers(1, 10**6)), draw(st.integers(1, 10**9)), frozenset(stages) - bare
    return Facts(modality, rows, stages, bare, parameters, draw(st.booleans()), linear=full, biased=full)


WISHES = st.builds(
    Wishes,
    freeze=st.sampled_from([None, "auto", "none", "all", 0, 1]),
    epochs=st.none() | st.integers(1, 50),
    rate=st.none() | st.floats(1e-6, 1e-1),
    batch=st.none() | st.integers(1, 64),
    views=st.none() | st.integers(0, 4),
    patience=st.none() | st.integers(1, 9),
    seed=st.integers(0, 99),
    rank=st.none() | st.integers(1, 64),
    alpha=st.none() | st.floats(0.5, 64),
)


@given(st.sampled_from([name for name in STRATEGIES if name not in {"probe", "stages", "fewshot"}]), facts(), WISHES)
def test_any_plan_is_sound_and_grants_the_wishes(name: str, known: Facts, wishes: Wishes) -> None:
    plan = make(name, known, wishes)
    assert plan == make(name, known, wishes)
    assert hash(plan) == hash(make(name, known, wishes))
    assert json.loads(json.dumps(asdict(plan)))["seed"] == plan.seed == wishes.seed
    assert plan.views == wishes.views if wishes.views is not None else plan.views >= 0
    phase = plan.phases[-1]
    for wished, given_ in (("epochs", phase.epochs), ("batch", phase.batch), ("patience", phase.patience)):
        assert given_ == (getattr(wishes, wished) or given_)
        assert given_ is not None
        assert given_ >= 1
    assert phase.decay == 0.01
    assert all(group.rate > 0 for group in phase.groups)
    if wishes.rate is not None:
        assert max(group.rate for group in phase.groups) == wishes.rate
    named = {group.names.partition(".*")[0] for group in phase.groups} - {"head", "*", "*lora_*"}
    assert named <= set(known.stages) - known.bare
    if plan.adapters is not None:
        assert set(plan.adapters.stages) <= known.linear
        assert plan.adapters.rank == (wishes.rank or plan.adapters.rank)
        assert plan.adapters.alpha == (wishes.alpha or 2 * plan.adapters.rank)
    assert in_words(plan, known)


@given(facts(), WISHES)
def test_rates_fall_towards_the_stem_and_stages_are_trained_from_the_top(known: Facts, wishes: Wishes) -> None:
    groups = make("finetune", known, wishes).phases[-1].groups
    assert groups[0].names == "head.*"
    rates = [group.rate for group in groups[1:]]
    assert rates == sorted(rates, reverse=True)
    trainable = [name for name in known.stages if name not in known.bare]
    top = [f"{name}.*" for name in reversed(trainable)]
    assert [group.names for group in groups[1:]] == top[: len(groups) - 1]


@given(facts(), WISHES)
def test_the_probe_comes_first_where_heads_can_be_fitted(known: Facts, wishes: Wishes) -> None:
    for name in ("finetune", "full", "l2sp", "lora", "dora", "bitfit"):
        phases = make(name, known, wishes).phases
        assert [phase.optimiser for phase in phases] == (["probe", "adamw"] if known.probes else ["adamw"])
    assert [phase.optimiser for phase in make("scratch", known, wishes).phases] == ["adamw"]


@pytest.mark.parametrize(
    ("freeze", "expected"),
    [(None, 2), ("auto", 2), ("none", 0), ("all", 5), (0, 0), (3, 3), (5, 5)],
)
def test_freezing(freeze: Any, expected: int) -> None:
    assert frozen_stages(FACTS, freeze, default=2) == expected


@given(facts(), WISHES)
def test_gradual_unfreezing_goes_down_from_the_top_at_falling_rates(known: Facts, wishes: Wishes) -> None:
    phases = [phase for phase in make("gradual", known, wishes).phases if phase.optimiser != "probe"]
    trained = [[group.names for group in phase.groups] for phase in phases]
    for above, below in pairwise(trained):
        assert above == below[: len(above)]
        assert len(above) < len(below)
    assert len(phases) <= 4
    assert all(phase.epochs == 1 for phase in phases[:-1])
    lowest = strategies_cut(make("full", known, wishes), known)
    assert strategies_cut(make("gradual", known, wishes), known) == lowest
    rates = [group.rate for group in phases[-1].groups[1:]]
    assert rates == sorted(rates, reverse=True)


def test_l2sp_is_full_fine_tuning_with_a_penalty() -> None:
    plan, base = make("l2sp", FACTS, Wishes(penalty=0.3)), make("full", FACTS, Wishes())
    assert plan.phases[-1] == replace(base.phases[-1], penalty=0.3)
    assert plan.phases[:-1] == base.phases[:-1]
    assert "pulled to where the weights started by 0.3" in in_words(plan, FACTS)


def test_autorgn_is_full_fine_tuning_at_one_rate_of_which_stages_get_their_shares() -> None:
    phase, base = (
        make("autorgn", FACTS, Wishes(rate=1e-4)).phases[-1],
        make("full", FACTS, Wishes(rate=1e-4)).phases[-1],
    )
    assert phase == replace(base, relative=True, groups=tuple(Group(group.names, 1e-4) for group in base.groups))
    assert "of which each stage gets the share" in in_words(make("autorgn", FACTS, Wishes()), FACTS)


def test_few_labels_are_taught_in_pairs_before_the_head_is_fitted() -> None:
    pairs, head = make("fewshot", FACTS, Wishes(freeze=1, epochs=3, batch=4, rate=1e-3)).phases
    assert (pairs.loss, pairs.epochs, pairs.batch, head.optimiser) == ("pairs", 3, 4, "probe")
    assert {group.rate for group in pairs.groups} == {1e-3}
    assert [group.names for group in pairs.groups] == ["block2.*", "block1.*", "block0.*"]
    assert "pairs among 4 rows a step, 3 epochs" in in_words(make("fewshot", FACTS, Wishes(epochs=3, batch=4)), FACTS)
    for classes, loss, batch in ((4, "pairs", 8), (5, "contrast", 32)):
        several = replace(FACTS, rows=8 * classes, each=8)
        phase = make("fewshot", several, Wishes()).phases[0]
        assert (phase.loss, phase.batch) == (loss, batch)
    assert "from the nearest among 32 rows a step" in in_words(make("fewshot", several, Wishes()), several)
    for other in ({"modality": "image"}, {"modality": "pair"}, {"kinds": ("regress",)}, {"kinds": ("classify",) * 2}):
        with pytest.raises(PlanError, match="one task of texts") as error:
            make("fewshot", replace(FACTS, **other), Wishes())
        assert "probe" in error.value.hint


@pytest.mark.parametrize("name", ["finetune", "full", "gradual", "l2sp"])
def test_layer_decay(name: str) -> None:
    rates = [group.rate for group in make(name, FACTS, Wishes(freeze=1, rate=1.0, layer_decay=0.5)).phases[-1].groups]
    assert rates == [1.0, 1.0, 0.5, 0.25]


@pytest.mark.parametrize("freeze", [-1, 6, "some"])
def test_freezing_what_is_not_there_names_the_stages(freeze: Any) -> None:
    with pytest.raises(PlanError, match="5 stages") as error:
        make("finetune", FACTS, Wishes(freeze=freeze))
    assert "block2" in error.value.message
    assert "0 to 5" in error.value.hint


def test_something_is_trained_unless_all_is_to_be_frozen() -> None:
    assert frozen_stages(FACTS, None, default=9) == 3
    assert len(make("finetune", FACTS, Wishes(freeze="all")).phases[-1].groups) == 1


@pytest.mark.parametrize("name", ["lora", "dora"])
def test_adapters_stand_above_the_cut_in_stages_with_a_place(name: str) -> None:
    plan = make(name, FACTS, Wishes(freeze=2))
    assert plan.adapters is not None
    assert plan.adapters.stages == ("block1", "block2")
    assert (plan.adapters.kind, plan.adapters.rank, plan.adapters.alpha) == (name, 8, 16.0)
    assert strategies_cut(plan, FACTS) == 2
    assert strategies_cut(make(name, FACTS, Wishes(freeze="none")), FACTS) == 1  # nothing to stand beside in embed
    assert make(name, FACTS, Wishes(rank=4)).adapters == Adapters(name, ("block1", "block2"), 4, 8.0)  # type: ignore[arg-type]
    assert "adapters of rank 8" in in_words(plan, FACTS)
    alone = make(name, FACTS, Wishes(freeze="all"))
    assert alone.adapters is None
    assert [group.names for group in alone.phases[-1].groups] == ["head.*"]
    with pytest.raises(PlanError, match="none in block2"):
        make(name, replace(FACTS, linear=frozenset({"block0"})), Wishes(freeze=3))


def test_biases_alone() -> None:
    plan = make("bitfit", FACTS, Wishes(freeze=1))
    assert [group.names for group in plan.phases[-1].groups] == [
        "head.*", "block0.*bias", "block1.*bias", "block2.*bias",
    ]  # fmt: skip
    assert strategies_cut(plan, FACTS) == 1
    assert "the biases of block0 … block2" in in_words(plan, FACTS)


def test_an_unknown_strategy_lists_those_there_are() -> None:
    with pytest.raises(PlanError, match="no strategy 'magic'") as error:
        make("magic", FACTS, Wishes())
    assert all(name in error.value.hint for name in ("auto", *STRATEGIES))


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("family", ["bert", "modernbert", "albert"])
def test_plans_fit_real_models(encoder_folder: Callable[..., Path], name: str, family: str) -> None:
    model = models.load(Request(str(encoder_folder(family))), "text")
    bare = frozenset(s.name for s in model.stages if next(s.module.parameters(), None) is None)
    known = Facts(
        "text", 100, tuple(s.name for s in model.stages), bare, 1000,
        linear=frozenset(s.name for s in model.stages if places(s.module)),
        biased=frozenset(s.name for s in model.stages if any("bias" in name for name in s.module.state_dict())),
    )  # fmt: skip
    if name == "bitfit" and not known.biased:
        with pytest.raises(PlanError, match="no biases"):
            make(name, known, Wishes())
        return
    plan = make(name, known, Wishes())
    ours = assemble(model, plan, {"mood": tasks.make(Target("mood", "classify", ("a", "b")))}, 0)
    check(ours.model, ours.heads, plan)
    cut = min(select(ours.model, ours.heads, phase).cut for phase in plan.phases)
    frozen = {
        "probe": len(model.stages),
        "stages": len(model.stages),
        "full": 0,
        "gradual": 0,
        "l2sp": 0,
        "autorgn": 0,
        "fewshot": 0,
        "scratch": 0,
    }
    assert cut == frozen.get(name, min(len(model.stages) // 2, len(model.stages) - 2))
    assert strategies_cut(plan, known) == cut


def test_controls_are_fitted_like_any_other_and_never_pre_trained() -> None:
    for modality, words in (("text", "tfidf"), ("pair", "tfidf"), ("image", "histogram")):
        found = controls.cheap(replace(FACTS, modality=modality, probes=False), Wishes(seed=4))
        assert [candidate.model for candidate in found] == ["majority", words]
        for candidate in found:
            assert candidate.role == "control"
            assert not candidate.pretrained
            assert candidate.plan == make("probe", FACTS, Wishes(seed=4))
            assert set(models.CLASSICAL) >= {candidate.model}


def test_the_scratch_control_is_tuned_over_rates() -> None:
    plan = make("scratch", FACTS, Wishes(epochs=9))
    tried = scratch.search(plan, "text")
    assert {found.phases[0].epochs for found in tried} == {3}
    rates = [found.phases[0].groups for found in tried]
    assert len(rates) == len(set(rates)) == 3
    assert scratch.at_rate(plan, plan.phases[0].groups[0].rate) == plan
    assert scratch.search(make("scratch", FACTS, Wishes(epochs=1)), "text")[0].phases[0].epochs == 1
    assert plan.phases[0].norm == "trained"


def test_plans_in_words() -> None:
    assert in_words(make("probe", FACTS, Wishes()), FACTS, "block1").endswith("features behind block1")
    words = in_words(make("finetune", FACTS, Wishes(epochs=1, rate=1e-3)), FACTS)
    assert "the head and block1 … block2" in words
    assert "up to 1 epoch in" in words
    assert "frozen: embed … block0" in words
    assert "frozen:" not in in_words(make("full", FACTS, Wishes()), FACTS)
    assert in_words(Plan("zero-shot"), FACTS) == "as it is"
    assert in_words(Plan("x", (Phase((Group("head.*", 1.0),)),)), FACTS).startswith("train the head for")


def test_strategies_do_not_import_torch() -> None:
    code = "import sys, ukulele.strategies; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
