"""Data sets of the Hugging Face library `datasets`: saved folders, hub ids and objects."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ukulele.data.columnar import at_once, read_arrow
from ukulele.data.reader import Reader
from ukulele.errors import DataError, MissingExtraError
from ukulele.tools.network import online, silent

Readers = tuple[dict[str, Reader], list[str]]


def load_saved(path: Path) -> Readers:
    """A folder written by `save_to_disk`."""
    library = _library(f"{path}, a saved data set,")
    try:
        return readers_of(library.load_from_disk(str(path)))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a saved data set that can be read ({error}).") from error


def load_hub(name: str, nearby: str = "") -> Readers:
    """A data set of the hub by its id; from the local cache alone where the hub cannot be reached.

    `nearby` says what lies where a path of that name would.

    Raises
    ------
    DataError
        If there is no such data set, or it cannot be reached.
    """
    missing = f"{name}: no such file or folder here"
    library = _library(f"{missing}; to look for it on the Hugging Face hub")
    if not online() and not _is_cached(library, name):
        raise DataError(
            f"{missing}, and the Hugging Face hub cannot be reached.",
            hint=f"{nearby} For a data set of the hub, load it where there is network and use `save_to_disk`.".strip(),
        )
    try:
        with silent("huggingface_hub", "datasets"):
            return readers_of(library.load_dataset(name))
    except Exception as error:  # the library lets through errors of the network, of the hub and of every format
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{missing}, and it cannot be read from the Hugging Face hub ({first}).",
            hint=f"{nearby} Or check the network, or load the data set elsewhere and use `save_to_disk`.".strip(),
        ) from error


def _is_cached(library: Any, name: str) -> bool:
    """Whether the library was given this data set before: it keeps a folder for each."""
    from datasets.naming import camelcase_to_snakecase

    *owner, last = name.split("/")
    folder = "___".join([*owner, camelcase_to_snakecase(last)])
    return (Path(library.config.HF_DATASETS_CACHE) / folder).is_dir()


def readers_of(data: Any) -> Readers:
    """A Dataset or DatasetDict as readers by split, and fingerprints of the content."""
    splits = dict(data.items()) if isinstance(data, dict) else {str(data.split or "data"): data}
    return {name: _reader(split) for name, split in splits.items()}, [split._fingerprint for split in splits.values()]


def _reader(data: Any) -> Reader:
    library = _library("this data set")
    classes: dict[str, list[str]] = {}
    for name, feature in data.features.items():
        inner = getattr(feature, "feature", feature)
        if isinstance(inner, library.ClassLabel):
            classes[name] = list(inner.names)
        if isinstance(feature, library.Image):
            data = data.cast_column(name, library.Image(decode=False))
    arrow = data.with_format("arrow")
    return read_arrow(arrow.features.arrow_schema, partial(_batches, arrow), classes)


def _batches(data: Any) -> Any:
    for table in data.iter(batch_size=at_once(data.data.nbytes, data.data.num_rows)):
        yield from table.combine_chunks().to_batches()


def _library(what: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(what, "hub") from error
    return datasets
