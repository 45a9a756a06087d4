"""The second family from a file of torch's to a detector, and from there to the next."""

import json

import pytest
import torch
from detect_kit import write_voc
from safetensors.torch import load_file

from ukulele.cli import answer
from ukulele.models import build, load
from ukulele.types import Request

pytest.importorskip("libreyolo.models.yolox.nn", reason="detection needs libreyolo", exc_type=ImportError)

LABELS = ["square", *(f"thing {number}" for number in range(79))]  # as many as COCO's: the towers are as wide


def test_a_file_of_torch_becomes_a_detector_and_that_the_next_ones_start(tmp_path, capsys):
    write_voc(tmp_path / "shapes", {"train": 12, "val": 4, "test": 4})
    weights = tmp_path / "tiny.pt"
    net = build({"family": "yolo9", "size": "t", "labels": LABELS, "input": 64}, {}, seed=1).net
    torch.save({"model": net.state_dict(), "names": LABELS, "imgsz": 64}, weights)
    common = ["--cache", str(tmp_path / "c"), "--epochs", "2", "--batch", "6", "--quiet", "--controls", "none"]
    first, second = tmp_path / "first", tmp_path / "second"
    source = [str(tmp_path / "shapes")]
    assert answer(["fit", *source, "--model", str(weights), *common, "--freeze", "b4", "--out", str(first)]) == 0
    record = json.loads((first / "record.json").read_text())
    assert record["plan"]["cut"] == "b5"
    assert record["model"]["stages"] == ["stem", "b3", "b4", "b5", "neck"]
    before, after = net.state_dict(), load_file(first / "bundle" / "weights.safetensors")
    low = [name for name in before if name.startswith(("backbone.conv", "backbone.elan1", "backbone.elan3"))]
    assert len(low) > 50
    assert all(torch.equal(before[name], after[f"net.{name}"]) for name in low)
    assert not torch.equal(before["backbone.elan4.cv1.conv.weight"], after["net.backbone.elan4.cv1.conv.weight"])
    capsys.readouterr()
    assert answer(["evaluate", str(first), *source, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["test"]["map50"]["value"] == pytest.approx(record["test"]["map50"]["value"], abs=1e-4)
    assert answer(["evaluate", str(weights), *source, "--json"]) == 0
    assert "does not know, left out: disc" in capsys.readouterr().err
    model = load(Request(str(first)), "image")
    assert model.recipe["labels"] == ["disc", "square"]
    assert model.recipe["tower"] == 80
    assert answer(["fit", *source, "--model", str(first), *common, "--freeze", "all", "--out", str(second)]) == 0
    assert answer(["evaluate", str(second), *source, "--json"]) == 0
