"""A detector with random weights, and pictures to fit it on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from detect_kit import write_voc

LABELS = ["square", "person"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector's file of weights: random, and small pictures."""
    pytest.importorskip("libreyolo.models.yolox.nn", exc_type=ImportError)
    from safetensors.torch import save_file

    from ukulele.models import build

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    net = build({"family": "yolox", "size": "n", "labels": LABELS, "input": 64}, {}, seed=1).net
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    save_file(state, path, metadata={"labels": json.dumps(LABELS), "input": "64"})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("shapes")
    write_voc(place, {"train": 16, "val": 6, "test": 6})
    return place
