"""A model, heads and a feed in an instant, for tests of the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ukulele import models, tasks
from ukulele.events import Event, Saved
from ukulele.features import Cache
from ukulele.loop.engine import Engine
from ukulele.loop.feed import Feed
from ukulele.loop.train import train
from ukulele.types import Card, Field, Head, Model, Plan, Request, Stage, Table, Target, Tensors

LABELS = ("bad", "good")


@dataclass
class Kit:
    """All that `train` asks for."""

    model: Model
    heads: dict[str, Head]
    plan: Plan
    feed: Feed
    engine: Engine

    def train(self, start: Saved | None = None) -> list[Event]:
        """Run the plan to its end."""
        return list(train(self.model, self.heads, self.plan, self.feed, self.engine, start))

    def state(self) -> dict[str, torch.Tensor]:
        """Every parameter and buffer by its full name, copied."""
        modules = {
            **{stage.name: stage.module for stage in self.model.stages},
            **{f"head.{task}": head for task, head in self.heads.items()},
        }
        return {
            f"{place}.{name}": value.detach().clone()
            for place, module in modules.items()
            for name, value in module.state_dict().items()
        }


@pytest.fixture
def make_kit(mood_rows: Callable[..., Any], cache_folder: Path) -> Callable[..., Kit]:
    """Makes a kit for a plan: make_kit(model, plan, count=24, save_every=60.0)."""

    def make(model: Model, plan: Plan, count: int = 24, save_every: float = 60.0, **options: Any) -> Kit:
        asked = {"mood": tasks.make(Target("mood", "classify", LABELS))}
        heads: dict[str, Head] = {name: task.head(model) for name, task in asked.items()}
        tables = {
            split: Table(mood_rows(size, seed), asked)
            for split, size, seed in (("train", count, 0), ("validation", 12, 1), ("test", 8, 2))
        }
        precision = options.get("precision", "fp32")
        engine = Engine("cpu", precision, save_every)
        cache = options.get("cache", Cache(cache_folder))
        feed = Feed(model, heads, plan, tables, cache, engine, precision, options.get("hear", lambda event: None))  # type: ignore[arg-type]
        return Kit(model, heads, plan, feed, engine)

    return make


ASKED = {
    "mood": Target("mood", "classify", LABELS),
    "marks": Target("marks", "multilabel", ("good", "loud")),
    "type": Target("type", "regress"),  # a name that modules would choke on
}


@pytest.fixture
def joint_rows(make_rows: Callable[..., Any], texts: Callable[..., list[str]]) -> Callable[..., Any]:
    """Makes texts of three tasks; a row has one, two or all of them."""

    def make(count: int, seed: int = 0) -> Any:
        words, answers = [], []
        for number, text in enumerate(texts(count, seed)):
            good, loud = number % 2 == 0, number % 3 == 0
            words.append(f"{'good fine' if good else 'bad awful'} {'song string' if loud else 'tea rain'} {text}")
            full = {
                "mood": "good" if good else "bad",
                "marks": ("good",) * good + ("loud",) * loud,
                "type": 1.0 * good + 2.0 * loud,
            }
            kept = [("mood",), ("mood", "marks"), ("marks", "type"), tuple(full)][number % 4]
            answers.append({name: value if name in kept else None for name, value in full.items()})
        rows = make_rows(words)
        return type(rows)(replace(row, targets=given) for row, given in zip(rows, answers, strict=True))

    return make


@pytest.fixture
def make_joint_kit(joint_rows: Callable[..., Any], cache_folder: Path) -> Callable[..., Kit]:
    """Makes a kit of three tasks for a plan, or for some of them: make_joint_kit(model, plan, only=("mood",))."""

    def make(model: Model, plan: Plan, count: int = 48, save_every: float = 60.0, **options: Any) -> Kit:
        rows = {
            split: joint_rows(size, seed)
            for split, size, seed in (("train", count, 0), ("validation", 16, 1), ("test", 12, 2))
        }
        only = options.get("only", tuple(ASKED))
        values = {name: [row.targets[name] for row in rows["train"]] for name in ASKED}
        asked = {name: tasks.make(target, values[name]) for name, target in ASKED.items() if name in only}
        heads: dict[str, Head] = {name: task.head(model) for name, task in asked.items()}
        tables = {split: Table(some, asked) for split, some in rows.items()}
        engine = Engine("cpu", "fp32", save_every)
        feed = Feed(model, heads, plan, tables, Cache(cache_folder), engine, "fp32", lambda event: None)  # type: ignore[arg-type]
        return Kit(model, heads, plan, feed, engine)

    return make


@pytest.fixture
def bert(encoder_folder: Callable[..., Path]) -> Callable[[], Model]:
    """Makes a fresh tiny BERT, the same each time."""
    return lambda: models.load(Request(str(encoder_folder("bert"))), "text")


class Convolve(nn.Module):
    """Convolution, BatchNorm and dropout."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(given, made, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(made)
        self.drop = nn.Dropout(0.2)

    def forward(self, live: Tensors) -> Tensors:
        return {"x": self.drop(self.norm(self.conv(live["x"])).relu())}


class Average(nn.Module):
    """Ends in `pooled`."""

    def forward(self, live: Tensors) -> Tensors:
        return {"pooled": live["x"].mean((2, 3))}


def draw_pictures(inputs: Sequence[tuple[Any, ...]], draws: Sequence[int]) -> list[Tensors]:
    """A picture of noise a text: a function of the text alone, brighter where it is good."""
    found = []
    for (text,), _ in zip(inputs, draws, strict=True):
        noise = np.random.default_rng(sum(text.encode())).normal(0.5 * ("good" in text), 1, (3, 6, 6))
        found.append({"x": torch.from_numpy(noise.astype(np.float32))})
    return found


@pytest.fixture
def network() -> Callable[[], Model]:
    """Makes a fresh tiny network with BatchNorm and dropout, the same each time."""

    def make() -> Model:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = nn.ModuleDict({"stem": Convolve(3, 6), "body": Convolve(6, 8), "top": Convolve(8, 8)})
        live: Mapping[str, Field] = {"x": Field()}
        stages = [Stage(name, module, live) for name, module in net.items()]
        return Model(
            name="toy", net=net, encode=draw_pictures, inputs=live,
            stages=(*stages, Stage("pool", Average(), {"pooled": Field()})), width=8,
            summary=lambda one: one["pooled"] if "pooled" in one else one["x"].mean((2, 3)),
            recipe={"family": "toy"}, card=Card("toy"),
        )  # fmt: skip

    return make
