"""YOLOX (Ge et al., 2021, arXiv:2107.08430): stem, four dark stages and neck; its head with its own loss and decoding.

The only file that imports libreyolo, and only inside functions: that takes seconds.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ukulele.errors import MissingExtraError, ModelError
from ukulele.models import letterbox
from ukulele.models.timm_stages import channels_last
from ukulele.types import Card, Field, Head, Loss, Model, Request, Stage, Tensors

FAMILY = "yolox"
SIZES: Mapping[str, str] = {"nano": "n", "tiny": "t"} | {letter: letter for letter in "ntsmlx"}
STEMS = {16: "n", 24: "t", 32: "s", 48: "m", 64: "l", 80: "x"}  # channels of the stem: they tell the size
INPUT = {"n": 416, "t": 416}  # pixels; 640 for the others
FLOOR = 0.001  # score below which nothing is an answer
PRIOR = 0.01  # chance of a class that the last layer begins with
MAPS = ("x", "dark2", "dark3", "dark4", "dark5", "p3", "p4", "p5")
STEM = "backbone.backbone.stem.conv.conv.weight"
CLASSES = "head.cls_preds.0.bias"


def knows(name: str) -> bool:
    """Whether a name, or the file it names, is of this family; nothing heavy is imported.

    >>> knows("yolox-s"), knows("yolox_nano"), knows("resnet18")
    (True, True, False)
    """
    path = Path(name).expanduser()
    if path.suffix == ".safetensors" and path.is_file():
        return STEM in _shapes(path)
    family, _, size = name.lower().replace("_", "-").partition("-")
    return family == FAMILY and size in SIZES


def load(request: Request) -> Model:
    """Make a detector.

    Parameters
    ----------
    request
        Its name is a local ``.safetensors`` file of YOLOX's state dict. Size and number of classes follow from the
        weights; ``labels`` (JSON), ``input``, ``source_task`` and ``licence`` are read from its metadata. A bare
        name such as ``yolox-s`` is the same architecture without weights: ``pretrained=False`` alone can have it.

    Raises
    ------
    ModelError
        If there are no such weights, or they are not of this family.
    """
    path = Path(request.name).expanduser()
    if path.suffix != ".safetensors":
        size = SIZES[request.name.lower().replace("_", "-").partition("-")[2]]
        if request.pretrained:
            raise ModelError(
                f"the weights of {request.name!r} are not here.",
                hint="Name a .safetensors file of them: --model FILE. From a .pt file: `safetensors.torch.save_file("
                "torch.load(path, weights_only=True)['model'], 'yolox.safetensors')`. "
                "Without weights there is --strategy scratch.",
            )
        recipe = _recipe(size, _coco(), INPUT.get(size, 640))
        return _random(recipe, request.name, request.seed)
    recipe, card, state = _file(path)
    if not request.pretrained:
        return _random(recipe, path.stem, request.seed)
    model = _model(path.stem, recipe, request.seed, card)
    _fill(model.net, state, path)
    return model


def build(recipe: Mapping[str, Any], assets: Mapping[str, bytes], seed: int = 0) -> Model:
    """Make a model again from its recipe, its weights drawn from `seed`: the caller loads others into `net`."""
    del assets  # it has none
    return _model(f"{FAMILY}-{recipe['size']}", recipe, seed, Card(f"{FAMILY}-{recipe['size']}"))


def adopt(model: Model, tensors: Mapping[str, Tensor], labels: Sequence[str]) -> Model:
    """The model with a trained head as its own, so that the next task begins from that."""
    recipe = {**model.recipe, "labels": list(labels)}
    made = _model(model.name, recipe, 0, model.card)
    trunk = {name: value for name, value in model.net.state_dict().items() if not name.startswith("head.")}
    made.net.load_state_dict(trunk | dict(tensors))
    return made


# ---------------------------------------------------------------- sources


def _library() -> Any:
    """The networks of libreyolo.

    Raises
    ------
    MissingExtraError, ModelError
        If it is not installed, or OpenCV lacks a library of the system.
    """
    try:
        from libreyolo.models.yolox import nn as networks
    except ModuleNotFoundError as error:
        raise MissingExtraError("detection", "detect") from error
    except ImportError as error:  # cv2's own libraries
        raise ModelError(
            f"libreyolo cannot be imported: {error}.",
            hint="OpenCV lacks a library of the system. Install it (Debian: apt-get install libgl1 libglib2.0-0), "
            "or take the build without windows: pip install --force-reinstall opencv-python-headless",
        ) from error
    return networks


def _coco() -> list[str]:
    _library()
    from libreyolo.utils.general import COCO_CLASSES

    return [str(name) for name in COCO_CLASSES]


def _recipe(size: str, labels: Sequence[str], side: int) -> dict[str, Any]:
    return {"family": FAMILY, "size": size, "labels": list(labels), "input": side}


def _shapes(path: Path) -> dict[str, list[int]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError):
        return {}


def _file(path: Path) -> tuple[dict[str, Any], Card, Mapping[str, Tensor]]:
    """What a file of weights is of, from its shapes and its metadata."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, framework="pt") as file:
        told = dict(file.metadata() or {})
    state = load_file(path)
    size, classes = STEMS.get(len(state[STEM])), len(state.get(CLASSES, ()))
    if size is None or not classes:
        raise ModelError(f"{path} does not hold a whole YOLOX: {len(state)} tensors.", hint="Save its state dict.")
    labels = json.loads(told["labels"]) if "labels" in told else _coco() if classes == 80 else []
    labels = labels or [f"class {number}" for number in range(classes)]
    if len(labels) != classes:
        raise ModelError(f"{path} has {classes} classes, and its metadata name {len(labels)}.")
    side = int(told.get("input", INPUT.get(size, 640)))
    licence = told.get("licence") or told.get("license") or "unknown"
    return _recipe(size, labels, side), Card(str(path), told.get("source_task", "unknown"), licence), state


