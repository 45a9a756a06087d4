"""The loop's contract: frozen is frozen, and a run that was interrupted ends as one that was not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ukulele import models
from ukulele.events import Judged, Place, Saved, Stepped
from ukulele.features import Cache, Computed
from ukulele.loop.above import Above
from ukulele.loop.engine import Engine
from ukulele.loop.optimisers import schedule
from ukulele.loop.parts import Judgement
from ukulele.loop.phase import start_phase
from ukulele.loop.sampling import pieces
from ukulele.loop.selection import changing, check, owners, select
from ukulele.loop.summed import Summed, spread
from ukulele.loop.train import NotFiniteError, _step, train
from ukulele.models import images
from ukulele.models.dropout import Dropout
from ukulele.tools.files import load_tree, save_tree
from ukulele.types import Group, Model, Phase, Plan, Request

HEAD = Group("head.*", 0.02)
PHASES = {
    "head": Phase((HEAD,), batch=8),
    "last block": Phase((HEAD, Group("block1.*", 0.01)), batch=8),
    "a block in the middle": Phase((HEAD, Group("block0.*", 0.01)), batch=8, epochs=2),
    "biases": Phase((HEAD, Group("*.bias", 0.01)), batch=8),
    "norms of one block": Phase((HEAD, Group("block1.*LayerNorm*", 0.01)), batch=8, optimiser="sgd"),
    "all": Phase((Group("*", 0.001),), batch=8, decay=0.1),
}


def differing(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


# ---------------------------------------------------------------- frozen is frozen


@pytest.mark.parametrize("what", PHASES)
def test_what_no_group_takes_stays_bit_identical(bert: Any, make_kit: Any, what: str) -> None:
    kit = make_kit(bert(), Plan("x", (PHASES[what],)))
    before = kit.state()
    kit.train()
    touched, trained = differing(before, kit.state()), set(changing(kit.model, kit.heads, kit.plan.phases))
    assert touched <= trained
    for group in PHASES[what].groups:
        prefix = group.names.split("*")[0]
        assert any(name.startswith(prefix) for name in touched)


@pytest.mark.parametrize("what", ["head", "last block", "a block in the middle"])
def test_frozen_modules_are_in_eval_mode_while_training(bert: Any, make_kit: Any, what: str) -> None:
    kit = make_kit(bert(), Plan("x", (PHASES[what],)))
    for stage in kit.model.stages:
        stage.module.train()  # as a user may hand it over
    trained = {"head": set(), "last block": {"block1"}, "a block in the middle": {"block0"}}[what]
    steps = 0
    for event in train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine):
        if isinstance(event, Stepped):
            steps += 1
            for stage in kit.model.stages[:-1]:
                modes = {module.training for module in stage.module.modules()}
                assert modes == {stage.name in trained}, stage.name
    assert steps


def test_dropout_is_off_where_the_phase_says_so(bert: Any, make_kit: Any, encoder_folder: Any) -> None:
    def trained(dropout: bool) -> dict[str, torch.Tensor]:
        kit = make_kit(bert(), Plan("x", (replace(PHASES["last block"], dropout=dropout),)))
        for event in train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine):
            if isinstance(event, Stepped):
                drops = [m for m in kit.model.stages[2].module.modules() if isinstance(m, nn.Dropout | Dropout)]
                assert {drop.training for drop in drops} == {dropout}
        return kit.state()

    assert differing(trained(True), trained(False))
    still = encoder_folder("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    without = make_kit(models.load(Request(str(still)), "text"), Plan("x", (PHASES["last block"],)))
    without.train()
    assert differing(trained(False), without.state()) == set()  # in attention as well


@pytest.mark.parametrize("norm", ["frozen", "trained"])
def test_statistics_change_only_above_the_cut_and_only_if_asked(network: Any, make_kit: Any, norm: Any) -> None:
    phase = Phase((HEAD, Group("body.*", 0.01), Group("top.conv.*", 0.01)), batch=8, norm=norm)
    kit = make_kit(network(), Plan("x", (phase,)))
    before = kit.state()
    kit.train()
    statistics = {name for name in differing(before, kit.state()) if "running" in name or "batches" in name}
    where = {name.split(".")[0] for name in statistics}
    assert where == ({"body"} if norm == "trained" else set())  # top's norm has no trained parameter: it is frozen


@pytest.mark.parametrize("norm", ["frozen", "trained"])
def test_statistics_of_a_real_image_network(make_kit: Any, norm: Any) -> None:
    source = {
        "family": "timm", "architecture": "resnet18", "args": {}, "size": [32, 32], "mean": [0.5] * 3,
        "std": [0.25] * 3, "crop_pct": 1.0, "interpolation": "bilinear", "crop_mode": "center",
    }  # fmt: skip
    model = images.build(source, {})

    def noise(inputs: Any, draws: Any) -> list[dict[str, torch.Tensor]]:
        drawn = [torch.Generator().manual_seed(sum(text.encode())) for (text,) in inputs]
        return [{"x": torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=g)} for g in drawn]

    model = replace(model, encode=noise)
    top = model.stages[-2].name
    plan = Plan("x", (Phase((HEAD, Group(f"{top}.*", 0.01)), batch=8, norm=norm),))
    kit = make_kit(model, plan, count=16)
    before = kit.state()
    kit.train()
    touched = differing(before, kit.state())
    assert {name.split(".")[0] for name in touched} == {"head", top.split(".")[0]}
    assert all(name.startswith((f"{top}.", "head.")) for name in touched)
    assert any("running_mean" in name for name in touched) == (norm == "trained")


def test_a_frozen_trunk_gives_the_same_features_before_and_after(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), Plan("x", (PHASES["last block"],)))
    before = kit.feed.source("train", 2).rows(range(24))
    kit.train()
    kit.feed._sources.clear()
    after = kit.feed.source("train", 2).rows(range(24))
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(before, after, strict=True))


# ---------------------------------------------------------------- resume

TWO = Plan(
    "two",
    (
        Phase((HEAD, Group("block1.*", 0.01)), optimiser="sgd", epochs=2, batch=8, decay=0.01),
        Phase((HEAD, Group("block*", 0.003)), epochs=3, batch=8, patience=1, schedule="cosine", warmup=0.3),
    ),
    seed=3,
)
PROBE_FIRST = Plan("probe first", (Phase((HEAD,), "probe"), *TWO.phases[1:]), seed=1)
STATISTICS = Plan(
    "statistics",
    (
        Phase((HEAD, Group("top.*", 0.05)), optimiser="sgd", epochs=2, batch=8, norm="trained"),
        Phase((Group("*", 0.01),), epochs=3, batch=8, norm="trained", patience=2),
    ),
)
PULLED = Plan(
    "pulled",
    (
        Phase((HEAD, Group("block1.*", 0.01)), epochs=2, batch=8, penalty=0.5),
        Phase((HEAD, Group("block*", 0.003)), epochs=2, batch=8, penalty=2.0, patience=2),
    ),
)
AVERAGED = Plan(
    "averaged",
    tuple(replace(phase, average=0.9, plain=1) for phase in STATISTICS.phases),
    views=2,
)
RELATIVE = Plan("relative", tuple(replace(phase, relative=True) for phase in TWO.phases), seed=2)
FOLDED = Plan("folded", tuple(replace(phase, norm="frozen", patience=None) for phase in STATISTICS.phases))
RESUMED = [(TWO, "bert"), (PROBE_FIRST, "bert"), (STATISTICS, "network"), (PULLED, "bert"), (AVERAGED, "network")]
RESUMED += [(FOLDED, "network"), (RELATIVE, "bert")]


@pytest.mark.parametrize(("plan", "family"), RESUMED, ids=lambda v: str(v)[:30])
def test_a_run_resumed_from_any_state_ends_bit_identical(
    plan: Plan, family: str, make_kit: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    fresh: Callable[[], Model] = request.getfixturevalue(family)
    kit = make_kit(fresh(), plan, save_every=0.0)  # a state after every step
    states, events = [], []
    for event in train(kit.model, kit.heads, plan, kit.feed, kit.engine):
        events.append(event)
        if isinstance(event, Saved):
            file = tmp_path / f"{len(states)}.safetensors"
            save_tree(file, event.state)
            states.append((event.place, file, len(events)))
    expected, told = kit.state(), [e for e in events if not isinstance(e, Saved)]
    assert len(states) >= 10
    for place, file, seen in states:
        again = make_kit(fresh(), plan)
        rest = again.train(Saved(place, load_tree(file)))
        assert differing(expected, again.state()) == set(), place
        assert [e for e in rest if not isinstance(e, Saved)] == [e for e in events[seen:] if e in told], place


@pytest.mark.parametrize(("plan", "expected"), [(FOLDED, True), (STATISTICS, False)], ids=["frozen", "trained"])
def test_norms_that_follow_no_data_are_folded_while_it_trains(
    network: Any, make_kit: Any, plan: Plan, expected: bool
) -> None:
    kit = make_kit(network(), plan)
    modules = [part for stage in kit.model.stages for part in stage.module.modules()]
    seen = set()
    for event in train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine):
        if isinstance(event, Stepped):
            seen.add(any("forward" in part.__dict__ for part in modules))
    assert seen == {expected}
    assert not any("forward" in part.__dict__ for part in modules)
    events = train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine)
    next(event for event in events if isinstance(event, Stepped))
    events.close()  # type: ignore[attr-defined]
    assert not any("forward" in part.__dict__ for part in modules)


def test_folded_it_learns_what_it_would_have(network: Any, make_kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    kits = [make_kit(network(), FOLDED) for _ in range(2)]
    kits[0].train()
    monkeypatch.setattr("ukulele.loop.train.folded", lambda _above, _losses: nullcontext())
    kits[1].train()
    ours, plain = (kit.state() for kit in kits)
    assert all(torch.allclose(ours[name], plain[name], rtol=1e-3, atol=1e-4) for name in plain)
    assert any(not torch.equal(ours[name], plain[name]) for name in plain)


def test_states_are_of_the_tensors_that_are_trained_where_the_model_moves(bert: Any, make_kit: Any) -> None:
    phases = [replace(PHASES[name], clip=None) for name in ("last block", "all")]  # norms are summed otherwise there
    plan = Plan("x", tuple(phases))
    kit = make_kit(bert(), plan)
    kit.engine = Engine("cpu:0", "fp32")  # a place of another name: moving there makes copies
    expected = make_kit(bert(), plan)
    expected.train()
    for event in train(kit.model, kit.heads, plan, kit.feed, kit.engine):
        if isinstance(event, Saved):
            now = kit.state()
            assert all(torch.equal(now[name], value) for name, value in event.state["weights"].items())
    assert differing(kit.state(), expected.state()) == set()


def test_a_state_is_small_and_names_what_changed(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), Plan("x", (PHASES["last block"],)), save_every=0.0)
    last = [event for event in kit.train() if isinstance(event, Saved)][-1]
    assert last.place == Place(1)
    assert {name.split(".")[0] for name in last.state["weights"]} == {"block1", "head"}


# ---------------------------------------------------------------- the pull to the start


def test_the_penalty_pulls_to_the_weights_as_loaded_in_every_phase(bert: Any, make_kit: Any) -> None:
    def gone(penalty: float) -> float:
        plan = replace(PULLED, phases=tuple(replace(phase, penalty=penalty, decay=0.0) for phase in PULLED.phases))
        kit = make_kit(bert(), plan)
        before = kit.state()
        kit.train()
        moved = {name: value - before[name] for name, value in kit.state().items() if name.startswith("block")}
        return float(sum(value.square().sum() for value in moved.values())) ** 0.5

    free, pulled, held = gone(0.0), gone(1.0), gone(1000.0)
    assert held < pulled < free
    assert gone(1e-12) == pytest.approx(free, rel=1e-4)


def test_the_gradient_of_the_penalty_is_that_of_a_squared_distance(network: Any, make_kit: Any) -> None:
    """Plain descent on the head's constant loss aside, each step takes a share of the distance away."""
    kit = make_kit(network(), Plan("x"))
    phase = Phase((Group("top.*", 0.1),), "sgd", batch=8, penalty=0.25)
    kit.heads["mood"].linear.requires_grad_(False)
    chosen = select(kit.model, {}, phase)
    assert not any(group["decays"] for group in chosen.groups)  # instead of the decay to zero, not beside it
    assert any(group["decays"] for group in select(kit.model, {}, replace(phase, penalty=0.0)).groups)
    run = start_phase(kit.model, kit.heads, Plan("x", (phase,)), 0, kit.engine)
    origin = {name: value + 1.0 for name, value in changing(kit.model, {}, [phase]).items()}
    run.pull_to(origin, owners(kit.model, kit.heads))
    assert len(run.pulled) == 3  # a convolution, and weight and bias of its BatchNorm
    steps = kit.feed.steps(0, run.chosen.cut, 0) if kit.feed.plan.phases else [list(range(8))]
    part = kit.engine.place(kit.feed.part(run.chosen.cut, 0, steps[0][:8]))
    before = [parameter.detach().clone() for parameter, _ in run.pulled]
    _step(run, run.above, part, kit.engine, (10, 20))
    for (parameter, _), old in zip(run.pulled, before, strict=True):  # the head is zero: the loss has no gradient here
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, torch.full_like(old, -0.25) * _clipped(run))


