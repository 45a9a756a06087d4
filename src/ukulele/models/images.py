"""Image networks: any that timm knows, by name from the hub or from local files. The only file that imports timm."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ukulele.errors import ModelError
from ukulele.models.augment import View, encode
from ukulele.models.depthwise import quicken_strides
from ukulele.models.timm_stages import channels_last, layout, stages, summary
from ukulele.tools.network import online
from ukulele.types import Card, Field, Model, Request

CLASSES = {1000: "ImageNet-1k", 11821: "ImageNet-12k", 21841: "ImageNet-22k", 21843: "ImageNet-21k"}
Classifier: TypeAlias = tuple[Tensor, Tensor]  # weights (classes, width), biases
FILTERS = {"bilinear", "bicubic", "lanczos", "nearest"}
EXAMPLE = (
    "Save it with `safetensors.torch.save_file(net.state_dict(), path, metadata={'architecture': 'resnet18', "
    "'input': '224', 'mean': '0.485,0.456,0.406', 'std': '0.229,0.224,0.225', 'source_task': '…', 'licence': '…'})`."
)


@dataclass(frozen=True)
class Source:
    """What is known about a network besides its weights. Plain data; `args` go to timm's `create_model`."""

    architecture: str
    args: Mapping[str, Any]
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str
    crop_mode: str


@dataclass(frozen=True)
class Offer:
    """A model that can be named: for the list of models."""

    name: str
    where: str  # "local" or "hub"
    licence: str = "unknown"
    parameters: int | None = None  # None where counting them would take a download


def load(request: Request) -> Model:
    """Make an image model.

    Parameters
    ----------
    request
        Its name is a timm model (``mobilenetv2_100``, ``vit_small_patch16_224.augreg_in21k``), a local
        ``.safetensors`` file whose metadata names the architecture, or a folder with ``config.json`` and
        ``model.safetensors`` in timm's hub format. ``pretrained=False`` gives the same architecture with
        weights drawn from ``seed``; the global random state stays as it was.

    Raises
    ------
    ModelError
        If there is no such model, its weights cannot be had, or they do not fit the architecture.
    """
    path = Path(request.name).expanduser()
    if path.is_dir():
        source, card = _folder(path)
        weights: Path | None = path / "model.safetensors"
    elif path.suffix == ".safetensors":
        source, card = _file(path)
        weights = path
    else:
        source, card = _hub(request.name)
        weights = None
    if not request.pretrained:
        net, classifier = _network(source, request.seed), None
        card = Card(origin=f"timm {source.architecture}, random weights", source_task="none", licence="none needed")
    elif weights is not None:
        net = _network(source, request.seed)
        classifier = _fill(net, weights, source.architecture)
    else:
        net = _download(request.name, source)
        classifier = taken_off(net)
    if card.source_task == "unknown":  # it may be a map to where texts are, too, as CLIP has
        classifier = None
    return _model(request.name if weights is None else path.stem, net, source, card, classifier)


def build(recipe: Mapping[str, Any], assets: Mapping[str, bytes], seed: int = 0) -> Model:
    """Make a model again from its recipe, its weights drawn from `seed`: the caller loads others into `net`."""
    del assets  # image models carry none
    values: dict[str, Any] = {field.name: recipe[field.name] for field in fields(Source)}
    values |= {key: tuple(values[key]) for key in ("size", "mean", "std")}  # JSON made lists of them
    source = Source(**values)
    card = Card(origin=f"timm {source.architecture}")
    return _model(source.architecture, _network(source, seed), source, card)


def available(pattern: str = "") -> list[Offer]:
    """Image models that can be named: those in the hub's local cache or in the folder `pattern` first, then the hub's.

    `pattern` is part of a name, or a shell pattern.
    """
    import timm

    folder = Path(pattern).expanduser()
    if pattern and folder.is_dir():
        return [_local_offer(path) for path in sorted(folder.glob("*.safetensors")) if _metadata(path)]
    shell = pattern if any(mark in pattern for mark in "*?[") else f"*{pattern}*"
    here = _cached()
    offers = []
    for name in timm.list_pretrained(shell):
        known = timm.get_pretrained_cfg(name)
        where = "local" if known.hf_hub_id in here else "hub"
        offers.append(Offer(name, where, known.license or "unknown"))
    return sorted(offers, key=lambda offer: offer.where != "local")


# ---------------------------------------------------------------- sources


def _hub(name: str) -> tuple[Source, Card]:
    import timm

    known = timm.get_pretrained_cfg(_plain(name)) if timm.is_model(_plain(name)) else None
    if known is None:
        raise ModelError(f"timm knows no model {name!r}.", hint=_suggestions(_plain(name)))
    source = _source(known.architecture, {}, known.to_dict())
    card = Card(
        origin=known.hf_hub_id or f"timm {known.architecture}",
        source_task=CLASSES.get(known.num_classes, "unknown"),
        licence=known.license or "unknown",
    )
    return source, card


