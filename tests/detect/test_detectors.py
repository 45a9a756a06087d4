"""Detectors: split at every stage, boxes that move with their pictures, a head rebuilt for other classes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from detect_kit import drawn
from safetensors.torch import save_file

from ukulele.doors import catalogue
from ukulele.errors import ModelError
from ukulele.models import build, detectors, letterbox, load, renewed
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
RECIPES = {
    "yolox": {"family": "yolox", "size": "n", "labels": LABELS, "input": 64},
    "yolo9": {"family": "yolo9", "size": "t", "labels": LABELS, "input": 64, "tower": 64},
    "dfine": {"family": "dfine", "size": "n", "labels": LABELS, "input": 64},
}
DENSE = ("yolox", "yolo9")  # families that answer at each place of a map
RECIPE = RECIPES["yolox"]


@pytest.fixture(params=list(RECIPES))
def model(request):
    made = build(RECIPES[request.param], {}, seed=1)
    made.net.eval()
    return made


def reference(model, pixels):
    """The library's own maps behind the neck and raw answers of each level, from bytes in RGB."""
    match model.recipe["family"]:
        case "yolox":
            given = pixels.flip(1).float().contiguous(memory_format=torch.channels_last)
            return model.net.backbone(given), model.net(given)
        case "yolo9":
            given = (pixels.float() / 255).contiguous(memory_format=torch.channels_last)
            return model.net.neck(*model.net.backbone(given)), model.net(given)["raw_outputs"]
        case "dfine":
            given = (pixels.float() / 255).contiguous(memory_format=torch.channels_last)
            maps = model.net.encoder(model.net.backbone(given))
            return maps, [model.net(given)[name] for name in ("pred_logits", "pred_boxes")]


def shown(model, found):
    """Raw answers of ours as the library gives them."""
    match model.recipe["family"]:
        case "yolox":
            return [torch.cat([level[:, :4], level[:, 4:].sigmoid()], 1) for level in found]
        case "yolo9":
            return found
        case "dfine":
            return [found[name] for name in ("pred_logits", "pred_boxes")]


def last_layers(model, head):
    """The layers with a row a class."""
    match model.recipe["family"]:
        case "yolox":
            return head.cls_preds
        case "yolo9":
            return [tower[-1] for tower in head.cv3]
        case "dfine":
            return [head.enc_score_head, *head.dec_score_head]


def published(model):
    """A state dict with the names that files have."""
    state = {name: value.contiguous() for name, value in model.net.state_dict().items()}
    if model.recipe["family"] != "dfine":
        return state
    return {name.replace("head.", "decoder.", 1) if name.startswith("head.") else name: v for name, v in state.items()}


def batch(model, count=3, draw=0):
    rows = model.encode([(drawn(at)[0],) for at in range(count)], [draw and draw + at for at in range(count)])
    return rows, collate(rows, model.inputs)


@torch.inference_mode()
def test_the_stages_are_the_library_at_every_cut(model):
    rows, live = batch(model)
    maps, answers = reference(model, live["image"])
    head = model.heads["detect"](LABELS).eval()
    for cut in range(len(model.stages) + 1):
        below = model.run(live, 0, cut)
        assert set(below) == set(model.live(cut))
        above = model.run(collate(separate(below, model.live(cut)), model.live(cut)), cut)
        for name, level in zip(("p3", "p4", "p5")[-len(maps) :], maps, strict=True):
            assert torch.equal(above[name], level)
        for ours, level in zip(shown(model, head(above)), answers, strict=True):  # it lies otherwise in memory
            torch.testing.assert_close(ours, level, rtol=1e-5, atol=1e-5)
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