def _clipped(run: Any) -> float:
    """What clipping multiplied gradients of -0.25 by."""
    count = sum(parameter.numel() for parameter, _ in run.pulled)
    return min(1.0, 1.0 / (0.25 * count**0.5 + 1e-6))


# ---------------------------------------------------------------- validation


def test_the_best_epoch_is_kept_and_waiting_ends(bert: Any, make_kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    phase = replace(PHASES["last block"], epochs=9, patience=2)
    kit = make_kit(bert(), Plan("x", (phase,)))
    scores, seen = iter([0.5, 0.7, 0.6, 0.7, 0.9]), []

    def judge(cut: int) -> Judgement:
        seen.append(kit.state())
        return Judgement({"mood": next(scores)}, {"mood": 1.0})

    monkeypatch.setattr(kit.feed, "judge", judge)
    events = kit.train()
    assert [event.best for event in events if isinstance(event, Judged)] == [True, True, False, False]
    assert differing(kit.state(), seen[1]) == set()
    assert differing(kit.state(), seen[3])


def test_without_patience_the_last_weights_are_kept(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), Plan("x", (replace(PHASES["last block"], epochs=2),)), save_every=0.0)
    events = kit.train()
    assert not any(isinstance(event, Judged) for event in events)
    places = [event.place for event in events if isinstance(event, Saved)]
    assert [place for place in places if not place.step] == [Place(0, 1), Place(0, 2), Place(1)]


