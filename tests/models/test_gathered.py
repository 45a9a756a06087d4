"""A pooled vector put together from several stages: the same at every cut, and the trunk stays what it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ukulele import models
from ukulele.models import images
from ukulele.tools.collate import collate
from ukulele.types import Model, Request

COLUMNS = {"embed": (3, 1), "block1": (0, 5, 7), "pool": (2,)}


def of_texts(encoder_folder: Callable[..., Path], family: str) -> tuple[Model, Any]:
    return models.load(Request(str(encoder_folder(family))), "text"), [("good tea",), ("bad rain w1 w2 w3",)]


@pytest.mark.parametrize("family", ["bert", "modernbert", "distilbert"])
def test_the_stages_composed_give_the_same_at_every_cut(family: str, encoder_folder: Any) -> None:
    model, rows = of_texts(encoder_folder, family)
    made = models.gathered(model, COLUMNS)
    for stage in made.stages:
        stage.module.eval()
    x = collate(model.encode(rows, [0, 0]), model.inputs)
    with torch.inference_mode():
        live, summaries = model.prepare(dict(x)), []
        for stage in model.stages:
            live = stage.module(live)
            if stage.name in COLUMNS:
                summaries.append(model.summary(live)[:, list(COLUMNS[stage.name])])
        expected = torch.cat(summaries, 1)
        for cut in range(len(made.stages) + 1):
            below = made.run(dict(x), 0, cut)
            kept = {name: below[name] for name in made.live(cut)} if cut else below
            masks = {name: value for name, value in x.items() if name.endswith("_mask")}
            found = made.run({**masks, **kept}, cut) if cut < len(made.stages) else kept
            torch.testing.assert_close(found["pooled"], expected, rtol=0, atol=0)
    assert made.width == expected.shape[1] == 6


def test_nothing_is_altered_and_the_modules_are_the_same(encoder_folder: Any) -> None:
    model, rows = of_texts(encoder_folder, "bert")
    made = models.gathered(model, COLUMNS)
    assert made.net is model.net
    ours = {id(p) for stage in made.stages for p in stage.module.parameters()}
    assert ours == {id(p) for stage in model.stages for p in stage.module.parameters()}
    x = model.prepare(collate(model.encode(rows, [0, 0]), model.inputs))
    for stage in made.stages:
        before = {name: value.clone() for name, value in x.items()}
        given = dict(x)
        x = stage.module(given)
        assert given.keys() == before.keys()
        assert all(torch.equal(given[name], before[name]) for name in before)


def test_a_recipe_builds_it_again_and_the_trunk_alone(encoder_folder: Any) -> None:
    model, rows = of_texts(encoder_folder, "bert")
    made = models.gathered(model, COLUMNS)
    again = models.build(made.recipe, made.assets)
    again.net.load_state_dict(model.net.state_dict())
    x = collate(model.encode(rows, [0, 0]), model.inputs)
    for one in (made, again):
        for stage in one.stages:
            stage.module.eval()
    with torch.inference_mode():
        torch.testing.assert_close(again.run(dict(x))["pooled"], made.run(dict(x))["pooled"])
    alone = models.build(made.recipe, made.assets, whole=False)
    assert (alone.width, alone.recipe) == (model.width, model.recipe)


def test_pictures() -> None:
    net = images.load(Request("mobilenetv2_035", pretrained=False))
    names = [stage.name for stage in net.stages]
    made = models.gathered(net, {names[1]: (0, 2), names[-1]: (5, 6, 7)})
    x = {"x": torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)}
    for stage in made.stages:
        stage.module.eval()
    with torch.inference_mode():
        whole = made.run(dict(x))["pooled"]
        for cut in (1, 2, len(names) - 1):
            below = made.run(dict(x), 0, cut)
            torch.testing.assert_close(made.run({k: below[k] for k in made.live(cut)}, cut)["pooled"], whole)
    assert whole.shape == (2, 5)
