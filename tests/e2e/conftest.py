"""Tiny models and data, and a finished run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_kit import picture, rows_of, write_csv


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the cache of commands in processes of their own."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def bert(encoder_folder: Callable[..., Path]) -> Path:
    """A BERT of two layers with random weights."""
    return encoder_folder("bert")


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MobileNet with random weights for pictures of 32 pixels, as one file."""
    from safetensors.torch import save_file

    from ukulele.models import images
    from ukulele.types import Request

    path = tmp_path_factory.mktemp("models") / "tinynet.safetensors"
    net = images.load(Request("mobilenetv2_035", pretrained=False)).net
    told = {"architecture": "mobilenetv2_035", "input": "32", "mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5"}
    told |= {"source_task": "none", "licence": "CC0-1.0"}
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path, metadata=told)
    return path


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small files, one for each kind of task."""
    folder = tmp_path_factory.mktemp("tables")
    rows = rows_of(90)
    write_csv(folder / "reviews.csv", rows, ["text", "label", "shop", "day"])
    write_csv(folder / "marks.csv", rows, ["text", "marks"])
    write_csv(folder / "flags.csv", rows, ["text", "is_good", "is_loud"])
    write_csv(folder / "scores.csv", rows, ["text", "score"])
    write_csv(folder / "pairs.csv", rows, ["first", "second", "label"])
    write_csv(folder / "new.csv", rows_of(12, 1), ["text"])
    write_csv(folder / "test.csv", rows_of(40, 2), ["text", "label", "shop"])
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small pictures, a folder a class."""
    folder = tmp_path_factory.mktemp("pictures") / "colours"
    for label in ("blue", "red"):
        (folder / label).mkdir(parents=True)
        for number in range(24):
            picture(number + 100 * (label == "red"), label == "red").save(folder / label / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory, tables: Path, bert: Path) -> Path:
    """A finished run on the reviews."""
    import ukulele

    out = tmp_path_factory.mktemp("runs") / "reviews"
    cache = str(tmp_path_factory.mktemp("cache"))
    return ukulele.fit(tables / "reviews.csv", model=str(bert), strategy="probe", out=out, cache=cache).path
