"""Detectors: families by name, where their weights come from, and how one is built again.

A name such as `yolox-s` stands for the weights that LibreYOLO publishes on the hub; a file is a state dict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ukulele.errors import ModelError
from ukulele.models import dfine, letterbox, libre, yolo9, yolox
from ukulele.models.depthwise import quicken_strides
from ukulele.models.detecting import summary
from ukulele.models.mosaic import mosaic
from ukulele.models.timm_stages import channels_last
from ukulele.tools.network import online
from ukulele.types import Card, Field, Head, Model, Request, Stage

STATE = (".pt", ".pth")  # what torch.save writes; read without running anything that is in it
COCO = 80  # so many classes without names are COCO's
OWNER = "LibreYOLO"


@dataclass(frozen=True)
class Family:
    """Detectors that differ in size alone, as plain data and four functions of its file."""

    sizes: Mapping[str, int]  # its letter to pixels of the square's side
    prefix: str  # of the files on the hub
    licence: str  # of those
    stem: str  # a tensor that tells the family
    told: Callable[[Mapping[str, Tensor]], dict[str, Any]]  # what of a recipe the tensors tell: the size at least
    classes: str  # a tensor with a number a class
    network: Callable[[Mapping[str, Any]], Any]  # of a recipe, its weights drawn from torch's generator
    stages: Callable[[Any], tuple[Stage, ...]]
    width: Callable[[Any], int]
    head: Callable[[Any, Sequence[str], int, str, Sequence[str]], Head]
    pad: str = letterbox.TOP  # how pictures lie in the square, where weights do not say otherwise
    rate: float = 1.0  # of the usual one
    decoder: str = "head."  # how a file begins the names of what is the head here

    def own(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's tensors by the names that they have here."""
        return {re.sub(f"^{re.escape(self.decoder)}", "head.", name): value for name, value in state.items()}


FAMILIES: Mapping[str, Family] = {
    "yolox": Family(
        {"n": 416, "t": 416, "s": 640, "m": 640, "l": 640, "x": 640}, "LibreYOLOX", "apache-2.0",
        "backbone.backbone.stem.conv.conv.weight", yolox.told, "head.cls_preds.0.bias",
        yolox.network, yolox.stages, yolox.width, yolox.head,
    ),
    "yolo9": Family(
        dict.fromkeys("tsmc", 640), "LibreYOLO9", "mit",
        "backbone.conv0.conv.weight", yolo9.told, "head.cv3.0.2.bias",
        yolo9.network, yolo9.stages, yolo9.width, yolo9.head,
    ),
    "dfine": Family(
        dict.fromkeys("nsm", 640), "LibreDFINE", "apache-2.0",
        "decoder.pre_bbox_head.layers.0.weight", dfine.told, "decoder.dec_score_head.0.bias",
        dfine.network, dfine.stages, dfine.width, dfine.head, letterbox.STRETCH, 0.2, "decoder.",
    ),
}  # fmt: skip
LONG = {"nano": "n", "tiny": "t", "small": "s", "medium": "m", "large": "l", "compact": "c"}


@dataclass(frozen=True)
class Offer:
    """A detector that can be named: for the list of models."""

    name: str
    here: bool  # in the hub's local cache
    licence: str


def named(name: str) -> tuple[str, str] | None:
    """Family and size that a bare name stands for.

    >>> named("yolox-s"), named("YOLOX_nano"), named("yolo9-t"), named("resnet18")
    (('yolox', 's'), ('yolox', 'n'), ('yolo9', 't'), None)
    """
    family, _, size = name.lower().replace("_", "-").partition("-")
    size = LONG.get(size, size)
    return (family, size) if family in FAMILIES and size in FAMILIES[family].sizes else None


def knows(name: str) -> bool:
    """Whether a name, or the file it names, is a detector's; nothing heavy is imported."""
    path = Path(name).expanduser()
    if path.suffix in STATE and path.is_file():
        return True  # no other family reads these
    if path.suffix == ".safetensors" and path.is_file():
        return any(family.stem in _shapes(path) for family in FAMILIES.values())
    return named(name) is not None


