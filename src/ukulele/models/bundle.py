"""A bundle: a folder of safetensors and JSON that holds a trained model whole. Loading runs no pickle,
no remote code, no network.

    bundle.json          format, recipe, card, what it was trained for, SHA-256 of every other file and of itself,
                         and which tensors are one with another, where some are
    weights.safetensors  the network's and the heads' tensors
    assets/              what the recipe needs: the tokenizer
    golden.json          raw inputs and the answers expected for them
    statistics.json      what rows of training look like, and what calibrates prediction sets; with .safetensors
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ukulele import __version__
from ukulele.errors import RunError
from ukulele.tools.files import disk_error, write_atomic, write_json
from ukulele.types import Card, Model

BUNDLE_FILE = "bundle.json"
FORMAT = 1
WEIGHTS = "weights.safetensors"
KEPT, ARRAYS = "statistics.json", "statistics.safetensors"
GROUPS = "groups.json"  # in a folder of several bundles: which tasks each answers
AGAIN = "Copy the bundle again from where it came, or repeat the run (`uke fit … --resume RUN`)."
Build = Callable[[Mapping[str, Any], Mapping[str, bytes]], Model]


@dataclass(frozen=True)
class Kept:
    """What a bundle keeps beside the model: plain numbers by name, and arrays by name."""

    plain: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """What a bundle's folder holds: the model with its weights, the heads' tensors by task, and plain facts."""

    model: Model
    heads: Mapping[str, Mapping[str, Tensor]]
    about: Mapping[str, Any]
    golden: Mapping[str, Any]
    kept: Kept = field(default_factory=Kept)


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle, or a run folder that holds one."""
    return (path / BUNDLE_FILE).is_file() or (path / "bundle" / BUNDLE_FILE).is_file()


def about(path: Path) -> dict[str, Any]:
    """What a bundle says of itself, and its model's recipe; nothing where it cannot be read, which loading tells."""
    try:
        facts = _facts(path if (path / BUNDLE_FILE).is_file() else path / "bundle")
        return {**facts["about"], "recipe": facts["recipe"]}
    except (RunError, KeyError):
        return {}


def write_bundle(
    folder: Path,
    model: Model,
    heads: Mapping[str, nn.Module],
    about: Mapping[str, Any],
    golden: Mapping[str, Any],
    kept: Kept | None = None,
) -> None:
    """Write a bundle beside its place and then put it there, so that it is whole or absent."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        (part / "assets").mkdir(parents=True)
        tensors = {f"net.{name}": value for name, value in model.net.state_dict().items()}
        for task, head in heads.items():
            tensors |= {f"head.{task}.{name}": value for name, value in head.state_dict().items()}
        tied = _tied(tensors)
        save_file(_apart({name: value for name, value in tensors.items() if name not in tied}), part / WEIGHTS)
        for name, content in model.assets.items():
            write_atomic(part / "assets" / name, content)
        write_json(part / "golden.json", golden)
        if kept is not None and kept.plain:
            write_json(part / KEPT, kept.plain)
        if kept is not None and kept.arrays:
            save_file(_apart(kept.arrays), part / ARRAYS)
        card = {"card": asdict(model.card), "name": model.name}
        files = {str(path.relative_to(part)): _sha256(path) for path in sorted(part.rglob("*")) if path.is_file()}
        facts = {
            "format": FORMAT,
            "ukulele": __version__,
            "recipe": model.recipe,
            **card,
            "about": about,
            "files": files,
            **({"tied": tied} if tied else {}),
        }
        facts = json.loads(json.dumps(facts))  # as it will be read
        write_json(part / BUNDLE_FILE, {**facts, "sha256": _own_sha256(facts)})
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except SafetensorError as error:
        raise disk_error(folder, OSError(str(error))) from error
    except OSError as error:
        raise disk_error(folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def read_bundle(path: Path, build: Build) -> Bundle:
    """Read a bundle, or the one in a run folder.

    Raises
    ------
    RunError
        If it is missing, damaged, or was written by a newer version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = path if (path / BUNDLE_FILE).is_file() else path / "bundle"
    facts = _facts(folder)
    for name, expected in facts["files"].items():
        file = folder / name
        if not file.is_file() or _sha256(file) != expected:
            damaged = f"damaged: its SHA-256 is not the one in {BUNDLE_FILE}"
            raise RunError(
                f"{file} is {damaged if file.is_file() else f'missing: {BUNDLE_FILE} names it'}.", hint=AGAIN
            )
    assets = {Path(name).name: (folder / name).read_bytes() for name in facts["files"] if name.startswith("assets/")}
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{folder / WEIGHTS} cannot be read: {error}") from error
    tensors |= {name: tensors[first] for name, first in facts.get("tied", {}).items() if first in tensors}
    model = build(facts["recipe"], assets)
    try:
        model.net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
    except RuntimeError as error:
        raise RunError(
            f"{folder / WEIGHTS} does not fit the network that {BUNDLE_FILE} describes: {error}",
            hint="It may have been made with other versions of torch, transformers or timm than those installed here.",
        ) from error
    heads: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("head."):
            task = max((t for t in facts["about"]["tasks"] if name.startswith(f"head.{t}.")), key=len)
            heads.setdefault(task, {})[name.removeprefix(f"head.{task}.")] = value
    card = Card(**{**facts["card"], "parents": tuple(facts["card"]["parents"])})
    golden = json.loads((folder / "golden.json").read_text("utf-8"))
    plain = json.loads((folder / KEPT).read_text("utf-8")) if KEPT in facts["files"] else {}
    arrays = load_file(folder / ARRAYS) if ARRAYS in facts["files"] else {}
    return Bundle(_named(model, facts["name"], card), heads, facts["about"], golden, Kept(plain, arrays))