def _fill(net: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    wanted = net.state_dict()
    missing = sorted(wanted.keys() - state.keys())
    other = sorted(key for key in wanted.keys() & state.keys() if wanted[key].shape != state[key].shape)
    if missing or other:
        raise ModelError(
            f"{path} does not hold the weights of this YOLOX: {len(missing)} missing ({', '.join(missing[:3])}), "
            f"{len(other)} of another shape ({', '.join(other[:3])})."
        )
    net.load_state_dict({key: state[key].float() if state[key].is_floating_point() else state[key] for key in wanted})


def _random(recipe: Mapping[str, Any], name: str, seed: int) -> Model:
    return _model(name, recipe, seed, Card(f"{FAMILY}-{recipe['size']}, random weights", "none", "none needed"))


# ---------------------------------------------------------------- the model


def _model(name: str, recipe: Mapping[str, Any], seed: int, card: Card) -> Model:
    labels, side = list(recipe["labels"]), int(recipe["input"])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = _library().LibreYOLOXModel(recipe["size"], nb_classes=len(labels))
        net.init_weights(PRIOR)
    net = net.to(memory_format=torch.channels_last)  # a fifth faster on a CPU, forwards and backwards
    backbone = net.backbone.backbone

    def live(*names: str) -> dict[str, Field]:
        return {"geometry": Field()} | {name: Field() for name in MAPS if name in names}

    stages = (
        Stage("stem", Pixels(backbone.stem), live("x")),
        Stage("dark2", Dark(backbone.dark2, "x", "dark2"), live("dark2")),
        Stage("dark3", Dark(backbone.dark3, "dark2", "dark3"), live("dark3")),
        Stage("dark4", Dark(backbone.dark4, "dark3", "dark4", keep=True), live("dark3", "dark4")),
        Stage("dark5", Dark(backbone.dark5, "dark4", "dark5", keep=True), live("dark3", "dark4", "dark5")),
        Stage("neck", Neck(net.backbone), live("p3", "p4", "p5")),
    )
    return Model(
        name=name,
        net=net,
        encode=partial(letterbox.encode, size=side),
        inputs={"image": Field(), "geometry": Field()},
        stages=stages,
        width=int(net.head.stems[-1].conv.in_channels),
        summary=summary,
        recipe=dict(recipe),
        card=card,
        prepare=channels_last,
        augments=True,
        together=max(1, int(16 * (416 / side) ** 2)),
        heads={"detect": partial(_head, net.head, tuple(labels), side)},
    )


def summary(live: Tensors) -> Tensor:
    """The means over the highest map."""
    name = next(name for name in reversed(MAPS) if name in live)
    return live[name].float().mean((2, 3))


class Pixels(nn.Module):
    """The stem, fed bytes in RGB: YOLOX was trained on blue, green, red from 0 to 255."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, live: Tensors) -> Tensors:
        dtype = next(self.body.parameters()).dtype
        return {"geometry": live["geometry"], "x": self.body(live["image"].flip(1).to(dtype))}


class Dark(nn.Module):
    """Reads one live value, writes another; `keep` what it read, because the neck reads it, too."""

    def __init__(self, body: nn.Module, source: str, result: str, keep: bool = False) -> None:
        super().__init__()
        self.body, self._names = body, (source, result, keep)

    def forward(self, live: Tensors) -> Tensors:
        source, result, keep = self._names
        rest = {name: value for name, value in live.items() if keep or name != source}
        return {**rest, result: self.body(live[source])}


class Neck(nn.Module):
    """The library's feature pyramid with its backbone taken out: the three maps come from below."""

    def __init__(self, pyramid: nn.Module) -> None:
        super().__init__()
        self.pyramid = copy.copy(pyramid)  # the same parameters, a table of modules of its own
        self.pyramid._modules = {**pyramid._modules, "backbone": nn.Identity()}

    def forward(self, live: Tensors) -> Tensors:
        p3, p4, p5 = self.pyramid({name: live[name] for name in ("dark3", "dark4", "dark5")})
        return {"geometry": live["geometry"], "p3": p3, "p4": p4, "p5": p5}


# ---------------------------------------------------------------- the head


def _head(source: Any, known: Sequence[str], side: int, labels: Sequence[str]) -> Head:
    """The model's own head for other classes: all weights are kept but the last layer's of classes it does not know.

    Classes are the same where their names are, whatever the case; new ones begin at random, with a chance of .01.
    """
    body = copy.deepcopy(source)
    numbers = {label.lower().strip(): number for number, label in enumerate(known)}
    old = [numbers.get(label.lower().strip()) for label in labels]
    body.num_classes = len(labels)
    for level, before in enumerate(source.cls_preds):
        after = nn.Conv2d(before.in_channels, len(labels), 1, bias=True)
        weight, bias = after.weight.detach(), after.state_dict()["bias"]  # views of the parameters
        bias.fill_(-math.log((1 - PRIOR) / PRIOR))
        for place, number in enumerate(old):
            if number is not None:
                weight[place].copy_(before.weight.detach()[number])
                bias[place].copy_(before.bias.detach()[number])
        body.cls_preds[level] = after
    return Boxes(body.to(memory_format=torch.channels_last), side)


class Boxes(nn.Module):
    """The family's head: SimOTA assignment in `loss`, decoding and suppression in `predict`, in float32."""

    def __init__(self, body: Any, side: int) -> None:
        super().__init__()
        self.body, self._side = body, side

    def forward(self, live: Tensors) -> list[Tensor]:
        """For each level, edges, objectness and classes as they leave the last layers: (rows, 5 + classes, h, w)."""
        body, found = self.body, []
        for level, name in enumerate(("p3", "p4", "p5")):
            x = body.stems[level](live[name].contiguous(memory_format=torch.channels_last))
            about, where = body.cls_convs[level](x), body.reg_convs[level](x)
            parts = (body.reg_preds[level](where), body.obj_preds[level](where), body.cls_preds[level](about))
            found.append(torch.cat([part.float() for part in parts], 1))
        return found

    def loss(self, live: Tensors, target: Tensors) -> Loss:
        """One sum over all anchors that were assigned, and their count: the library takes the mean over all images."""
        levels = self(live)
        with torch.autocast(levels[0].device.type, enabled=False):
            made = [
                self.body.get_output_and_grid(level, k, stride, None)
                for k, (level, stride) in enumerate(zip(levels, self.body.strides, strict=True))
            ]
            maps, grids = torch.cat([output for output, _ in made], 1), [grid for _, grid in made]
            strides = [
                torch.full((1, grid.shape[1]), float(stride), device=maps.device)
                for grid, stride in zip(grids, self.body.strides, strict=True)
            ]
            labels = self._labels(live["geometry"], target)
            parts = self.body.get_losses(
                None, [g[:, :, 0] for g in grids], [g[:, :, 1] for g in grids], strides, labels, maps, [], maps.dtype
            )
        boxes = (labels.sum(2) > 0).sum().clamp(min=1)
        assigned = torch.as_tensor(parts["num_fg"], device=maps.device) * boxes
        return Loss((parts["total_loss"] * assigned)[None], assigned[None])

    def _labels(self, geometry: Tensor, target: Tensors) -> Tensor:
        """Class, centre and size of the boxes in view, in front of rows of noughts, as the library wants them."""
        boxes, there = letterbox.moved(target["boxes"], geometry, self._side)
        there &= target["box_mask"] > 0
        sides = boxes[..., 2:] - boxes[..., :2]
        rows = torch.cat([target["classes"][..., None].float(), (boxes[..., :2] + boxes[..., 2:]) / 2, sides], -1)
        first = torch.argsort((~there).int(), dim=1, stable=True)
        return torch.gather(rows * there[..., None], 1, first[..., None].expand_as(rows))

    def predict(self, live: Tensors, decoding: Any) -> list[np.ndarray]:
        """For each picture an array (n, 6): left, top, right, bottom in its pixels, score, class."""
        from libreyolo.postprocess.yolox import postprocess

        levels = [torch.cat([level[:, :4], level[:, 4:].sigmoid()], 1) for level in self(live)]
        found = []
        for row, (scale, _, _, _, width, height) in enumerate(live["geometry"].tolist()):
            one = [level[row : row + 1] for level in levels]
            size = (int(width), int(height))
            answer = postprocess(one, FLOOR, decoding.overlap, self._side, size, scale)
            found.append(_lines(answer) if answer["num_detections"] else np.zeros((0, 6), np.float32))
        return found


def _lines(answer: Mapping[str, Any]) -> np.ndarray:
    columns = [torch.as_tensor(answer[name]).cpu().float() for name in ("boxes", "scores", "classes")]
    return torch.cat([columns[0], columns[1][:, None], columns[2][:, None]], 1).numpy()