def _file(path: Path) -> tuple[Source, Card]:
    if not path.is_file():
        raise ModelError(f"{path}: no such file.", hint=_nearby(path))
    told = _metadata(path)
    _check_architecture(told.get("architecture"), path, EXAMPLE)
    settings: dict[str, Any] = dict(told)
    try:
        for key in ("mean", "std"):
            if key in told:
                settings[key] = tuple(float(number) for number in told[key].split(","))
        if "input" in told:
            sides = [int(number) for number in told["input"].replace("x", ",").split(",")]
            settings["input_size"] = (3, sides[-2] if len(sides) > 1 else sides[0], sides[-1])
        settings["crop_pct"] = float(told.get("crop_pct", 1.0))  # the whole picture, unless the weights say otherwise
    except ValueError as error:
        raise ModelError(f"{path}: its metadata cannot be read ({error}).", hint=EXAMPLE) from error
    args = {"pad_type": told["pad_type"]} if told.get("pad_type") else {}
    card = Card(str(path), told.get("source_task", "unknown"), told.get("licence") or told.get("license") or "unknown")
    return _source(told["architecture"], args, settings), card


def _folder(path: Path) -> tuple[Source, Card]:
    config, weights = path / "config.json", path / "model.safetensors"
    missing = [file.name for file in (config, weights) if not file.is_file()]
    if missing:
        raise ModelError(f"{path} is no model folder: {' and '.join(missing)} missing.", hint=_nearby(config))
    try:
        told = json.loads(config.read_text(encoding="utf-8"))
        settings = dict(told.get("pretrained_cfg", told))
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{config} cannot be read: {error}") from error
    _check_architecture(told.get("architecture"), config, "It must be written by timm (`timm.models.save_for_hf`).")
    args = {k: v for k, v in (told.get("model_args") or {}).items() if k not in {"num_classes", "pretrained"}}
    classes = settings.get("num_classes", told.get("num_classes"))
    licence = settings.get("license") or "unknown"
    return _source(told["architecture"], args, settings), Card(str(path), CLASSES.get(classes, "unknown"), licence)


def _source(architecture: str, args: Mapping[str, Any], settings: Mapping[str, Any]) -> Source:
    """What `settings` say, and the architecture's own defaults for the rest."""
    import timm
    from timm.data import resolve_data_config

    known = timm.get_pretrained_cfg(architecture)
    default = known.to_dict() if known else {}
    keys = ("input_size", "mean", "std", "crop_pct", "interpolation", "crop_mode")
    merged = default | {key: settings[key] for key in keys if settings.get(key) is not None}
    data = resolve_data_config({}, pretrained_cfg=merged)
    height, width = data["input_size"][1:]
    if default.get("fixed_input_size") and (height, width) != tuple(default["input_size"][1:]):
        args = {**args, "img_size": (height, width)}
    interpolation = data["interpolation"] if data["interpolation"] in FILTERS else "bicubic"
    mean, std = tuple(data["mean"]), tuple(data["std"])
    return Source(architecture, args, (height, width), mean, std, data["crop_pct"], interpolation, data["crop_mode"])


def _check_architecture(name: Any, path: Path, hint: str) -> None:
    import timm

    if not name:
        raise ModelError(f"{path} does not say which architecture it holds.", hint=hint)
    if not timm.is_model(str(name)):
        raise ModelError(f"{path}: timm knows no architecture {name!r}.", hint=_suggestions(str(name)))


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is no safetensors file or is damaged: {error}.") from error


def _local_offer(path: Path) -> Offer:
    from math import prod

    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        sizes = [prod(file.get_slice(key).get_shape()) for key in file.keys()]  # noqa: SIM118  # not a mapping
    told = _metadata(path)
    return Offer(str(path), "local", told.get("licence") or told.get("license") or "unknown", sum(sizes))


# ---------------------------------------------------------------- networks


