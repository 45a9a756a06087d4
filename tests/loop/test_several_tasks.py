"""The loop with several tasks: each learns from its own rows, none stops the others, a resumed run ends the same."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ukulele import balance
from ukulele.events import Judged, Lookahead, Said, Saved, Stepped
from ukulele.loop.above import Above
from ukulele.loop.descent import jacobian, look_ahead
from ukulele.loop.parts import Judgement
from ukulele.loop.selection import select
from ukulele.loop.train import NotFiniteError, train
from ukulele.tools.files import load_tree, save_tree
from ukulele.types import Group, Loss, Phase, Plan

HEAD = Group("head.*", 0.02)
TOP = Phase((HEAD, Group("block1.*", 0.01)), batch=12, epochs=2, patience=5)
NEEDS_TORCHJD = [name for name in balance.NAMES if name not in {"first", "sum"}]


def plan(name: str = "first", phase: Phase = TOP, sampling: str = "proportional") -> Plan:
    return Plan("x", (Phase((HEAD,), "probe"), phase), seed=2, balance=name, sampling=sampling)


def differing(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("name", balance.NAMES)
def test_every_balancer_learns_and_resumes_bit_identical(
    name: str, bert: Any, make_joint_kit: Any, tmp_path: Path
) -> None:
    if name in NEEDS_TORCHJD:
        pytest.importorskip("torchjd")
    asked = plan(name, sampling="sqrt")
    kit = make_joint_kit(bert(), asked, save_every=0.0)
    states, events = [], []
    for event in train(kit.model, kit.heads, asked, kit.feed, kit.engine):
        events.append(event)
        if isinstance(event, Saved):
            file = tmp_path / f"{len(states)}.safetensors"
            save_tree(file, event.state)
            states.append((event.place, file, len(events)))
    expected, steps = kit.state(), [event for event in events if isinstance(event, Stepped) and event.rows]
    assert all(set(event.losses) == {"mood", "marks", "type"} for event in steps)
    assert all(math.isfinite(loss) for event in steps for loss in event.losses.values())
    for place, file, seen in states[1::3]:
        again = make_joint_kit(bert(), asked)
        rest = again.train(Saved(place, load_tree(file)))
        assert differing(expected, again.state()) == set(), place
        told = [e for e in events[seen:] if not isinstance(e, Saved)]
        assert repr([e for e in rest if not isinstance(e, Saved)]) == repr(told), place  # NaN is equal to itself there


@pytest.mark.parametrize("name", balance.NAMES)
def test_a_step_takes_no_more_backward_passes_than_tasks_and_one(
    name: str, bert: Any, make_joint_kit: Any, monkeypatch: Any
) -> None:
    if name in NEEDS_TORCHJD:
        pytest.importorskip("torchjd")
    monkeypatch.setattr("ukulele.loop.phase.LOOKS", 0)
    passes = []

    def counted(function: Any) -> Any:
        return lambda *args, **kwargs: passes.append(name) or function(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counted(torch.autograd.grad))
    monkeypatch.setattr(torch.Tensor, "backward", counted(torch.Tensor.backward))
    events = make_joint_kit(bert(), plan(name)).train()
    steps = sum(isinstance(event, Stepped) and event.rows > 0 for event in events)
    assert 0 < steps <= len(passes) <= 4 * steps


def test_several_tasks_learn_together(bert: Any, make_joint_kit: Any) -> None:
    kit = make_joint_kit(bert(), plan(phase=Phase((HEAD, Group("block*", 0.005)), batch=12, epochs=8)), count=96)
    _, before = kit.feed.answers("train", 0)
    kit.train()
    _, after = kit.feed.answers("train", 0)
    assert all(after[task] < before[task] for task in after)


def test_a_task_alone_sees_its_own_rows_and_shares_the_cache(bert: Any, make_joint_kit: Any, cache_folder: Any) -> None:
    together = make_joint_kit(bert(), plan())
    together.train()
    files = {path.name for path in cache_folder.rglob("*") if path.is_file()}
    alone = make_joint_kit(bert(), plan(), only=("type",))
    steps = alone.feed.steps(1, 2, 0)
    assert sorted(n for step in steps for n in step) == alone.feed.truth("train").numbers("type").tolist()
    alone.train()
    assert {path.name for path in cache_folder.rglob("*") if path.is_file()} == files
    raw, _ = alone.feed.answers("validation", 2)
    assert len(raw["type"]) == len(alone.feed.values("validation", "type")) == 8


def test_a_step_has_a_batch_of_each_task(bert: Any, make_joint_kit: Any) -> None:
    alone = make_joint_kit(bert(), plan(), only=("mood",)).feed
    together = make_joint_kit(bert(), plan()).feed  # the tasks share some rows: 48 where each has 32 in the mean
    assert (alone.step_rows(1), together.step_rows(1)) == (12, 24)
    assert max(map(len, together.steps(1, 2, 0))) <= 25
    many = replace(plan(), phases=(plan().phases[0], replace(TOP, batch=200)))
    assert make_joint_kit(bert(), many).feed.step_rows(1) == 200


def test_answers_are_those_of_the_rows_that_have_the_task(bert: Any, make_joint_kit: Any) -> None:
    kit = make_joint_kit(bert(), plan())
    kit.train()
    raw, losses = kit.feed.answers("validation", 2)
    rows = kit.feed.tables["validation"].rows
    for name, task in kit.feed.tables["validation"].tasks.items():
        mine = [i for i, row in enumerate(rows) if row.targets[name] is not None]
        with torch.inference_mode():
            live = kit.feed.source("validation", 2).collated(mine, kit.model.live(2))
            found = kit.heads[name].predict(kit.model.run(live, 2), task.decoding)
        assert torch.tensor([list(map(float, [x] if isinstance(x, float) else x)) for x in raw[name]]).allclose(
            torch.tensor([list(map(float, [x] if isinstance(x, float) else x)) for x in found]), atol=1e-4
        )
        assert losses[name] > 0


def test_the_jacobian_is_each_losses_own_gradient(bert: Any, make_joint_kit: Any) -> None:
    kit = make_joint_kit(bert(), plan())
    chosen = select(kit.model, kit.heads, TOP)
    above = Above(kit.model, kit.heads, chosen.cut).eval()
    part = kit.feed.part(chosen.cut, 0, range(12))

    def losses() -> dict[str, torch.Tensor]:
        return {task: kit.engine.mean(loss) for task, loss in above(part).items()}

    rows = jacobian(losses(), chosen, kit.engine)
    for task, row in zip(kit.heads, rows, strict=True):
        for parameter in chosen.parameters:
            parameter.grad = None
        losses()[task].backward()
        expected = torch.cat(
            [p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in chosen.shared]
        )
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-6)


def test_looking_ahead_tells_who_helps_and_changes_nothing(bert: Any, make_joint_kit: Any) -> None:
    kit = make_joint_kit(bert(), plan())
    chosen = select(kit.model, kit.heads, Phase((HEAD, Group("block1.*", 1e-4))))
    for head in kit.heads.values():
        nn.init.normal_(head.linear.weight)  # anywhere but at the probe's optimum, where gradients are small
    above = Above(kit.model, kit.heads, chosen.cut).eval()
    part, before = kit.feed.part(chosen.cut, 0, range(12)), kit.state()

    def losses() -> dict[str, torch.Tensor]:
        return {task: kit.engine.mean(loss) for task, loss in above(part).items()}

    affinity, conflicts = look_ahead(losses, chosen, kit.engine)
    assert differing(before, kit.state()) == set()
    assert 0 <= conflicts <= 1
    assert all(affinity[i][i] > 0 for i in range(3))  # a task's own step helps it
    with torch.no_grad():  # by hand: one step on the first task
        base = losses()
    gradient = jacobian(losses(), chosen, kit.engine, keep_own=False)[0]
    length = min(0.02 * float(base["mood"]) / float(gradient.norm()), 1e-4 * math.sqrt(len(gradient)))
    with torch.no_grad():
        for parameter, move in zip(
            chosen.shared, (gradient * length / gradient.norm()).split([p.numel() for p in chosen.shared]), strict=True
        ):
            parameter.sub_(move.view_as(parameter))
        after = losses()
    expected = [1 - float(after[task] / base[task]) for task in base]
    assert affinity[0] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_it_is_measured_a_few_times_an_epoch_and_only_where_something_is_shared(bert: Any, make_joint_kit: Any) -> None:
    looks = [e for e in make_joint_kit(bert(), plan(), count=240).train() if isinstance(e, Lookahead)]
    assert len(looks) == 16
    assert {e.place.epoch for e in looks} == {0, 1}
    heads = plan(phase=Phase((HEAD,), batch=12))
    assert not any(isinstance(e, Lookahead) for e in make_joint_kit(bert(), heads).train())
    assert not any(isinstance(e, Lookahead) for e in make_joint_kit(bert(), plan(), only=("mood",)).train())


def test_a_task_whose_loss_is_no_number_is_named_and_the_others_go_on(bert: Any, make_joint_kit: Any) -> None:
    kit = make_joint_kit(bert(), plan())
    head, calls = kit.heads["type"], []
    sound = head.loss

    def broken(live: Any, target: Any) -> Loss:
        calls.append(1)
        loss = sound(live, target)
        return Loss(loss.sums * math.nan, loss.counts) if len(calls) > 4 else loss

    head.loss = broken
    events = kit.train()
    said = [event.text for event in events if isinstance(event, Said) and event.severity == "warning"]
    assert len(said) == 1
    assert "type" in said[0]
    assert "--rate" in said[0]
    steps = [event for event in events if isinstance(event, Stepped) and event.rows]
    assert set(steps[-1].losses) == {"mood", "marks"}
    assert all(torch.isfinite(value).all() for value in kit.state().values() if value.is_floating_point())
    assert next(event.best for event in events if isinstance(event, Judged))


def test_all_tasks_lost_is_an_error(bert: Any, make_joint_kit: Any) -> None:
    model = bert()
    with torch.no_grad():
        next(model.stages[2].module.parameters()).fill_(math.nan)
    kit = make_joint_kit(model, Plan("x", (TOP,)))
    with pytest.raises(NotFiniteError, match="step 1 of"):
        kit.train()


def test_a_task_that_waits_too_long_rests_alone(bert: Any, make_joint_kit: Any, monkeypatch: Any) -> None:
    phase = Phase((HEAD, Group("block1.*", 0.01)), batch=12, epochs=6, patience=2)
    kit = make_joint_kit(bert(), plan(phase=phase))
    scores = iter({"mood": 0.5 * n, "marks": 0.5 * n, "type": 0.5 if n == 0 else 0.1} for n in range(6))
    monkeypatch.setattr(kit.feed, "judge", lambda cut: Judgement(next(scores), dict.fromkeys(kit.heads, 1.0)))
    seen = {}
    for event in train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine):
        if isinstance(event, Saved) and event.place.phase == 1:
            seen[event.place.epoch] = kit.heads["type"].linear.weight.detach().clone()
    assert not torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[2], seen[3])  # it waited for two epochs, and rests from here
    moved = [float((seen[n] - seen[n + 1]).abs().max()) for n in (2, 3, 4)]
    assert moved[1] < moved[0]  # what is left is the momentum of the optimiser