def load(request: Request) -> Model:
    """Make a detector.

    Parameters
    ----------
    request
        Its name is one such as ``yolox-s`` or ``yolo9-t``, fetched from the hub where network and HF_HUB_OFFLINE
        allow, or a local file of a state dict (``.safetensors``, ``.pt``). Size and number of classes follow from the
        weights; ``labels`` (JSON), ``input``, ``source_task`` and ``licence`` are read from a file's metadata.

    Raises
    ------
    ModelError
        If there are no such weights, or they are of no family that is known.
    """
    path, known = Path(request.name).expanduser(), named(request.name)
    if known and not path.is_file():
        family, size = known
        if not request.pretrained:
            return _random(_recipe(family, size, libre.coco(), None), request.name, request.seed)
        path = hub_file(family, size)
    recipe, card, state = _file(path)
    name = request.name if known else path.stem
    if known:
        family = recipe["family"]
        card = Card(f"{OWNER}/{FAMILIES[family].prefix}{recipe['size']}", "COCO", FAMILIES[family].licence)
    if not request.pretrained:
        return _random(recipe, name, request.seed)
    model = _model(name, recipe, request.seed, card)
    _fill(model.net, state, path)
    return model


def build(recipe: Mapping[str, Any], assets: Mapping[str, bytes], seed: int = 0) -> Model:
    """Make a model again from its recipe, its weights drawn from `seed`: the caller loads others into `net`."""
    del assets  # it has none
    name = f"{recipe['family']}-{recipe['size']}"
    return _model(name, recipe, seed, Card(name))


def adopt(model: Model, tensors: Mapping[str, Tensor], labels: Sequence[str]) -> Model:
    """The model with a trained head as its own, so that the next task begins from that."""
    trunk = {name: value for name, value in model.net.state_dict().items() if not name.startswith("head.")}
    state = trunk | dict(tensors)
    recipe = {**model.recipe, **FAMILIES[model.recipe["family"]].told(state), "labels": list(labels)}
    made = _model(model.name, recipe, 0, model.card)
    made.net.load_state_dict(state)
    return made


def renewed(model: Model) -> Model:
    """The model with a head that takes no class of the data for one it knows."""
    family = FAMILIES[model.recipe["family"]]
    return replace(model, heads={"detect": partial(family.head, model.net.head, (), *_input(model.recipe))})


def available() -> list[Offer]:
    """All detectors that can be named, those in the hub's local cache first."""
    offers = [
        Offer(f"{family}-{size}", _cached(family, size) is not None, about.licence)
        for family, about in FAMILIES.items()
        for size in about.sizes
    ]
    return sorted(offers, key=lambda offer: not offer.here)


# ---------------------------------------------------------------- sources


def hub_file(family: str, size: str) -> Path:
    """The hub's local copy of a detector's weights, fetched where the network and HF_HUB_OFFLINE allow.

    Raises
    ------
    ModelError
        If it is not there and cannot be fetched.
    """
    if (here := _cached(family, size)) is not None:
        return here
    repository, file = _on_hub(family, size)
    if not online():
        raise ModelError(
            f"the weights of {family}-{size} are not here, and the hub cannot be reached.", hint=_reachable()
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{repository} on the hub is not within reach: {first}", hint=_reachable()) from error


def _on_hub(family: str, size: str) -> tuple[str, str]:
    name = f"{FAMILIES[family].prefix}{size}"
    return f"{OWNER}/{name}", f"{name}.pt"


def _cached(family: str, size: str) -> Path | None:
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(*_on_hub(family, size), cache_dir=constants.HF_HUB_CACHE)
    return Path(found) if isinstance(found, str) else None


def _reachable() -> str:
    here = [offer.name for offer in available() if offer.here]
    return (
        f"Available locally: {', '.join(here) or 'no detector by name'}. With network (and HF_HUB_OFFLINE not set) "
        f"weights are fetched by name from huggingface.co/{OWNER}; without, name a file of them: "
        "--model FILE.safetensors or FILE.pt. Without weights there is --strategy scratch."
    )


def _shapes(path: Path) -> dict[str, list[int]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError):
        return {}


def _file(path: Path) -> tuple[dict[str, Any], Card, Mapping[str, Tensor]]:
    """What a file of weights is of, from its shapes and its metadata."""
    state, told = _saved(path) if path.suffix in STATE else _safe(path)
    family = next((name for name, about in FAMILIES.items() if about.stem in state), None)
    if family is None:
        known = ", ".join(FAMILIES)
        raise ModelError(f"{path} holds no detector that is known: {len(state)} tensors.", hint=f"Families: {known}.")
    about = FAMILIES[family]
    found, classes = about.told(state), len(state.get(about.classes, ()))
    if not found or not classes:
        raise ModelError(f"{path} does not hold a whole {family}: {len(state)} tensors.", hint="Save its state dict.")
    labels = told.get("labels") or (libre.coco() if classes == COCO else [])
    labels = labels or [f"class {number}" for number in range(classes)]
    if len(labels) != classes:
        raise ModelError(f"{path} has {classes} classes, and its metadata name {len(labels)}.")
    card = Card(str(path), told.get("source_task") or "unknown", told.get("licence") or "unknown")
    recipe = _recipe(family, found["size"], labels, told.get("input")) | found
    pad = told.get("pad")
    return ({**recipe, "pad": pad} if pad == letterbox.CENTRE else recipe), card, about.own(state)


def _safe(path: Path) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, framework="pt") as file:
        told: dict[str, Any] = dict(file.metadata() or {})
    labels = json.loads(told["labels"]) if "labels" in told else None
    return load_file(path), {**told, "labels": labels, "licence": told.get("licence") or told.get("license")}


