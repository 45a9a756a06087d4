"""A real detector learns other objects, and says the same of them during the run and from its bundle."""

import json
from pathlib import Path

import pytest
from detect_kit import write_voc
from safetensors.torch import load_file, save_file

from ukulele.cli import answer

pytest.importorskip("libreyolo.models.yolox.nn", reason="detection needs libreyolo", exc_type=ImportError)

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "weights" / "yolox_nano_coco.safetensors"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.slow,
    pytest.mark.skipif(not WEIGHTS.is_file(), reason="the folder of real weights is not beside the checkout"),
]


def test_squares_and_discs_are_found_by_what_coco_taught(tmp_path, capsys):
    weights, run = tmp_path / "nano.safetensors", tmp_path / "run"
    save_file(load_file(WEIGHTS), weights, metadata={"input": "128"})  # small pictures, to be quick
    write_voc(tmp_path / "shapes", {"train": 96, "val": 12, "test": 24})
    common = ["--cache", str(tmp_path / "c"), "--epochs", "5", "--views", "1", "--quiet", "--controls", "none"]
    source = str(tmp_path / "shapes")
    assert answer(["fit", source, "--model", str(weights), "--strategy", "finetune", *common, "--out", str(run)]) == 0
    record = json.loads((run / "record.json").read_text())
    assert record["test"]["map50"]["value"] > 0.8
    capsys.readouterr()
    assert answer(["evaluate", str(run), source, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["test"]
    for metric, estimate in record["test"].items():
        assert told[metric]["value"] == pytest.approx(estimate["value"], abs=1e-4), metric
