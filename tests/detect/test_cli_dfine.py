"""The family without suppression, from a file of torch's to a detector, and from there to the next."""

import json

import pytest
import torch
from detect_kit import write_voc
from safetensors.torch import load_file

from ukulele.models import build

pytest.importorskip("libreyolo.models.yolox.nn", reason="detection needs libreyolo", exc_type=ImportError)

LABELS = ["square", "person"]


@pytest.fixture
def weights(tmp_path):
    """A file with the names that the family's files have."""
    net = build({"family": "dfine", "size": "n", "labels": LABELS, "input": 64}, {}, seed=1).net
    state = {
        name.replace("head.", "decoder.", 1) if name.startswith("head.") else name: value
        for name, value in net.state_dict().items()
    }
    torch.save({"model": state, "names": LABELS, "imgsz": 64}, tmp_path / "tiny.pt")
    return tmp_path / "tiny.pt"


def test_from_a_file_of_torch_to_a_detector_and_the_next(uke, tmp_path, weights):
    write_voc(tmp_path / "shapes", {"train": 12, "val": 4, "test": 4})
    common = ["--cache", tmp_path / "c", "--epochs", 2, "--batch", 6, "--controls", "none"]
    first = tmp_path / "first"
    fit = uke("fit", tmp_path / "shapes", "--model", weights, *common, "--freeze", "backbone", "--out", first)
    assert fit.code == 0, fit.err
    record = json.loads((first / "record.json").read_text())
    assert record["model"]["stages"] == ["stem", "stage1", "stage2", "stage3", "stage4", "neck"]
    assert record["plan"]["cut"] == "neck"
    assert record["plan"]["phases"][0]["groups"][0]["rate"] == pytest.approx(2e-4)
    before, after = torch.load(weights, weights_only=True)["model"], load_file(first / "bundle" / "weights.safetensors")
    low = [name for name in before if name.startswith("backbone.")]
    assert len(low) > 100
    assert all(torch.equal(before[name], after[f"net.{name}"]) for name in low)
    assert not torch.equal(before["encoder.input_proj.0.conv.weight"], after["net.encoder.input_proj.0.conv.weight"])
    refused = uke("predict", first, tmp_path / "shapes" / "JPEGImages", "--iou", 0.5)
    assert refused.code == 2
    assert "--iou" in refused.err
    again = uke("evaluate", first, tmp_path / "shapes", "--json")
    told = json.loads(again.out)["test"]["map50"]["value"]
    assert told == pytest.approx(record["test"]["map50"]["value"], abs=1e-4)
    whole = uke(
        "fit", tmp_path / "shapes", "--model", first, *common, "--strategy", "full", "--out", tmp_path / "second"
    )
    assert whole.code == 0, whole.err
    assert json.loads((tmp_path / "second" / "record.json").read_text())["model"]["name"]


def test_two_runs_end_the_same_to_the_bit(uke, tmp_path, weights):
    """Denoising draws from torch's generator, which the loop seeds."""
    write_voc(tmp_path / "shapes", {"train": 8, "val": 4, "test": 4})
    common = ["--model", weights, "--epochs", 2, "--batch", 4, "--controls", "none", "--strategy", "finetune"]
    ends = []
    for name in ("one", "two"):
        run = tmp_path / name
        fit = uke("fit", tmp_path / "shapes", *common, "--cache", tmp_path / f"c-{name}", "--out", run)
        assert fit.code == 0, fit.err
        ends.append(load_file(run / "bundle" / "weights.safetensors"))
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