def _saved(path: Path) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """A file of torch.save's, read by an unpickler that makes tensors and plain values alone."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler's errors are of every kind
        raise ModelError(
            f"{path} cannot be read as weights alone: {str(error).splitlines()[0]}",
            hint="Only tensors and plain values are read. Where you trust the file, save its state dict again: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=False)['model'], 'detector.safetensors')",
        ) from error
    plain = found if isinstance(found, Mapping) else {}
    state = next((plain[key] for key in ("model", "state_dict") if isinstance(plain.get(key), Mapping)), plain)
    names = plain.get("names")
    if isinstance(names, Mapping):
        names = [names[key] for key in sorted(names, key=int)]
    side = plain.get("imgsz")
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    told = {"labels": [str(name) for name in names or ()], "pad": plain.get("letterbox_pad")}
    return tensors, {**told, "input": side if isinstance(side, int) else None}


def _recipe(family: str, size: str, labels: Sequence[str], side: int | str | None) -> dict[str, Any]:
    pixels = int(side or FAMILIES[family].sizes[size])
    return {"family": family, "size": size, "labels": list(labels), "input": pixels}


def _fill(net: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    wanted = net.state_dict()
    missing = sorted(wanted.keys() - state.keys())
    other = sorted(key for key in wanted.keys() & state.keys() if wanted[key].shape != state[key].shape)
    if missing or other:
        raise ModelError(
            f"{path} does not hold the weights of this detector: {len(missing)} missing ({', '.join(missing[:3])}), "
            f"{len(other)} of another shape ({', '.join(other[:3])})."
        )
    net.load_state_dict({key: state[key].float() if state[key].is_floating_point() else state[key] for key in wanted})


def _random(recipe: Mapping[str, Any], name: str, seed: int) -> Model:
    card = Card(f"{recipe['family']}-{recipe['size']}, random weights", "none", "none needed")
    return _model(name, recipe, seed, card)


# ---------------------------------------------------------------- the model


def _model(name: str, recipe: Mapping[str, Any], seed: int, card: Card) -> Model:
    family = FAMILIES[recipe["family"]]
    side, pad = _input(recipe)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = family.network(recipe)
    net = quicken_strides(net).to(memory_format=torch.channels_last)  # a fifth faster on a CPU, forwards and backwards
    return Model(
        name=name,
        net=net,
        encode=partial(letterbox.encode, size=side, pad=pad),
        inputs={"image": Field(), "geometry": Field()},
        stages=family.stages(net),
        width=family.width(net),
        summary=summary,
        recipe=dict(recipe),
        card=card,
        prepare=channels_last,
        augments=True,
        mosaic=mosaic,
        pace=family.rate,
        together=max(1, int(16 * (416 / side) ** 2)),
        heads={"detect": partial(family.head, net.head, tuple(recipe["labels"]), side, pad)},
    )


def _input(recipe: Mapping[str, Any]) -> tuple[int, str]:
    """Pixels of a side, and how a picture is padded to them."""
    return int(recipe["input"]), str(recipe.get("pad", FAMILIES[recipe["family"]].pad))