def _network(source: Source, seed: int) -> nn.Module:
    """The architecture with weights drawn from `seed`, leaving the global generator as it was."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return quicken_strides(timm.create_model(source.architecture, pretrained=False, num_classes=0, **source.args))


def _fill(net: nn.Module, path: Path, architecture: str) -> Classifier | None:
    """Put the weights of a file into a network, as float32; a classifier in the file is handed over instead."""
    import timm
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is no safetensors file or is damaged: {error}.") from error
    known = timm.get_pretrained_cfg(architecture)
    names = (known.classifier if known else None) or ()
    heads = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    wanted = net.state_dict()
    state = {k: v.float() if v.is_floating_point() else v for k, v in found.items() if not _is_head(k, heads, wanted)}
    faults = _faults(state, wanted)
    if faults:
        raise ModelError(
            f"{path} does not hold the weights of {architecture}: {'; '.join(faults)}.",
            hint="Its metadata must name the very architecture the weights were saved from.",
        )
    net.load_state_dict(state)
    weight, bias = (found.get(f"{heads[0]}{part}") if len(heads) == 1 else None for part in ("weight", "bias"))
    return _flat(weight, bias)


def taken_off(net: nn.Module) -> Classifier | None:
    """The classifier of a timm network, which has none from now on; None where it is more than a linear map."""
    last: Any = net.get_classifier()  # type: ignore[operator]
    net.reset_classifier(0)  # type: ignore[operator]
    return _flat(last.weight.detach(), last.bias) if isinstance(last, nn.Linear | nn.Conv2d) else None


def _flat(weight: Tensor | None, bias: Tensor | None) -> Classifier | None:
    """A linear map on vectors, of one on vectors or on pictures of one pixel; none without a weight."""
    if weight is None or weight.shape[2:].numel() != 1:
        return None
    bias = weight.new_zeros(len(weight)) if bias is None else bias.detach()
    return weight.flatten(1).float(), bias.float()


def _is_head(key: str, heads: tuple[str, ...], wanted: Mapping[str, Tensor]) -> bool:
    return key not in wanted and key.startswith(heads)


def _faults(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What keeps a state from fitting, in words, with a few examples of each."""
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    other = [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & state.keys())
        if state[key].shape != wanted[key].shape
    ]
    named = (("missing", missing), ("not expected", extra), ("of another shape", other))
    return [f"{len(keys)} {what} ({', '.join(keys[:3])}{', …' if keys[3:] else ''})" for what, keys in named if keys]


def _download(name: str, source: Source) -> nn.Module:
    import timm

    known = timm.get_pretrained_cfg(_plain(name))
    if known is None or not (known.hf_hub_id or known.url):
        raise ModelError(
            f"timm has no pre-trained weights for {name!r}.",
            hint="Name a local .safetensors file of it, train it with `--strategy scratch`, or take another: "
            + _suggestions(_plain(name)),
        )
    if known.hf_hub_id and known.hf_hub_id not in _cached() and not online():
        raise ModelError(f"The weights of {name!r} are not here, and the hub cannot be reached.", hint=_reachable())
    try:
        net = quicken_strides(timm.create_model(_plain(name), pretrained=True, **source.args))
    except (OSError, RuntimeError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"The weights of {name!r} cannot be had: {first}", hint=_reachable()) from error
    return net


def _model(name: str, net: nn.Module, source: Source, card: Card, classifier: Classifier | None = None) -> Model:
    lies, width = layout(net), _width(net, source.size)
    if lies == "NCHW":
        net = net.to(memory_format=torch.channels_last)
    view = View(source.size, source.crop_pct, source.interpolation, source.crop_mode == "squash")
    return Model(
        name=name,
        net=net,
        encode=partial(encode, view=view),
        inputs={"x": Field()},
        stages=stages(net, source.mean, source.std),
        width=width,
        summary=partial(summary, layout=lies or "NCHW", prefix=getattr(net, "num_prefix_tokens", 0)),
        recipe={"family": "timm", **json.loads(json.dumps(asdict(source)))},
        card=card,
        prepare=channels_last if lies == "NCHW" else dict,
        augments=True,
        classifier=classifier if classifier is not None and classifier[0].shape[1] == width else None,
    )


def _width(net: nn.Module, size: tuple[int, int]) -> int:
    """Numbers a row behind the last stage."""
    if layout(net) is not None:
        return int(net.head_hidden_size)  # type: ignore[arg-type]
    training = net.training
    with torch.inference_mode():
        found = net.eval()(torch.zeros(1, 3, *size)).flatten(1).shape[1]
    net.train(training)
    return int(found)


# ---------------------------------------------------------------- what is within reach


def _plain(name: str) -> str:
    """A model's name without the hub's prefix: "timm/resnet18.a1_in1k" is "resnet18.a1_in1k"."""
    return name.removeprefix("hf-hub:").removeprefix("hf_hub:").removeprefix("timm/")


def _suggestions(name: str) -> str:
    import timm

    close = difflib.get_close_matches(name, [*timm.list_models(), *timm.list_pretrained()], n=5, cutoff=0.6)
    start = f"Did you mean {', '.join(close)}? " if close else ""
    return f"{start}`uke models` lists them all; a local model is a .safetensors file or a folder."


def _nearby(path: Path) -> str:
    files = sorted(file.name for file in path.parent.glob("*.safetensors")) if path.parent.is_dir() else []
    return f"Models there: {', '.join(files)}." if files else f"There are no models in {path.parent}."


def _reachable() -> str:
    here = sorted(_cached())
    return (
        f"Available locally: {', '.join(here) if here else 'nothing in the hub cache yet'}. With network (and "
        "HF_HUB_OFFLINE not set) the weights are fetched by name; without, run `hf download timm/NAME --local-dir DIR` "
        "elsewhere and use --model DIR, or --model FILE.safetensors."
    )


def _cached() -> set[str]:
    """Ids of the timm models in the hub's local cache."""
    from ukulele.models.hub import cached

    return {name for name in cached() if name.startswith("timm/")}
