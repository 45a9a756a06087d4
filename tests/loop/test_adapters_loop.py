"""Adapters in the loop: what they stand beside stays as it is, the cut follows them, a resumed run ends the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ukulele.errors import PlanError
from ukulele.events import Lookahead, Saved, Stepped
from ukulele.features import keys
from ukulele.loop.assembly import Assembled, assemble, finished
from ukulele.loop.private import Private
from ukulele.loop.selection import changing, check, select, trained
from ukulele.loop.train import train
from ukulele.tools.files import load_tree, save_tree
from ukulele.types import Adapters, Group, Model, Phase, Plan

TUNE = Phase((Group("*lora_*", 0.02), Group("head.*", 0.02)), batch=8, epochs=2, patience=3)
PROBE = Phase((Group("head.*", 1.0),), "probe")


def plan(*stages: str, kind: Any = "lora", own: bool = False) -> Plan:
    return Plan("x", (PROBE, TUNE), seed=2, adapters=Adapters(kind, stages or ("block1",), 4, 8, own))


@dataclass
class Put:
    """A kit whose model has adapters, and the model they were put into."""

    kit: Any
    ours: Assembled
    whole: Model

    def finish(self) -> None:
        """As a candidate is handed over."""
        self.kit.model = self.kit.feed.model = finished(self.ours, self.whole).model


@pytest.fixture
def put_in(bert: Any, make_kit: Any, make_joint_kit: Any) -> Callable[..., Put]:
    """Makes a kit for a plan with adapters: put_in(plan, joint=True)."""

    def make(asked: Plan, joint: bool = False, **more: Any) -> Put:
        kit = (make_joint_kit if joint else make_kit)(bert(), asked, **more)
        whole = kit.model
        ours = assemble(whole, asked, kit.feed.tables["train"].tasks, 0)
        kit.model, kit.heads = ours.model, dict(ours.heads)
        kit.feed.model, kit.feed.heads, kit.feed.trunk, kit.feed.taps = kit.model, kit.heads, whole, False
        return Put(kit, ours, whole)

    return make


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.net.state_dict().items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("own", [False, True])
def test_what_they_stand_beside_stays_bit_identical(put_in: Any, kind: Any, own: bool) -> None:
    put = put_in(plan("block0", "block1", kind=kind, own=own), joint=own)
    before, state = weights(put.whole), put.kit.state()
    put.kit.train()
    assert same(before, weights(put.whole))
    after = put.kit.state()
    moved = {name for name in state if not torch.equal(state[name], after[name])}
    assert moved <= set(changing(put.kit.model, put.kit.heads, put.kit.plan.phases))
    assert any("lora_B" in name for name in moved)
    assert all("lora_" in name or ".linear." in name for name in moved)


def test_the_cut_follows_them(put_in: Any) -> None:
    assert select(*_of(put_in(plan("block1"))), TUNE).cut == 2
    assert select(*_of(put_in(plan("block0", "block1"))), TUNE).cut == 1
    model, heads = _of(put_in(plan("block1")))
    chosen = select(model, heads, TUNE)
    assert {id(p) for p in chosen.parameters} == {
        id(p) for module in (model.stages[2].module, *heads.values())
        for name, p in module.named_parameters() if "lora_" in name or "linear" in name
    }  # fmt: skip
    count = sum(p.numel() for name, p in model.stages[2].module.named_parameters() if "lora_" in name)
    assert trained(model, heads, [TUNE]) == count + sum(p.numel() for p in heads["mood"].parameters())


def _of(put: Put) -> tuple[Model, Any]:
    return put.kit.model, put.kit.heads


def test_features_are_kept_under_the_name_of_the_weights_alone(put_in: Any, make_kit: Any, bert: Any) -> None:
    """What a probe stored is read by the phase in front of the adapters, and what lies below the cut by others."""
    put = put_in(plan("block1"))
    assert keys.model_key(put.whole, 4, "fp32", "cpu") == keys.model_key(bert(), 4, "fp32", "cpu")
    assert keys.model_key(put.kit.model, 2, "fp32", "cpu") == keys.model_key(bert(), 2, "fp32", "cpu")
    tune = Phase((Group("head.*", 0.1), Group("block1.*", 0.01)), batch=8, patience=3)
    plain = make_kit(bert(), Plan("x", (PROBE, tune)))
    plain.train()
    folder = put.kit.feed.cache.folder
    files = {path for path in folder.rglob("*") if path.is_file()}
    put.kit.train()
    assert {path for path in folder.rglob("*") if path.is_file()} == files


def test_below_and_beside_them_dropout_is_off(put_in: Any) -> None:
    put = put_in(plan("block1"))
    for stage in put.kit.model.stages:
        stage.module.train()
    seen = 0
    for event in train(put.kit.model, put.kit.heads, put.kit.plan, put.kit.feed, put.kit.engine):
        if isinstance(event, Stepped) and event.place.phase == 1:
            seen += 1
            embed, below, above = (stage.module for stage in put.kit.model.stages[:3])
            assert not any(module.training for module in (*embed.modules(), *below.modules()))
            for module in above.modules():
                if list(module.parameters()) and not any(p.requires_grad for p in module.parameters()):
                    assert not module.training
            assert above.training
    assert seen


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_run_resumed_from_any_state_ends_bit_identical(put_in: Any, tmp_path: Path, kind: Any, own: bool) -> None:
    asked = plan("block0", "block1", kind=kind, own=own)
    put = put_in(asked, joint=own, save_every=0.0)
    states = []
    for event in train(put.kit.model, put.kit.heads, asked, put.kit.feed, put.kit.engine):
        if isinstance(event, Saved):
            states.append((event.place, tmp_path / f"{len(states)}.safetensors"))
            save_tree(states[-1][1], event.state)
    assert not any("base_layer" in str(load_tree(file)["weights"].keys()) for _, file in states)
    put.finish()
    expected, net = put.kit.state(), weights(put.whole)
    for place, file in states[::3]:
        again = put_in(asked, joint=own)
        again.kit.train(Saved(place, load_tree(file)))
        again.finish()
        assert same(expected, again.kit.state()), place
        assert same(net, weights(again.whole)), place


@pytest.mark.parametrize("own", [False, True])
def test_merged_it_answers_as_before(put_in: Any, own: bool) -> None:
    put = put_in(plan("block0", "block1", own=own), joint=True)
    before = weights(put.whole)
    put.kit.train()
    cut = select(put.kit.model, put.kit.heads, TUNE).cut
    expected, _ = put.kit.feed.answers("validation", cut)
    put.finish()
    found, _ = put.kit.feed.answers("validation", cut)
    for task, answers in expected.items():
        torch.testing.assert_close(np.array(found[task]), np.array(answers), rtol=1e-3, atol=1e-4)
    assert not any("lora" in name or "base_layer" in name for name in put.kit.state())
    assert same(before, weights(put.whole)) == own  # of their own: in the heads' copies alone
    changed = {name for name, value in weights(put.whole).items() if not torch.equal(value, before[name])}
    assert all(name.endswith(".weight") and "LayerNorm" not in name for name in changed)


def test_a_set_for_each_task_shares_the_weights(put_in: Any) -> None:
    put = put_in(plan("block1", own=True), joint=True)
    one, two = (put.kit.heads[task] for task in ("mood", "type"))
    assert isinstance(one, Private)
    mine, theirs = dict(one.named_parameters()), dict(two.named_parameters())
    shared = [name for name in mine if mine[name] is theirs[name]]
    assert {"lora_" in name or "linear" in name for name in mine.keys() - set(shared)} == {True}
    assert len(shared) == 16
    assert [stage.name for stage in put.kit.model.stages] == ["embed", "block0"]
    chosen = select(put.kit.model, put.kit.heads, TUNE)
    assert not chosen.shared
    assert chosen.cut == 2
    before = {task: [p.detach().clone() for p in head.parameters()] for task, head in put.kit.heads.items()}
    events = put.kit.train()
    assert not any(isinstance(event, Lookahead) for event in events)  # nothing is shared
    for task, head in put.kit.heads.items():
        names = [name for name, _ in head.named_parameters()]
        moved = [n for n, p, old in zip(names, head.parameters(), before[task], strict=True) if not torch.equal(p, old)]
        assert any("lora_B" in name for name in moved)
        assert not any("base_layer" in name for name in moved)
    b = [next(v for n, v in head.named_parameters() if "lora_B" in n) for head in put.kit.heads.values()]
    assert not torch.equal(b[0], b[1])


def test_each_balancer_of_gradients_takes_a_part_that_nothing_shares(put_in: Any) -> None:
    pytest.importorskip("torchjd")
    put = put_in(replace(plan("block1", own=True), balance="pcgrad"), joint=True)
    before = put.kit.state()
    put.kit.train()
    assert any(not torch.equal(value, before[name]) for name, value in put.kit.state().items() if "lora_B" in name)


def test_adapters_are_not_written_in_to_judge_an_epoch(put_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put = put_in(plan("block0"), precision="bf16")
    written: list[int] = []

    def write(stages: Sequence[Any]) -> Any:
        written.append(len(stages))
        return nullcontext()

    monkeypatch.setattr("ukulele.loop.feed.written_in", write)
    put.kit.feed.judge(1)
    assert not written
    put.kit.feed.answers("validation", 1)
    assert len(written) == 1


def test_adapters_learn(put_in: Any) -> None:
    put = put_in(
        Plan("x", (replace(TUNE, epochs=12, patience=None),), adapters=Adapters("lora", ("block0", "block1"))), count=48
    )
    losses = [sum(event.losses.values()) for event in put.kit.train() if isinstance(event, Stepped)]
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])


def test_a_probe_behind_them_sees_what_they_learned(put_in: Any) -> None:
    put = put_in(Plan("x", (TUNE, replace(PROBE, strength=1.0)), adapters=Adapters("lora", ("block1",))))
    put.kit.train()
    model = put.kit.model
    live = put.kit.feed.source("train", 0).collated(range(6), model.inputs)
    with torch.inference_mode():
        expected = model.run(live)["pooled"]
    torch.testing.assert_close(put.kit.feed.design("train")[:6], expected, rtol=1e-3, atol=1e-4)


def test_a_set_for_each_task_needs_something_below(bert: Any, make_joint_kit: Any) -> None:
    kit = make_joint_kit(bert(), Plan("x"))
    stages = [stage.name for stage in kit.model.stages]
    check(kit.model, kit.heads, Plan("x"))
    kit.model = replace(kit.model, stages=kit.model.stages[1:])  # so that the first stage has a place
    assert stages[1] == kit.model.stages[0].name
    with pytest.raises(PlanError, match="nothing would be shared"):
        assemble(kit.model, plan("block0", own=True), kit.feed.tables["train"].tasks, 0)
