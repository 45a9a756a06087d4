"""Files that are whole or absent, and trees of tensors in one file without pickle."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ukulele.errors import StorageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # more space helps


def write_atomic(path: Path, content: bytes | str, option: str = "--out") -> None:
    """Write a file so that a crash or a full disk leaves the old one or the new one, never a part."""
    data = content.encode() if isinstance(content, str) else content
    replace_atomic(path, lambda part: part.write_bytes(data), option)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], option: str = "--out") -> None:
    """Write a table as CSV, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomic(path, text.getvalue(), option)


def replace_atomic(path: Path, write: Callable[[Path], Any], option: str = "--out") -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place.

    `option` is the one of the command line that chooses the place, for the error.

    Raises
    ------
    StorageError
        If the disk is full or the folder cannot be written to; `path` is then as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    except OSError as error:
        raise disk_error(path, error, option) from error
    part = Path(name)
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        raise disk_error(path, error, option) from error
    finally:
        part.unlink(missing_ok=True)


def disk_error(path: Path, error: OSError, option: str = "--out") -> StorageError:
    """The operating system's refusal in our words; `option` is the one that chooses the place."""
    full = _number(error) in FULL
    way = f"Free some space (`uke cache --clear` empties the feature cache) or choose another place with {option}."
    return StorageError(
        f"cannot write {path}: {error.strerror or error}.",
        hint=way if full else f"Choose a place that can be written to with {option}.",
    )


def _number(error: OSError) -> int | None:
    """The system's number of an error; safetensors has it in its words alone."""
    said = re.search(r"os error (\d+)", str(error))
    return int(said[1]) if error.errno is None and said else error.errno


def write_json(path: Path, value: Any, option: str = "--out") -> None:
    """Plain data as readable JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=False) + "\n", option)


def save_tree(path: Path, tree: Mapping[str, Any]) -> None:
    """A nested dict of tensors, numbers, strings, lists and None as one safetensors file, atomically."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    skeleton = json.dumps(_strip(tree, tensors))

    def write(part: Path) -> None:
        try:
            save_file(tensors, part, metadata={"tree": skeleton})
        except SafetensorError as error:  # it reports a full disk as its own error
            raise OSError(str(error)) from error

    replace_atomic(path, write)


def load_tree(path: Path) -> dict[str, Any]:
    """What `save_tree` saved.

    Raises
    ------
    OSError, ValueError
        If the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            skeleton = json.loads(file.metadata()["tree"])
            tree = _fill(skeleton, file.get_tensor)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return dict(tree)


def _strip(value: Any, tensors: dict[str, Any]) -> Any:
    import torch

    match value:
        case torch.Tensor():
            tensors[str(len(tensors))] = value.detach().cpu().contiguous().clone()
            return {"$t": str(len(tensors) - 1)}
        case Mapping():
            return {"$d": [[key, _strip(item, tensors)] for key, item in value.items()]}
        case list() | tuple():
            return [_strip(item, tensors) for item in value]
        case _:
            return value


def _fill(value: Any, get: Callable[[str], Any]) -> Any:
    match value:
        case {"$t": name}:
            return get(name)
        case {"$d": items}:
            return {key: _fill(item, get) for key, item in items}
        case list():
            return [_fill(item, get) for item in value]
        case _:
            return value