def test_a_score_that_is_no_number_is_never_the_best(bert: Any, make_kit: Any, monkeypatch: Any) -> None:
    kit = make_kit(bert(), Plan("x", (replace(PHASES["head"], epochs=9, patience=2),)))
    monkeypatch.setattr(kit.feed, "judge", lambda cut: Judgement({"mood": math.nan}, {"mood": math.nan}))
    judged = [event for event in kit.train() if isinstance(event, Judged)]
    assert [event.best for event in judged] == [False, False]


# ---------------------------------------------------------------- steps


def test_each_epoch_takes_every_row_once_in_an_order_of_its_own(bert: Any, make_kit: Any) -> None:
    plan = Plan("x", (PHASES["head"], PHASES["head"]), seed=4)
    feed = make_kit(bert(), plan, count=50).feed
    orders = [feed.steps(phase, cut, epoch) for phase in (0, 1) for cut in (2, 4) for epoch in (0, 1)]
    for steps in orders:
        assert sorted(number for step in steps for number in step) == list(range(50))
        assert max(map(len, steps)) == 8
    assert len({str(steps) for steps in orders}) == len(orders)
    assert feed.steps(0, 2, 0) == make_kit(bert(), plan, count=50).feed.steps(0, 2, 0)
    assert feed.steps(0, 2, 0) != make_kit(bert(), replace(plan, seed=5), count=50).feed.steps(0, 2, 0)


