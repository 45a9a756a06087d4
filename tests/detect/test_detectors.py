"""The detector: split at every stage, boxes that move with their pictures, a head rebuilt for other classes."""

import numpy as np
import pytest
import torch
from detect_kit import drawn
from safetensors.torch import save_file

from ukulele.errors import ModelError
from ukulele.models import build, letterbox, load
from ukulele.tasks import Detect
from ukulele.tasks.decoding import Suppression
from ukulele.tools.collate import collate, separate
from ukulele.types import Box, Request

pytest.importorskip(
    "libreyolo.models.yolox.nn",
    reason="detection needs libreyolo (pip install 'ukulele[detect]') and an OpenCV that can be imported",
    exc_type=ImportError,
)

LABELS = ["person", "square", "disc"]
RECIPE = {"family": "yolox", "size": "n", "labels": LABELS, "input": 64}


@pytest.fixture
def model():
    made = build(RECIPE, {}, seed=1)
    made.net.eval()
    return made


def batch(model, count=3, draw=0):
    rows = model.encode([(drawn(at)[0],) for at in range(count)], [draw and draw + at for at in range(count)])
    return rows, collate(rows, model.inputs)


@torch.inference_mode()
def test_the_stages_are_the_library_at_every_cut(model):
    rows, live = batch(model)
    pixels = live["image"].flip(1).float().contiguous(memory_format=torch.channels_last)
    maps, answers = model.net.backbone(pixels), model.net(pixels)
    head = model.heads["detect"](LABELS).eval()
    for cut in range(len(model.stages) + 1):
        below = model.run(live, 0, cut)
        assert set(below) == set(model.live(cut))
        above = model.run(collate(separate(below, model.live(cut)), model.live(cut)), cut)
        for name, level in zip(("p3", "p4", "p5"), maps, strict=True):
            assert torch.equal(above[name], level)
        for ours, level in zip(head(above), answers, strict=True):  # its convolutions lie otherwise in memory
            torch.testing.assert_close(torch.cat([ours[:, :4], ours[:, 4:].sigmoid()], 1), level, rtol=0, atol=1e-6)
    assert torch.equal(live["image"], torch.stack([row["image"] for row in rows]))


@torch.inference_mode()
def test_rows_do_not_depend_on_each_other_and_inputs_stay(model):
    _, live = batch(model)
    for index, stage in enumerate(model.stages):
        before = {name: value.clone() for name, value in live.items()}
        after = stage.module(live)
        assert all(torch.equal(live[name], value) for name, value in before.items())
        alone = stage.module({name: value[:1] for name, value in live.items()})
        for name, value in alone.items():
            torch.testing.assert_close(value, after[name][:1], rtol=1e-4, atol=1e-5)
        live = after
        assert set(live) == set(stage.live), index


def test_a_detector_is_made_again_from_its_recipe_and_leaves_no_trace(model):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    again = build(dict(model.recipe), {}, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    for name, value in model.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name])


def test_the_plain_view_is_the_librarys_own(model):
    from libreyolo.validation.preprocessors import YOLOXValPreprocessor

    picture = drawn(2, (150, 90))[0]
    theirs, _ = YOLOXValPreprocessor((64, 64))(np.array(picture)[:, :, ::-1].copy(), np.zeros((0, 5)), (64, 64))
    (row,) = model.encode([(picture,)], [0])
    difference = row["image"].numpy()[::-1].astype(float) - theirs
    assert np.abs(difference).max() <= 2  # OpenCV rounds its weights
    assert row["geometry"].tolist() == pytest.approx([64 / 150, 0, 64 / 150, 0, 150, 90])


@pytest.mark.parametrize("draw", range(1, 13))
def test_boxes_move_with_their_pictures(draw):
    """A bright square is found where its moved box says, whatever the view."""
    from PIL import Image

    pixels = np.full((60, 100, 3), 100, np.uint8)
    pixels[20:44, 30:62] = 255
    (row,) = letterbox.encode([(Image.fromarray(pixels),)], [draw], 96)
    boxes, there = letterbox.moved(torch.tensor([[[30.0, 20, 62, 44]]]), row["geometry"][None], 96)
    bright = (row["image"].float().mean(0) > 175).numpy()
    if not there.item():
        return
    rows, columns = np.nonzero(bright)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert boxes[0, 0].tolist() == pytest.approx(found, abs=2)


