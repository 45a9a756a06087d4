"""The models that are meant by "local", a folder of weights or runs, or a list in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ukulele.errors import ModelError
from ukulele.models import hub
from ukulele.models.bundle import BUNDLE_FILE, is_bundle
from ukulele.tools.encodings import lines_of

LOCAL = "local"
RUNS = "runs"  # where finished runs lie unless told otherwise
LISTS = {".txt", ".list"}


def named_models(given: Sequence[str], modality: str) -> list[str]:
    """The names of models: as they are given, all on this machine for "local", the lines of a text file, or the
    files of weights in a folder.

    Raises
    ------
    ModelError
        If a list or folder holds no model.
    PlanError
        If a list cannot be read or decoded.
    """
    found: list[str] = []
    for name in given:
        path = Path(name).expanduser()
        if name == LOCAL:
            found += local(modality)
        elif path.suffix in LISTS and path.is_file():
            lines = [line.partition("#")[0].strip() for line in lines_of(path, "--models")]
            found += _some([line for line in lines if line], f"{path} names no model.")
        elif _is_collection(path):
            found += [str(file) for file in sorted(path.glob("*.safetensors"))] + [str(run) for run in _runs(path)]
        else:
            found.append(name)
    return list(dict.fromkeys(found))


def local(modality: str) -> list[str]:
    """Models on this machine that read such data: the embedded one, the hub's cache, files of weights here or in
    models/, and finished runs in runs/.
    """
    pictures = modality == "image"
    found = [name for name in hub.cached() if name.startswith("timm/") == pictures]
    if pictures:
        found += [str(file) for folder in (".", "models") for file in sorted(Path(folder).glob("*.safetensors"))]
    elif hub.offline_installed():
        found.insert(0, hub.OFFLINE)
    return found + [str(run) for run in _runs(Path(RUNS)) if _reads(run, modality)]


def _is_collection(path: Path) -> bool:
    """Whether a folder is no model itself but holds some."""
    if not path.is_dir() or is_bundle(path) or (path / "config.json").is_file():
        return False
    return any(path.glob("*.safetensors")) or any(_runs(path))


def _runs(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("*")) if path.is_dir() and is_bundle(path))


def _reads(run: Path, modality: str) -> bool:
    """Whether a run's model was made for such data; two texts can be read by a model for one, and the other way."""
    file = next(f for f in (run / BUNDLE_FILE, run / "bundle" / BUNDLE_FILE) if f.is_file())
    try:
        theirs = json.loads(file.read_text("utf-8"))["about"]["modality"]
    except (ValueError, KeyError, OSError):
        return False
    return bool((theirs == "image") == (modality == "image"))


def _some(found: list[str], message: str) -> list[str]:
    if not found:
        raise ModelError(message, hint="One model a line, as --model takes them; # begins a remark.")
    return found