@pytest.mark.parametrize("pad", ["topleft", "center"])
def test_the_plain_view_is_the_librarys_own(pad):
    from libreyolo.validation.preprocessors import YOLO9ValPreprocessor, YOLOXValPreprocessor

    picture = drawn(2, (150, 90))[0]
    pixels, none = np.array(picture)[:, :, ::-1].copy(), np.zeros((0, 5))
    (row,) = build({**RECIPES["yolo9"], "pad": pad}, {}).encode([(picture,)], [0])
    theirs = YOLO9ValPreprocessor((64, 64), letterbox_pad=pad)(pixels, none, (64, 64))[0]
    assert np.abs(row["image"].numpy() - theirs * 255.0).max() <= 2  # OpenCV rounds its weights
    top = 13 if pad == "center" else 0
    assert row["geometry"].tolist() == pytest.approx([64 / 150, 0, 64 / 150, top, 150, 90])
    if pad == "topleft":
        (row,) = build(RECIPE, {}).encode([(picture,)], [0])
        theirs, _ = YOLOXValPreprocessor((64, 64))(pixels, none, (64, 64))
        assert np.abs(row["image"].numpy()[::-1].astype(float) - theirs).max() <= 2


def test_a_stretched_view_is_the_librarys_own():
    from libreyolo.preprocess.dfine import preprocess_numpy

    picture = drawn(2, (150, 90))[0]
    (row,) = build(RECIPES["dfine"], {}).encode([(picture,)], [0])
    assert torch.equal(row["image"].float() / 255, torch.from_numpy(preprocess_numpy(np.array(picture), 64)[0]))
    assert row["geometry"].tolist() == pytest.approx([64 / 150, 0, 64 / 90, 0, 150, 90])


@pytest.mark.parametrize("pad", ["topleft", "stretch"])
@pytest.mark.parametrize("draw", range(1, 13))
def test_boxes_move_with_their_pictures(draw, pad):
    """A bright square is found where its moved box says, whatever the view."""
    from PIL import Image

    pixels = np.full((60, 100, 3), 100, np.uint8)
    pixels[20:44, 30:62] = 255
    (row,) = letterbox.encode([(Image.fromarray(pixels),)], [draw], 96, pad)
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
    before = {name: value.clone() for name, value in source.state_dict().items()}
    head = model.heads["detect"](["Disc", "cat"])
    for ours, theirs in zip(last_layers(model, head.body), last_layers(model, source), strict=True):
        assert torch.equal(ours.weight[0], theirs.weight[2])
        assert torch.equal(ours.bias[0], theirs.bias[2])
        assert len(ours.weight) == 2
    changed = {id(layer.weight) for layer in last_layers(model, head.body)}
    changed |= {id(layer.bias) for layer in last_layers(model, head.body)}
    if model.recipe["family"] == "dfine":
        one = head.body.denoising_class_embed.weight  # a vector a class, and one for none
        assert torch.equal(one[[0, 2]], source.denoising_class_embed.weight[[2, 3]])
        changed.add(id(one))
    kept = {name: value for name, value in head.body.named_parameters() if id(value) not in changed}
    assert len(kept) == len(before.keys() & kept.keys()) > 30
    assert all(torch.equal(value, before[name]) for name, value in kept.items())
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in before.items())  # as it was
    assert len(last_layers(model, source)[0].weight) == 3


def test_a_new_head_keeps_no_row_of_a_class_and_all_else(model):
    before = {name: value.clone() for name, value in model.net.head.state_dict().items()}
    head = renewed(model).heads["detect"](["Disc", "cat"])
    for ours, theirs in zip(last_layers(model, head.body), last_layers(model, model.net.head), strict=True):
        assert not torch.isclose(ours.weight[0], theirs.weight[2]).all()
        assert torch.allclose(ours.bias, torch.full_like(ours.bias, -math.log(99)))  # a chance of .01
    same = [name for name, value in head.body.named_parameters() if value.shape == before[name].shape]
    assert len(same) > 30
    assert all(torch.equal(head.body.state_dict()[name], before[name]) for name in same)
    assert torch.equal(model.heads["detect"](["disc"]).body.state_dict()[same[0]], before[same[0]])