def test_steps_are_the_same_where_nothing_can_be_stored(bert: Any, make_kit: Any, tmp_path: Path) -> None:
    plan = Plan("x", (replace(PHASES["last block"], optimiser="sgd"),))
    stored, computed = make_kit(bert(), plan), make_kit(bert(), plan, cache=Cache(tmp_path / "none", budget=100))
    assert isinstance(computed.feed.source("train", 2), Computed)
    assert stored.feed.steps(0, 2, 0) == computed.feed.steps(0, 2, 0)
    stored.train()
    computed.train()
    for name, value in computed.state().items():
        torch.testing.assert_close(value, stored.state()[name], rtol=1e-3, atol=1e-4)


def test_a_part_pairs_each_row_with_its_own_target(bert: Any, make_kit: Any) -> None:
    feed = make_kit(bert(), Plan("x", (PHASES["head"],))).feed
    numbers = [5, 2, 2, 11]
    (piece,) = feed.part(cut=0, epoch=0, numbers=numbers)
    numbers = sorted(numbers, key=lambda i: -feed.source("train", 0).lengths()[i])
    rows = feed.tables["train"].rows
    assert piece.targets["mood"]["label"].tolist() == [["bad", "good"].index(rows[i].targets["mood"]) for i in numbers]
    encoded = feed.model.encode([rows[i].inputs for i in numbers], [0] * 4)
    for number, row in enumerate(encoded):
        assert piece.live["ids"][number, : len(row["ids"])].tolist() == row["ids"].tolist()


