"""A timm network as a row of stages: a literal table by class; a class it does not know is one stage, whole."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from ukulele.types import Field, Stage, Tensors

Layout: TypeAlias = Literal["NCHW", "NHWC", "NLC"]
"""How values lie between stages: maps with channels first or last, or a sequence of tokens."""


@dataclass(frozen=True)
class Cuts:
    """Where the networks of one class can be cut, in the words of the library's own attributes.

    `stem` and `tail` are modules or methods, called in that order at either end of `forward_features`;
    `forward_head` follows. `body` lies between them, a stage each: a `*` stands for every child in turn.
    """

    stem: tuple[str, ...]
    body: tuple[str, ...]
    tail: tuple[str, ...] = ()
    layout: Layout = "NCHW"
    kept: tuple[str, ...] = ()  # modules that the methods in `stem` use
    per_block: str = ""  # a child of a group that joins the first block of the group: "downsample"


_VIT = Cuts(
    stem=("patch_embed", "_pos_embed", "patch_drop", "norm_pre"),
    body=("blocks.*",),
    tail=("norm",),
    layout="NLC",
    kept=("pos_drop",),
)
_SWIN = Cuts(("patch_embed",), ("layers.*.blocks.*",), ("norm",), layout="NHWC", per_block="downsample")

TABLE: Mapping[str, Cuts] = {
    "ByobNet": Cuts(("stem",), ("stages.*.*",), ("final_conv",)),
    "ConvNeXt": Cuts(("stem",), ("stages.*.blocks.*",), ("norm_pre",), per_block="downsample"),
    "DenseNet": Cuts((), ("features.*",)),
    "EfficientNet": Cuts(("conv_stem", "bn1"), ("blocks.*.*",), ("conv_head", "bn2")),
    "MlpMixer": Cuts(("stem",), ("blocks.*",), ("norm",), layout="NLC"),
    "MobileNetV3": Cuts(("conv_stem", "bn1"), ("blocks.*.*",)),
    "RegNet": Cuts(("stem",), ("s1.*", "s2.*", "s3.*", "s4.*"), ("final_conv",)),
    "ResNet": Cuts(("conv1", "bn1", "act1", "maxpool"), ("layer1.*", "layer2.*", "layer3.*", "layer4.*")),
    "ResNetV2": Cuts(("stem",), ("stages.*.blocks.*",), ("norm",)),
    "SwinTransformer": _SWIN,
    "SwinTransformerV2": _SWIN,
    "VGG": Cuts((), ("features.*",)),
    "VisionTransformer": _VIT,
    "VisionTransformerDistilled": _VIT,
}


class Link(nn.Sequential):
    """One or more of the network's own modules in a row, on the live value "x"."""

    def forward(self, live: Tensors) -> Tensors:
        """Map "x"; hand on the rest."""
        x = live["x"]
        for module in self:
            x = module(x)
        return {**live, "x": x}


