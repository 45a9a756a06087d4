"""The networks, losses and post-processing of detectors. The only file that imports libreyolo, and only inside
functions: that takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ukulele.errors import MissingExtraError, ModelError


def library() -> None:
    """See whether libreyolo can be imported.

    Raises
    ------
    MissingExtraError, ModelError
        If it is not installed, or OpenCV lacks a library of the system.
    """
    try:
        import libreyolo.models.yolox.nn  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("detection", "detect") from error
    except ImportError as error:  # cv2's own libraries
        raise ModelError(
            f"libreyolo cannot be imported: {error}.",
            hint="OpenCV lacks a library of the system. Install it (Debian: apt-get install libgl1 libglib2.0-0), "
            "or take the build without windows: pip install --force-reinstall opencv-python-headless",
        ) from error


def coco() -> list[str]:
    """The names of COCO's 80 classes in their order."""
    library()
    from libreyolo.utils.general import COCO_CLASSES

    return [str(name) for name in COCO_CLASSES]


def yolox(size: str, classes: int) -> Any:
    """A YOLOX, its weights drawn from torch's generator."""
    library()
    from libreyolo.models.yolox.nn import LibreYOLOXModel

    net = LibreYOLOXModel(size, nb_classes=classes)
    for module in net.modules():
        if isinstance(module, nn.SiLU):
            module.inplace = False  # what it overwrites autograd must copy first: a twentieth of a step
    return net


def yolo9(size: str, classes: int, tower: int | None = None) -> Any:
    """A YOLO9, its weights drawn from torch's generator; `tower` is the width of its class towers, where given."""
    library()
    from libreyolo.models.yolo9.nn import YOLO9_CONFIGS, DDetect, LibreYOLO9Model

    net = LibreYOLO9Model(size, nb_classes=classes)
    if tower is not None and tower != net.head._class_hidden_channels:
        net.head.cv3 = DDetect._build_class_towers(YOLO9_CONFIGS[size]["head_channels"], tower, classes)
        net.head._init_bias()
    return net


def dfine(size: str, classes: int) -> Any:
    """A D-FINE for squares of any size, all of it to be trained, its weights drawn from torch's generator."""
    library()
    from libreyolo.models.dfine.nn import LibreDFINEModel

    net = LibreDFINEModel(size, nb_classes=classes, eval_spatial_size=None, train_from_scratch=True)
    for name in ("up", "reg_scale"):  # constants, in the library parameters that nothing trains
        value = getattr(net.decoder, name).detach()
        for module in (net.decoder, net.decoder.decoder):
            delattr(module, name)
            module.register_buffer(name, value.clone())
    return net


def dfine_criterion(classes: int) -> Any:
    """D-FINE's loss, as its trainer builds it: weighted parts by name, each divided by the number of boxes."""
    library()
    from libreyolo.models.dfine.loss import DFINECriterion
    from libreyolo.models.dfine.matcher import HungarianMatcher

    costs = {"cost_class": 2.0, "cost_bbox": 5.0, "cost_giou": 2.0}
    weights = {"loss_vfl": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0, "loss_fgl": 0.15, "loss_ddf": 1.5}
    return DFINECriterion(
        HungarianMatcher(costs, use_focal_loss=True), weights, ["vfl", "boxes", "local"], alpha=0.75, gamma=2.0,
        num_classes=classes, reg_max=32, distributed_normalize=False,
    )  # fmt: skip


def with_loss(decoder: Any) -> Any:
    """A context in which a decoder gives what its loss needs even where it is not trained."""
    from libreyolo.models.base.validation_loss import emit_loss_outputs

    return emit_loss_outputs(decoder)


def yolox_answer(
    levels: list[Tensor], floor: float, overlap: float, side: int, size: tuple[int, int], scale: float
) -> np.ndarray:
    """Detections of one picture (n, 6) from a YOLOX's maps, with sigmoids taken: see `lines`."""
    from libreyolo.postprocess.yolox import postprocess

    return lines(postprocess(levels, floor, overlap, side, size, scale))


def yolo9_answer(
    decoded: Tensor, floor: float, overlap: float, side: int, size: tuple[int, int], pad: str
) -> np.ndarray:
    """Detections of one picture (n, 6) from a YOLO9's decoded output (1, 4 + classes, places): see `lines`."""
    from libreyolo.postprocess.yolo9 import postprocess

    return lines(postprocess({"predictions": decoded}, floor, overlap, side, size, letterbox_pad=pad))


def lines(answer: Mapping[str, Any]) -> np.ndarray:
    """The library's answer as an array (n, 6): left, top, right, bottom, score, class."""
    if not answer["num_detections"]:
        return np.zeros((0, 6), np.float32)
    columns = [torch.as_tensor(answer[name]).cpu().float() for name in ("boxes", "scores", "classes")]
    return torch.cat([columns[0], columns[1][:, None], columns[2][:, None]], 1).numpy()


def yolo9_loss(
    levels: Sequence[Tensor], target: Tensor, classes: int, bins: int, strides: Sequence[int], side: int
) -> tuple[Tensor, Tensor]:
    """Its loss as a sum, and what the library divides that by: the sum of the assignment's scores, at least 1.

    `target` is (rows, boxes, 5): class, and edges as shares of the side; rows of noughts are no box.
    """
    from libreyolo.models.yolo9.loss import YOLO9Loss

    loss = YOLO9Loss(classes, bins, list(strides), [side, side], levels[0].device, distributed_normalize=False)
    divisors: list[Tensor] = []

    def undivided(scores: Tensor) -> Tensor:
        divisors.append(scores.detach().float().sum().clamp(min=1.0))
        return torch.ones((), device=scores.device)

    loss._global_cls_norm = undivided
    total = loss(list(levels), target)["total_loss"]
    return total, divisors[0]


def rebuilt(before: nn.Conv2d, rows: Sequence[int | None], bias: float) -> nn.Conv2d:
    """A last layer for other classes: the rows of those that are known are kept, the others begin at `bias`."""
    after = nn.Conv2d(before.in_channels, len(rows), 1, bias=True)
    weight, biases = after.weight.detach(), after.state_dict()["bias"]  # views of the parameters
    old, old_biases = before.weight.detach(), before.state_dict()["bias"]
    biases.fill_(bias)
    for place, number in enumerate(rows):
        if number is not None:
            weight[place].copy_(old[number])
            biases[place].copy_(old_biases[number])
    return after


def linear(before: nn.Linear, rows: Sequence[int | None], bias: float) -> nn.Linear:
    """As `rebuilt`, of a linear layer."""
    after = nn.Linear(before.in_features, len(rows))
    nn.init.constant_(after.bias, bias)
    _keep(after, before, rows)
    return after


def named(before: nn.Embedding, rows: Sequence[int | None]) -> nn.Embedding:
    """A vector for each of other classes, those that are known kept, and one for none, the last."""
    after = nn.Embedding(len(rows) + 1, before.embedding_dim, padding_idx=len(rows))
    nn.init.normal_(after.weight[:-1])
    _keep(after, before, [*rows, before.num_embeddings - 1])
    return after


def _keep(after: nn.Module, before: nn.Module, rows: Sequence[int | None]) -> None:
    old, new = before.state_dict(), after.state_dict()  # views of the parameters
    for place, number in enumerate(rows):
        for name in new if number is not None else ():
            new[name][place].copy_(old[name][number])


def same(labels: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """The number of each label among those known, whatever the case.

    >>> same(["Cat", "cow"], ["dog", "cat"])
    [1, None]
    """
    numbers = {label.lower().strip(): number for number, label in enumerate(known)}
    return [numbers.get(label.lower().strip()) for label in labels]