@pytest.mark.parametrize("model", DENSE, indirect=True)
def test_the_loss_is_the_librarys_own(model):
    _, live = batch(model)
    task = Detect("objects", tuple(LABELS))
    target = collate([task.target(tuple(drawn(at)[1])) for at in range(3)], task.fields)
    head = model.heads["detect"](LABELS)
    loss = head.loss(model.run(live), target)
    labels = torch.zeros(3, 10, 5)
    for row in range(3):
        for place, box in enumerate(drawn(row)[1]):
            corners = [edge * 64 / 96 for edge in box[1:5]]
            labels[row, place] = torch.tensor([LABELS.index(box.label), *_as_wanted(model, corners)])
    model.net.head.training = True  # its BatchNorm stays as it is
    maps = [model.run(live)[p] for p in ("p3", "p4", "p5")]
    more = {} if model.recipe["family"] == "yolox" else {"img_size": (64, 64)}
    theirs = model.net.head(maps, labels, **more)
    mean = float((loss.sums / loss.counts).detach())
    assert mean == pytest.approx(float(theirs["total_loss"].detach()), rel=1e-5)
    assert float(loss.counts) >= 1


def _as_wanted(model, corners):
    """YOLOX wants centre and size in pixels, YOLO9 edges as shares."""
    left, top, right, bottom = corners
    if model.recipe["family"] == "yolo9":
        return [edge / 64 for edge in corners]
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


@pytest.mark.parametrize("model", DENSE, indirect=True)  # D-FINE's divides some of its parts by other counts
def test_losses_of_parts_add_up_to_the_loss_of_all(model):
    """Sums, so that pictures may be taken in pieces."""
    _, live = batch(model)
    task = Detect("objects", tuple(LABELS))
    targets = [task.target(tuple(drawn(at)[1])) for at in range(3)]
    head = model.heads["detect"](LABELS).eval()
    whole = head.loss(model.run(live), collate(targets, task.fields))
    parts = []
    for row in range(3):
        one = {name: value[row : row + 1] for name, value in live.items()}
        parts.append(head.loss(model.run(one), collate(targets[row : row + 1], task.fields)))
    total = float(sum(part.sums for part in parts).detach())
    assert total == pytest.approx(float(whole.sums.detach()), rel=1e-3)


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


def test_loss_and_answers_of_a_batch_share_the_last_layers_work(model, monkeypatch):
    for family in RECIPES:
        monkeypatch.setattr(f"ukulele.models.{family}.FLOOR", 0.0)  # random weights find nothing likely
    _, live = batch(model)
    task = Detect("objects", tuple(LABELS))
    target = collate([task.target(tuple(drawn(at)[1])) for at in range(3)], task.fields)
    head = model.heads["detect"](LABELS).eval()
    calls = []
    head.register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        out, other = model.run(live), model.run({name: value.flip(0) for name, value in live.items()})
        alone = [head.predict(some, Suppression()) for some in (out, other)]
        assert len(calls) == 2
        head.loss(out, target)
        shared = head.predict(out, Suppression())
        assert len(calls) == 3
        head.loss(out, target)
        different = head.predict(other, Suppression())
        assert len(calls) == 5
    assert all(len(found) for answers in alone for found in answers)
    for first, second in zip(alone, (shared, different), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_weights_are_read_from_a_file(model, tmp_path):
    path = tmp_path / "mine.safetensors"
    told = {"labels": json.dumps(LABELS), "input": "64", "licence": "mit", "source_task": "shapes"}
    state = published(model)
    save_file(state, path, metadata=told)
    again = load(Request(str(path)), "image")
    assert again.recipe == model.recipe
    assert (again.card.licence, again.card.source_task) == ("mit", "shapes")
    for name, value in model.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name])
    fresh = load(Request(str(path), pretrained=False, seed=3), "image")
    drawn_anew = fresh.net.state_dict()
    differing = [name for name, value in model.net.state_dict().items() if not torch.equal(value, drawn_anew[name])]
    assert len(differing) > 20
    save_file({k: v for k, v in state.items() if "lateral" not in k and "elan_up1" not in k}, path)
    with pytest.raises(ModelError, match="missing"):
        load(Request(str(path)), "image")