class Stem(nn.Module):
    """Bytes of a picture, normalised, through the first modules of the network."""

    def __init__(self, net: nn.Module, steps: tuple[str, ...], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.steps = steps
        self.mean, self.std = tuple(mean), tuple(std)  # no buffers: they must not follow the weights to bf16

    def forward(self, live: Tensors) -> Tensors:
        """Map "x" from uint8 (rows, 3, height, width) to the first values of the network."""
        x = normalised(live["x"], self.mean, self.std).to(next(self.net.parameters()).dtype)
        return {**live, "x": called(self.net, self.steps, x)}


class Pool(nn.Module):
    """The end of the network: its last norm, its own pooling, and what it puts before the classifier."""

    def __init__(self, net: nn.Module, steps: tuple[str, ...]) -> None:
        super().__init__()
        self.net = net
        self.steps = steps

    def forward(self, live: Tensors) -> Tensors:
        """Map "x" to "pooled": (rows, width), float32."""
        rest = {name: value for name, value in live.items() if name != "x"}
        return {**rest, "pooled": called(self.net, self.steps, live["x"]).flatten(1).float()}


class Whole(nn.Module):
    """A network that the table does not know, as one stage: bytes of a picture to "pooled"."""

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.mean, self.std = tuple(mean), tuple(std)

    def forward(self, live: Tensors) -> Tensors:
        """Map "x" from uint8 (rows, 3, height, width) to "pooled": (rows, width), float32."""
        rest = {name: value for name, value in live.items() if name != "x"}
        x = normalised(live["x"], self.mean, self.std).to(next(self.net.parameters()).dtype)
        return {**rest, "pooled": self.net(x).flatten(1).float()}


def normalised(x: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x / 255 - mean) / std for each channel of uint8 (rows, 3, height, width), in float32."""
    shape = (1, len(mean), 1, 1)
    middle = torch.tensor(mean, device=x.device).view(shape)
    spread = torch.tensor(std, device=x.device).view(shape)
    return x.float().div_(255).sub_(middle).div_(spread)


def called(net: nn.Module, steps: Iterable[str], x: Tensor) -> Tensor:
    """X through the named modules and methods of a network, one after the other."""
    for step in steps:
        x = getattr(net, step)(x)
    return x


def stages(net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> tuple[Stage, ...]:
    """Cut a timm network, made with `num_classes=0`, into stages that own each parameter exactly once.

    The modules stay the network's own. In-place activations are switched off, since they would overwrite what
    a cut has stored. A network of a class that `TABLE` does not know is one stage.
    """
    for module in net.modules():
        if "inplace" in vars(module):
            vars(module)["inplace"] = False
    cuts = TABLE.get(type(net).__name__)
    if cuts is None:
        return (Stage("body", Whole(net, mean, std), {"pooled": Field()}),)
    links = [link for pattern in cuts.body for link in expanded(net, pattern, cuts.per_block)]
    at_stem = {*cuts.stem, *cuts.kept}
    if cuts.stem:
        stem = Stem(part(net, at_stem, own=True), cuts.stem, mean, std)
    else:
        links = by_convolution(links)
        stem = Stem(nn.Sequential(OrderedDict(links.pop(0)[1])), ("forward",), mean, std)
    at_end = {name for name, _ in net.named_children()} - at_stem - {pattern.split(".")[0] for pattern in cuts.body}
    pool = Pool(part(net, at_end, own=False), (*cuts.tail, "forward_head"))
    found = [("stem", stem), *((name, Link(OrderedDict(modules))) for name, modules in links)]
    return (*(Stage(n, m, {"x": Field()}) for n, m in found), Stage("pool", pool, {"pooled": Field()}))


def layout(net: nn.Module) -> Layout | None:
    """How values lie between the stages of a network; None where it is one stage."""
    cuts = TABLE.get(type(net).__name__)
    return cuts.layout if cuts else None


def part(net: nn.Module, names: Collection[str], *, own: bool) -> nn.Module:
    """A view of a network that holds only some of its children, with all of its methods and settings.

    Parameters
    ----------
    own
        Whether the view also holds the parameters of the network itself, such as position embeddings.
    """
    view = copy.copy(net)
    view.__dict__["_modules"] = {name: child for name, child in net.named_children() if name in names}
    if not own:
        view.__dict__.update(_parameters={}, _buffers={})
    return view


Links: TypeAlias = list[tuple[str, list[tuple[str, nn.Module]]]]
"""Names of stages and the named modules of each."""


def expanded(net: nn.Module, pattern: str, per_block: str) -> Links:
    """The modules that a pattern such as "layers.*.blocks.*" stands for, a stage each, in order.

    >>> net = nn.ModuleDict({"layers": nn.Sequential(nn.ReLU(), nn.GELU())})
    >>> [name for name, _ in expanded(net, "layers.*", "")]
    ['layers.0', 'layers.1']
    """
    holders: list[tuple[str, nn.Module]] = [("", net)]
    before: dict[int, list[tuple[str, nn.Module]]] = {}
    for step in pattern.split("."):
        inner: list[tuple[str, nn.Module]] = []
        for name, holder in holders:
            extra = getattr(holder, per_block, None) if per_block else None
            children = list(holder.named_children()) if step == "*" else [(step, holder.get_submodule(step))]
            if extra is not None and not isinstance(extra, nn.Identity):
                first = next(iter(children[0][1].children()))
                before[id(first)] = [(per_block, extra)]
            inner += [
                (name if key == "blocks" and name else f"{name}.{key}".lstrip("."), child) for key, child in children
            ]
        holders = inner
    return [(name, [*before.get(id(child), []), ("block", child)]) for name, child in holders]


def by_convolution(links: Links) -> Links:
    """A flat row of modules as stages that each begin with a convolution: what has none joins the one before."""
    joined: Links = []
    for name, modules in links:
        named = [(name.rsplit(".", 1)[-1], module) for _, module in modules]
        if joined and not any(isinstance(m, nn.Conv2d) for _, module in modules for m in module.modules()):
            joined[-1][1].extend(named)
        else:
            joined.append((name, named))
    return joined


def summary(live: Tensors, layout: Layout, prefix: int) -> Tensor:
    """One vector a row: the mean over places, leaving out `prefix` tokens that are no patches.

    >>> summary({"x": torch.ones(2, 5, 3, 3)}, "NCHW", 0).shape
    torch.Size([2, 5])
    """
    if "pooled" in live:
        return live["pooled"].float()
    x = live["x"].float()
    match layout:
        case "NCHW":
            return x.mean((2, 3))
        case "NHWC":
            return x.mean((1, 2))
        case "NLC":
            return x[:, prefix:].mean(1)


def channels_last(live: Tensors) -> Tensors:
    """The same values with channels last in memory: convolutions on the CPU are several times faster so."""
    nhwc = torch.channels_last
    return {name: x.contiguous(memory_format=nhwc) if x.ndim == 4 else x for name, x in live.items()}