def test_a_step_in_pieces_has_the_losses_of_the_whole(bert: Any, make_kit: Any, monkeypatch: Any) -> None:
    kit = make_kit(bert(), Plan("x", (PHASES["last block"],)))
    cut = len(kit.model.stages) - 2
    above = Above(kit.model, kit.heads, cut).eval()
    whole = kit.feed.part(cut, 0, range(12))
    monkeypatch.setattr("ukulele.loop.feed.pieces", lambda lengths: pieces(lengths, cost=0))
    parted = kit.feed.part(cut, 0, range(12))
    assert len(whole) == 1
    assert len(parted) > 1
    assert all(bool(piece.live["token_mask"].all()) for piece in parted)  # nothing is padded
    one, many = above(whole)["mood"], above(parted)["mood"]
    torch.testing.assert_close(many.sums, one.sums, rtol=1e-4, atol=1e-5)
    assert many.counts.tolist() == one.counts.tolist()
    gradients = []
    for loss in (one, many):
        above.zero_grad()
        kit.engine.mean(loss).backward()
        gradients.append([p.grad.clone() for p in above.parameters() if p.grad is not None])
    assert gradients[0]
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-6)


def test_answers_come_in_the_order_of_the_rows_from_any_cut(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), Plan("x", (PHASES["last block"],)))
    kit.train()
    low, loss = kit.feed.answers("test", 0)
    high, same = kit.feed.answers("test", 2)
    loss, same = loss["mood"], same["mood"]
    torch.testing.assert_close(
        torch.tensor(np.array(low["mood"])), torch.tensor(np.array(high["mood"])), rtol=1e-4, atol=1e-5
    )
    assert loss == pytest.approx(same, rel=1e-4)
    rows = kit.feed.tables["test"].rows
    label = torch.tensor([["bad", "good"].index(row.targets["mood"]) for row in rows])
    expected = -torch.tensor(np.array(low["mood"])).gather(1, label[:, None]).mean()
    assert loss == pytest.approx(float(expected), rel=1e-5)


def test_some_rows_are_answered_as_among_all_and_what_the_trunk_made_of_them_is_seen(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), Plan("x", (PHASES["last block"],)))
    kit.train()
    some = spread(kit.feed.numbers("train"), 5)
    assert 1 < len(some) <= 5
    summed = Summed(kit.model, some)
    whole, _ = kit.feed.answers("train", 2)
    part, _ = kit.feed.answers("train", 2, some=some, watch=summed)
    for number, answer in enumerate(part["mood"]):
        if number in some:
            np.testing.assert_allclose(answer, whole["mood"][number], rtol=1e-4, atol=1e-5)
        else:
            assert answer is None
    np.testing.assert_allclose(summed.matrix, kit.feed.summaries("train", 2, 5), rtol=1e-4, atol=1e-5)


def test_a_probe_after_training_sees_what_was_trained(bert: Any, make_kit: Any) -> None:
    probe = Phase((HEAD,), "probe", strength=1.0)
    kit = make_kit(bert(), Plan("x", (probe, replace(PHASES["all"], epochs=2), probe)))
    kit.train()
    fresh = make_kit(kit.model, kit.plan)
    assert torch.equal(kit.feed.design("train"), fresh.feed.design("train"))


def test_the_same_plan_gives_the_same_bits_and_another_seed_others(bert: Any, make_kit: Any) -> None:
    def result(seed: int) -> dict[str, torch.Tensor]:
        kit = make_kit(bert(), Plan("x", (PHASES["all"],), seed=seed))
        torch.manual_seed(torch.seed() % 1000)  # whatever the generator did before
        kit.train()
        return kit.state()

    assert differing(result(0), result(0)) == set()
    assert differing(result(0), result(1))


