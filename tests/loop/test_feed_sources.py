"""Where the rows come from: decided once, kept no longer than needed, and judged where a metric has no value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from ukulele import tasks
from ukulele.events import Judged, Lookahead, Place, Said, Stepped
from ukulele.features import Cache, Computed, Store
from ukulele.features.encode import Frozen
from ukulele.loop.engine import Engine
from ukulele.loop.parts import Judgement
from ukulele.loop.train import train
from ukulele.trial.outcome import Outcome
from ukulele.types import Group, Phase, Plan, Table, Target

HEAD = Group("head.*", 0.02)
TOP = Plan("x", (Phase((HEAD, Group("block1.*", 0.01)), batch=8, epochs=2, patience=3),))


def test_a_metric_without_a_value_lets_the_loss_decide(bert: Any, make_kit: Any) -> None:
    heard: list[Any] = []
    kit = make_kit(bert(), TOP, hear=heard.append)
    task = tasks.make(Target("mood", "classify", ("bad", "good")), metric="roc_auc")
    rows = kit.feed.tables["validation"].rows
    good = rows.take([i for i, row in enumerate(rows) if row.targets["mood"] == "good"])
    kit.feed.tables = {**kit.feed.tables, "validation": Table(good, {"mood": task})}
    judged = [event for event in kit.train() if isinstance(event, Judged)]
    assert len(judged) == 2
    assert [event.score for event in judged] == [-event.loss for event in judged]
    assert any(event.best for event in judged)
    warned = [event for event in heard if isinstance(event, Said) and event.severity == "warning"]
    assert len(warned) == 1
    assert "roc_auc" in warned[0].text


def test_the_history_holds_numbers_alone() -> None:
    nothing: Any = None
    outcome = replace(Outcome(*[nothing] * 8), tasks={"mood": nothing})
    outcome.note(Stepped(Place(), 1, 1, {"mood": 0.5}, 8))
    outcome.note(Judged(Place(0, 1), math.inf, math.nan, False, {"mood": math.nan, "type": 0.5}))
    outcome.note(Lookahead(Place(), ("mood", "type"), ((math.nan, 0.1), (0.2, 0.3)), 0.5))
    assert (outcome.history[0]["validation_loss"], outcome.history[0]["score"]) == (None, None)
    assert outcome.history[0]["scores"] == {"mood": None, "type": 0.5}
    assert outcome.looks[0]["affinity"] == [[None, 0.1], [0.2, 0.3]]


def test_fresh_views_are_neither_stored_nor_kept(network: Any, make_kit: Any, cache_folder: Any) -> None:
    cache = Cache(cache_folder)
    model = replace(network(), augments=True)
    plan = Plan("x", (Phase((HEAD, Group("top.*", 0.01)), batch=8, epochs=3),), views=0)
    kit = make_kit(model, plan, cache=cache)
    for event in train(kit.model, kit.heads, kit.plan, kit.feed, kit.engine):
        if isinstance(event, Stepped):
            fresh = {key: source for key, source in kit.feed._sources.items() if key[2]}
            assert [key[2] for key in fresh] == [event.place.epoch + 1]
            assert all(isinstance(source, Computed) for source in fresh.values())
    assert cache.entries() == []


@pytest.mark.parametrize("first", [True, False])
def test_whether_rows_are_stored_is_decided_once(bert: Any, make_kit: Any, cache_folder: Any, first: bool) -> None:
    decisions: dict[str, Any] = {}

    def decide(what: str, how: Callable[[], Any]) -> Any:
        return decisions.setdefault(what, how())

    room, none = Cache(cache_folder / "a"), Cache(cache_folder / "b", budget=1)
    for cache in (room, none) if first else (none, room):
        kit = make_kit(bert(), TOP, cache=cache)
        kit.feed.decide = decide
        assert isinstance(kit.feed.source("train", 2), Store if first else Computed)
    assert list(decisions.values()) == [first]


def test_lengths_need_no_pass_of_a_trained_trunk(bert: Any, make_kit: Any, monkeypatch: Any) -> None:
    kit = make_kit(bert(), TOP)
    before = [len(row["ids"]) for row in kit.feed.source("train", 0).rows(range(24))]
    kit.train()
    run = Frozen.run

    def cheap(self: Frozen, rows: Any) -> Any:
        assert self.wanted.cut == 0
        return run(self, rows)

    monkeypatch.setattr(Frozen, "run", cheap)
    assert (
        kit.feed.lengths("train") == before == [len(row["ids"]) for row in kit.feed.source("train", 0).rows(range(24))]
    )


def test_all_processes_hear_the_same_judgement(bert: Any, make_kit: Any) -> None:
    class Following(Engine):
        def agree(self, value: Any) -> Any:
            return Judgement({"mood": 0.75}, {"mood": 0.25}) if isinstance(value, Judgement) else value

    kit = make_kit(bert(), TOP)
    kit.engine = Following("cpu", "fp32")
    assert [(e.loss, e.score) for e in kit.train() if isinstance(e, Judged)] == [(0.25, 0.75)] * 2


def test_a_shrunken_probe_is_the_optimum_made_smaller(bert: Any, make_kit: Any) -> None:
    whole = make_kit(bert(), Plan("x", (Phase((HEAD,), "probe", strength=0.1),)))
    third = make_kit(bert(), Plan("x", (Phase((HEAD,), "probe", strength=0.1, shrink=0.3),)))
    whole.train()
    third.train()
    weight = whole.heads["mood"].linear.weight
    assert weight.abs().max() > 0
    torch.testing.assert_close(third.heads["mood"].linear.weight, 0.3 * weight)
    torch.testing.assert_close(third.heads["mood"].linear.bias, 0.3 * whole.heads["mood"].linear.bias)


def test_the_pass_to_the_top_goes_on_from_the_cut_ahead(bert: Any, make_kit: Any, monkeypatch: Any) -> None:
    kit = make_kit(bert(), TOP)
    kit.feed.ahead = 2
    begun: list[int] = []
    run = Frozen.run

    def noted(self: Frozen, rows: Any) -> Any:
        begun.append(self._start)
        return run(self, rows)

    monkeypatch.setattr(Frozen, "run", noted)
    kit.feed.pooled("train")
    assert set(begun) == {0, 2}
    begun.clear()
    assert isinstance(kit.feed.source("train", 2), Store)  # there already
    assert begun == []


def test_a_stage_is_run_once_however_many_phases_stay_above_it(bert: Any, make_kit: Any, monkeypatch: Any) -> None:
    """Of a plan whose cut falls, the rows at a lower cut are stored on the way to a higher one."""
    both = replace(TOP.phases[-1], groups=(*TOP.phases[-1].groups, Group("block0.*", 1e-3)))
    kit = make_kit(bert(), replace(TOP, phases=(TOP.phases[-1], both)))
    runs: list[tuple[int, int]] = []
    run = Frozen.run

    def noted(self: Frozen, rows: Any) -> Any:
        runs.append((self._start, self.wanted.cut))
        return run(self, rows)

    monkeypatch.setattr(Frozen, "run", noted)
    kit.train()
    passes = {path for path in runs if path[1]}
    assert passes == {(0, 1), (1, 2)}