def test_views_are_a_function_of_the_draw_and_differ():
    picture = drawn(0)[0]
    one, two, other = letterbox.encode([(picture,)] * 3, [5, 5, 6], 64)
    assert torch.equal(one["image"], two["image"])
    assert not torch.equal(one["image"], other["image"])


def test_classes_known_by_name_keep_their_rows(model):
    source = model.net.head
    head = model.heads["detect"](["Disc", "cat"])
    for level in range(3):
        assert torch.equal(head.body.cls_preds[level].weight[0], source.cls_preds[level].weight[2])
        assert torch.equal(head.body.reg_preds[level].weight, source.reg_preds[level].weight)
        assert head.body.cls_preds[level].weight.shape[0] == 2
    assert source.num_classes == 3  # as it was
    other = model.heads["detect"](["cat", "dog", "cow", "hen"])
    assert other.body.num_classes == 4


def test_the_loss_is_the_librarys_own(model):
    _, live = batch(model)
    task = Detect("objects", tuple(LABELS))
    target = collate([task.target(tuple(drawn(at)[1])) for at in range(3)], task.fields)
    head = model.heads["detect"](LABELS)
    loss = head.loss(model.run(live), target)
    labels = torch.zeros(3, 10, 5)
    for row in range(3):
        for place, box in enumerate(drawn(row)[1]):
            x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
            numbers = [x, y, box.right - box.left, box.bottom - box.top]
            labels[row, place] = torch.tensor([LABELS.index(box.label), *[v * 64 / 96 for v in numbers]])
    model.net.head.training = True  # its BatchNorm stays as it is
    theirs = model.net.head([model.run(live)[p] for p in ("p3", "p4", "p5")], labels)
    assert float(loss.sums / loss.counts) == pytest.approx(float(theirs["total_loss"]), rel=1e-5)
    assert float(loss.counts) >= 1


def test_pictures_without_boxes_teach_that_there_is_nothing(model):
    _, live = batch(model)
    task = Detect("objects", tuple(LABELS))
    target = collate([task.target(()) for _ in range(3)], task.fields)
    loss = model.heads["detect"](LABELS).loss(model.run(live), target)
    loss.sums.sum().backward()
    assert torch.isfinite(loss.sums).all()
    assert float(loss.counts) == 1


@torch.inference_mode()
def test_answers_are_in_pixels_of_the_picture(model):
    rows = model.encode([(drawn(0, (200, 120))[0],)], [0])
    head = model.heads["detect"](LABELS).eval()
    (found,) = head.predict(model.run(collate(rows, model.inputs)), Suppression())
    assert found.shape[1] == 6
    assert found[:, [0, 2]].max(initial=0) <= 200
    assert found[:, [1, 3]].max(initial=0) <= 120
    assert (found[:, 4] > 0).all()


def test_weights_are_read_from_a_file(model, tmp_path):
    import json

    path = tmp_path / "mine.safetensors"
    told = {"labels": json.dumps(LABELS), "input": "64", "licence": "mit", "source_task": "shapes"}
    state = {name: value.contiguous() for name, value in model.net.state_dict().items()}
    save_file(state, path, metadata=told)
    again = load(Request(str(path)), "image")
    assert again.recipe == RECIPE
    assert (again.card.licence, again.card.source_task) == ("mit", "shapes")
    for name, value in model.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name])
    fresh = load(Request(str(path), pretrained=False, seed=3), "image")
    assert not torch.equal(fresh.net.state_dict()["head.reg_preds.0.weight"], model.net.head.reg_preds[0].weight)
    save_file({k: v for k, v in state.items() if "lateral" not in k}, path)
    with pytest.raises(ModelError, match="missing"):
        load(Request(str(path)), "image")


def test_a_name_without_weights_says_how_to_get_them():
    with pytest.raises(ModelError, match="not here"):
        load(Request("yolox-s"), "image")
    assert load(Request("yolox-nano", pretrained=False), "image").recipe["input"] == 416


def test_a_missing_library_of_the_system_is_named(monkeypatch):
    import builtins

    real = builtins.__import__

    def broken(name, *args, **kwargs):
        if name.startswith("libreyolo"):
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(ModelError, match=r"(?s)libGL.*libgl1.*headless"):
        build(RECIPE, {}, 0)


def test_crowds_are_not_taught():
    task = Detect("objects", tuple(LABELS))
    assert len(task.target((Box("disc", 0, 0, 9, 9, True),))["boxes"]) == 0
