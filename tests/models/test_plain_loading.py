"""An encoder whose file names its weights as the library does is read without it, and is the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ukulele import models
from ukulele.models import hub
from ukulele.types import Model, Request

Folder = Callable[..., Path]


def loaded(folder: Path, monkeypatch: pytest.MonkeyPatch, *, allowed: bool = True) -> tuple[Model, bool]:
    """The model, and whether the library's own way was left out."""
    from transformers import AutoModel

    asked: list[object] = []
    real = AutoModel.from_pretrained
    with monkeypatch.context() as patch:
        patch.setattr(AutoModel, "from_pretrained", lambda *a, **k: asked.append(a) or real(*a, **k))
        if not allowed:
            patch.setattr(hub, "_plainly", lambda *_: None)
        return models.load(Request(str(folder)), "text"), not asked


def changed(folder: Path, to: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Path:
    """A copy of the folder with other weights in its file."""
    shutil.copytree(folder, to)
    file = to / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})
    return to


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert"])
def test_it_is_the_very_model_that_the_library_loads(
    kind: str, encoder_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = encoder_folder(kind)
    ours, plainly = loaded(folder, monkeypatch)
    theirs, without = loaded(folder, monkeypatch, allowed=False)
    assert plainly
    assert not without
    mine, other = ({**dict(m.net.named_parameters()), **dict(m.net.named_buffers())} for m in (ours, theirs))
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) and mine[name].dtype == other[name].dtype for name in mine)
    assert all(mine[name].requires_grad == other[name].requires_grad for name in mine)
    assert not any(part.training for part in ours.net.modules())
    assert ours.recipe == theirs.recipe


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: {f"bert.{name}": value for name, value in kept.items()},
        lambda kept: {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in kept.items()},
        lambda kept: {name: value.half() if value.is_floating_point() else value for name, value in kept.items()},
    ],
    ids=["under another name", "older names", "half precision"],
)
def test_other_files_are_left_to_the_library(
    change: Callable[..., dict[str, torch.Tensor]],
    encoder_folder: Folder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = encoder_folder("bert")
    before, _ = loaded(folder, monkeypatch)
    after, plainly = loaded(changed(folder, tmp_path / "copy", change), monkeypatch)
    assert not plainly
    for name, value in before.net.state_dict().items():
        torch.testing.assert_close(after.net.state_dict()[name], value, atol=1e-3, rtol=1e-3)