def test_a_file_of_torch_is_read_without_running_what_is_in_it(model, tmp_path):
    path = tmp_path / "mine.pt"
    names = dict(enumerate(LABELS))
    torch.save({"model": published(model), "names": names, "imgsz": 64, "model_family": "any"}, path)
    again = load(Request(str(path)), "image")
    assert again.recipe == model.recipe
    for name, value in model.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name])
    torch.save({"model": model.net.state_dict(), "run": Path("x")}, path)  # a class that is no plain value
    with pytest.raises(ModelError, match=r"(?s)as weights alone.*save_file"):
        load(Request(str(path)), "image")
    torch.save({"model": {"a": torch.zeros(1)}}, path)
    with pytest.raises(ModelError, match=r"no detector that is known.*\nFamilies: yolox, yolo9, dfine"):
        load(Request(str(path)), "image")


def test_a_head_that_was_trained_is_the_next_ones_start(model):
    """With class towers as wide as they were, whatever the number of classes."""
    wide = build({**model.recipe, **({"tower": 80} if model.recipe["family"] == "yolo9" else {})}, {}, seed=2)
    head = wide.heads["detect"](["cat", "dog"])
    own = {name.replace("body.", "head.", 1): value for name, value in head.state_dict().items()}
    made = detectors.adopt(wide, own, ["cat", "dog"])
    again = build(made.recipe, {})
    again.net.load_state_dict(made.net.state_dict())
    fresh = again.heads["detect"](["dog", "cat"])
    for before, after in zip(last_layers(model, head.body), last_layers(model, fresh.body), strict=True):
        assert torch.equal(before.weight.flip(0), after.weight)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub's local cache of its own, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def put_on_hub(hub, name, content):
    folder = hub / f"models--LibreYOLO--{name}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    torch.save(content, folder / "snapshots" / "abc" / f"{name}.pt")


def test_a_name_without_weights_says_how_to_get_them(hub):
    with pytest.raises(ModelError, match=r"(?s)yolox-s are not here.*Available locally: no detector by name.*FILE.pt"):
        load(Request("yolox-s"), "image")
    assert load(Request("yolox-nano", pretrained=False), "image").recipe["input"] == 416
    assert load(Request("yolo9-t", pretrained=False), "image").recipe["input"] == 640


def test_a_name_is_read_from_the_hubs_local_copy(hub):
    names = [f"c{number}" for number in range(4)]
    net = build({"family": "yolo9", "size": "t", "labels": names, "input": 640}, {}, seed=4).net
    put_on_hub(hub, "LibreYOLO9t", {"model": net.state_dict(), "names": names, "letterbox_pad": "center"})
    model = load(Request("yolo9-t"), "image")
    assert model.recipe["labels"] == names
    assert model.recipe["pad"] == "center"
    assert (model.name, model.card.licence, model.card.source_task) == ("yolo9-t", "mit", "COCO")
    for name, value in net.state_dict().items():
        assert torch.equal(value, model.net.state_dict()[name])
    with pytest.raises(ModelError, match="Available locally: yolo9-t"):
        load(Request("yolox-l"), "image")
    assert detectors.available()[0] == detectors.Offer("yolo9-t", True, "mit")
    assert len(detectors.available()) == 13
    rows = catalogue.listing("yolo")
    assert rows[0] == ("yolo9-t", "boxes", "here (hub cache)", "mit")
    assert ("yolox-s", "boxes", "hub", "apache-2.0") in rows


def test_what_the_hub_says_is_passed_on(hub, monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError

    def refuse(repository, file):
        assert (repository, file) == ("LibreYOLO/LibreYOLOXs", "LibreYOLOXs.pt")
        raise LocalEntryNotFoundError("cannot find the file\nmore")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(detectors, "online", lambda: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(ModelError, match=r"LibreYOLOXs on the hub is not within reach: cannot find the file\n"):
        load(Request("yolox-s"), "image")


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