def read_statistics(path: Path) -> tuple[Kept, str]:
    """What a bundle keeps of the rows that it was trained on, and what those were.

    It is empty where that is nothing, or is of features that are gathered from several stages for its head alone.
    """
    from safetensors.torch import load_file

    folder = path if (path / BUNDLE_FILE).is_file() else path / "bundle"
    facts = _facts(folder)
    there = set() if facts["recipe"].get("gather") else set(facts["files"])
    plain = json.loads((folder / KEPT).read_text("utf-8")) if KEPT in there else {}
    arrays = load_file(folder / ARRAYS) if ARRAYS in there else {}
    return Kept(plain, arrays), str(facts["about"].get("trained_on", "rows that it does not name"))


def _named(model: Model, name: str, card: Card) -> Model:
    from dataclasses import replace

    return replace(model, name=name, card=card)


def _facts(folder: Path) -> dict[str, Any]:
    file = folder / BUNDLE_FILE
    try:
        facts = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise RunError(
            f"{folder} holds no model: {BUNDLE_FILE} is missing.", hint="Name a run's folder or its bundle."
        ) from error
    except (ValueError, OSError) as error:
        raise RunError(f"{file} is damaged: {error}") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise RunError(f"{file} is damaged: it does not describe a bundle.")
    if facts["format"] > FORMAT:
        raise RunError(
            f"{file} was written by ukulele {facts.get('ukulele')} in format {facts['format']}; "
            f"this is {__version__}, which reads formats up to {FORMAT}.",
            hint="pip install --upgrade ukulele",
        )
    if _own_sha256(facts) != facts.get("sha256"):
        raise RunError(f"{file} is damaged: its SHA-256 is not the one it names.", hint=AGAIN)
    return facts


def _own_sha256(facts: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in facts.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _tied(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Tensors that are one with another, which is written down in their place, by name."""
    first: dict[tuple[Any, ...], str] = {}
    found: dict[str, str] = {}
    for name, value in tensors.items():
        if not value.numel():
            continue
        known = first.setdefault((value.data_ptr(), tuple(value.shape), value.stride(), value.dtype), name)
        if known != name:
            found[name] = known
    return found


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share no storage, as safetensors wants them."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill(head: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put a bundle's tensors into a fresh head."""
    with torch.no_grad():
        head.load_state_dict(dict(tensors))
