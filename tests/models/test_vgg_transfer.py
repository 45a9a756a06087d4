"""A VGG-type classifier goes from one task to another by its final layers: all below them stays, to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ukulele.cli import answer
from ukulele.models import images
from ukulele.models.bundle import write_bundle

RECIPE = {
    "family": "timm", "architecture": "vgg11_bn", "args": {"mlp_ratio": 0.02}, "size": [64, 64], "mean": [0.5] * 3,
    "std": [0.5] * 3, "crop_pct": 1.0, "interpolation": "bilinear", "crop_mode": "center",
}  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model for another task: small final layers, statistics as after training."""
    model = images.build(RECIPE, {}, seed=1)
    for module in model.net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.5)
    about = {"modality": "image", "columns": ["path"], "tasks": {}, "trained_on": "another task"}
    write_bundle(tmp_path / "source", model, {}, about, {"inputs": [], "answers": []})
    return tmp_path / "source"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three splits of red and blue pictures."""
    random = np.random.default_rng(0)
    for split, count in {"train": 6, "val": 3, "test": 3}.items():
        for label, channel in {"red": 0, "blue": 2}.items():
            folder = tmp_path / "pictures" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 120, (48, 48, 3))
                pixels[..., channel] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{split}{number}.png")
    return tmp_path / "pictures"


@pytest.mark.slow
def test_only_the_final_layers_change(source: Path, pictures: Path, tmp_path: Path) -> None:
    names = [stage.name for stage in images.build(RECIPE, {}).stages]
    last = names[-2]  # of the convolutions
    run = tmp_path / "run"
    args = ["--model", str(source), "--strategy", "finetune", "--freeze", last, "--epochs", "2", "--controls", "none"]
    assert answer(["fit", str(pictures), *args, "--cache", str(tmp_path / "c"), "--out", str(run), "--quiet"]) == 0
    before, after = load_file(source / "weights.safetensors"), load_file(run / "bundle" / "weights.safetensors")
    lower = [name for name in before if name.startswith("net.features.")]
    upper = [name for name in before if name.startswith("net.pre_logits.") and name.endswith("weight")]
    assert len(lower) > 30
    for name in lower:
        assert torch.equal(before[name], after[name]), name
    assert any(not torch.equal(before[name], after[name]) for name in upper)
    record = json.loads((run / "record.json").read_text())
    assert record["plan"]["cut"] == names[-1]
    assert record["plan"]["frozen_stages"] == len(names) - 1