def test_training_learns(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), Plan("x", (replace(PHASES["last block"], epochs=12),)), count=48)
    losses = [sum(event.losses.values()) for event in kit.train() if isinstance(event, Stepped)]
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])
    assert kit.feed.judge(2).scores["mood"] > 0.6  # of rows it never saw


def test_epochs_are_judged_in_the_arithmetic_that_answers(
    bert: Any, make_kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = make_kit(bert(), Plan("x", (replace(PHASES["all"], epochs=2, patience=3),)), precision="bf16")
    judged = [event.loss for event in kit.train() if isinstance(event, Judged)]
    told = kit.feed.judge(0).losses["mood"]
    assert told in judged  # the best epoch's weights are back
    assert kit.feed.answers("validation", 0)[1]["mood"] == told
    monkeypatch.setattr(type(kit.feed), "_narrows", lambda *_: False)
    assert 0 < abs(kit.feed.judge(0).losses["mood"] - told) < 0.05  # that of training is another


def test_a_loss_that_is_no_number_stops_with_advice(bert: Any, make_kit: Any) -> None:
    model = bert()
    with torch.no_grad():
        next(model.stages[2].module.parameters()).fill_(float("nan"))
    kit = make_kit(model, Plan("x", (PHASES["last block"],)))
    with pytest.raises(NotFiniteError, match="step 1 of 3") as error:
        kit.train()
    assert "--rate" in error.value.hint


def test_decay_takes_matrices_alone_and_rates_follow_the_schedule(bert: Any, make_kit: Any) -> None:
    phase = Phase((HEAD, Group("block1.*", 0.01)), epochs=2, batch=8, decay=0.1, warmup=0.5)
    kit = make_kit(bert(), Plan("x", (phase,)), save_every=0.0)
    groups = [
        event.state["optimiser"]["param_groups"] for event in kit.train() if "optimiser" in getattr(event, "state", {})
    ]
    assert {(group["rate"], group["decays"], group["weight_decay"]) for group in groups[0]} == {
        (0.02, True, 0.1), (0.02, False, 0.0), (0.01, True, 0.1), (0.01, False, 0.0),
    }  # fmt: skip
    expected = [schedule(phase, step, 6) for step in range(6)]
    assert expected[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert expected[-1] == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 1.0])
def test_schedules_stay_within_bounds(kind: Any, warmup: float) -> None:
    phase = Phase((HEAD,), schedule=kind, warmup=warmup)
    for steps in (1, 2, 7, 100):
        shares = [schedule(phase, step, steps) for step in range(steps)]
        assert all(0 < share <= 1 for share in shares)
        assert max(shares) == pytest.approx(1.0)


def test_plans_are_checked_before_the_first_step(bert: Any, make_kit: Any) -> None:
    kit = make_kit(bert(), Plan("x"))
    check(kit.model, kit.heads, kit.plan)
    assert kit.train() == []


# ---------------------------------------------------------------- time


def test_a_phase_ends_before_an_epoch_that_is_late_and_keeps_its_best(bert: Any, make_kit: Any, tmp_path: Path) -> None:
    plan = replace(TWO, phases=(replace(TWO.phases[1], epochs=4, patience=9),))
    asked: list[Place] = []

    def late(place: Place) -> bool:
        asked.append(place)
        return place.epoch == 2

    kit, states, scores = make_kit(bert(), plan), [], []
    for event in train(kit.model, kit.heads, plan, kit.feed, kit.engine, None, late):
        if isinstance(event, Saved):
            states.append((event.place, tmp_path / f"{len(states)}.safetensors"))
            save_tree(states[-1][1], event.state)
        if isinstance(event, Judged):
            scores.append(event.score)
    assert asked == [Place(0, 1), Place(0, 2)]
    assert len(scores) == 2
    assert kit.feed.judge(1).joint()[1] == max(scores)
    for place, file in states[:-1]:
        again = make_kit(bert(), plan)
        list(train(again.model, again.heads, plan, again.feed, again.engine, Saved(place, load_tree(file)), late))
        assert differing(kit.state(), again.state()) == set(), place
