"""What a cached block is a function of, as a name for its file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import nn

from ukulele.types import Dataset, Model, Row

LIBRARIES = ("ukulele", "torch", "transformers", "timm", "tokenizers", "pillow", "torchvision")
WAY = 4  # of computing frozen stages: one more where it comes to other bits than before, in one version of the package


def model_key(model: Model, cut: int, dtype: str, device: str) -> str:
    """A hash of all that determines the values at a cut but the rows: weights below it as they are now,
    preprocessing, library versions, and the arithmetic: dtype, type of device, instructions, way of attention, threads.
    """
    digest = xxhash.xxh3_128()
    libraries = [f"{name} {_version(name)}" for name in LIBRARIES]
    facts = [model.recipe, cut, libraries, [dtype, *_arithmetic(model, device)] if cut else "exact"]
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, content in sorted(model.assets.items()):
        digest.update(name.encode())
        digest.update(content)
    for stage in model.stages[:cut]:
        digest.update(stage.name.encode())
        update(digest, stage.module)
    return digest.hexdigest()


def _arithmetic(model: Model, device: str) -> list[Any]:
    attention = getattr(getattr(model.net, "config", None), "_attn_implementation", None)
    capability = torch.backends.cpu.get_cpu_capability()
    return [device.partition(":")[0], capability, attention, torch.get_num_threads(), WAY]


def weights_hash(module: nn.Module) -> str:
    """A hash of a module's parameters and buffers."""
    digest = xxhash.xxh3_128()
    update(digest, module)
    return digest.hexdigest()


def update(digest: Any, module: nn.Module) -> None:
    """Feed a module's parameters and buffers to a hash."""
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def rows_key(rows: Iterable[Row], draws: Sequence[int]) -> str:
    """A hash of the raw inputs of some rows. A file counts as its path, size and time of change."""
    digest = xxhash.xxh3_128()
    for row, draw in zip(rows, draws, strict=True):
        for value in row.inputs:
            _add(digest, _place(value) if isinstance(value, Path) else _content(value))
        digest.update(draw.to_bytes(8, "little"))
    return digest.hexdigest()


def data_key(dataset: Dataset) -> str:
    """A hash of a data set: inputs and targets of every row of every split.

    A file counts as its name, that of its folder, and its size: a run can go on where the data were copied to.
    """
    digest = xxhash.xxh3_128()
    for split, rows in dataset.splits.items():
        digest.update(split.encode())
        for row in rows:
            for value in row.inputs:
                _add(digest, _name(value) if isinstance(value, Path) else _content(value))
            digest.update(repr(sorted(row.targets.items())).encode())
    return digest.hexdigest()


def _add(digest: Any, content: bytes) -> None:
    digest.update(len(content).to_bytes(8, "little"))
    digest.update(content)


def _content(value: Any) -> bytes:
    match value:
        case str():
            return b"s" + value.encode("utf-8", "surrogatepass")
        case bytes():
            return b"b" + value
        case _:
            return bytes(b"i" + repr(value.size).encode() + value.mode.encode() + value.tobytes())


def _place(path: Path) -> bytes:
    facts = path.stat()
    return f"p{path.resolve()} {facts.st_size} {facts.st_mtime_ns}".encode()


def _name(path: Path) -> bytes:
    return f"n{path.parent.name}/{path.name} {path.stat().st_size}".encode()


def draw(seed: int, row: int, view: int) -> int:
    """The augmentation of a row in a view: 0, the plain one, in view 0; else a hash in 1 … 2**62."""
    if view == 0:
        return 0
    return xxhash.xxh3_64_intdigest(f"{seed} {row} {view}".encode()) % (1 << 62) + 1


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"
