"""A detector's raw answers are those of an ONNX file that is made of the same weights."""

from pathlib import Path

import pytest
import torch
from detect_kit import drawn
from torch import nn

from ukulele.models import build, load
from ukulele.tools.collate import collate
from ukulele.types import Request

pytest.importorskip("libreyolo.models.yolox.nn", reason="detection needs libreyolo", exc_type=ImportError)
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

SHARED = Path(__file__).resolve().parents[3] / "shared"
LABELS = ["person", "square", "disc"]


class Whole(nn.Module):
    """The library's own network, fed as it wants to be: what others export."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, pixels):
        answer = self.net(pixels)
        if isinstance(answer, (list, tuple)):
            return tuple(answer)
        return (
            tuple(answer["raw_outputs"]) if "raw_outputs" in answer else (answer["pred_logits"], answer["pred_boxes"])
        )


def levels_of(model, live):
    """Our raw answers, in the library's form."""
    found = model.heads["detect"](model.recipe["labels"]).eval()(model.run(live))
    if model.recipe["family"] == "yolo9":
        return found
    if model.recipe["family"] == "dfine":
        return [found["pred_logits"], found["pred_boxes"]]
    return [torch.cat([level[:, :4], level[:, 4:].sigmoid()], 1) for level in found]


def exported(model, pixels, path):
    """What onnxruntime answers to the pixels, from the network exported by torch."""
    torch.onnx.export(Whole(model.net).eval(), (pixels,), str(path), dynamo=True, external_data=False, verbose=False)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels.numpy()})


def compare(model, picture, path):
    for stage in model.stages:
        stage.module.eval()
    live = collate(model.encode([(picture,)], [0]), model.inputs)
    given = live["image"].float()
    given = given.flip(1) if model.recipe["family"] == "yolox" else given / 255
    with torch.inference_mode():
        ours = levels_of(model, live)
    theirs = exported(model, given.contiguous(), path)
    assert len(ours) == len(theirs) == (2 if model.recipe["family"] == "dfine" else 3)
    for level, answer in zip(ours, theirs, strict=True):
        torch.testing.assert_close(level, torch.from_numpy(answer), rtol=1e-3, atol=1e-3)
    return ours


@pytest.mark.slow
@pytest.mark.parametrize(("family", "size"), [("yolox", "n"), ("yolo9", "t"), ("dfine", "n")])
def test_raw_answers_are_those_of_the_exported_network(family, size, tmp_path):
    model = build({"family": family, "size": size, "labels": LABELS, "input": 96}, {}, seed=1)
    compare(model, drawn(0)[0], tmp_path / "net.onnx")


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real data is not beside the checkout")
def test_raw_answers_of_real_weights_on_a_photograph(tmp_path):
    model = load(Request(str(SHARED / "weights" / "yolox_nano_coco.safetensors")), "image")
    picture = sorted((SHARED / "data" / "coco128" / "images").rglob("*.jpg"))[0]
    ours = compare(model, picture, tmp_path / "net.onnx")
    assert max(float((level[:, 4:5] * level[:, 5:]).max()) for level in ours) > 0.5  # it does see something
