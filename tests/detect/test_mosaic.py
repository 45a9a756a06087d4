"""Four pictures in one: every box that is taught lies on what it was drawn around."""

import json

import numpy as np
import pytest
import torch
from detect_kit import drawn

from ukulele.models import letterbox
from ukulele.models.mosaic import mosaic
from ukulele.tools.collate import collate
from ukulele.types import Field

SIDE = 96
INPUTS = {"image": Field(), "geometry": Field()}
BOXES = {"boxes": Field("box"), "classes": Field("box")}


def batch(count=6, draws=None):
    """Pictures with one grey value each where their boxes are, on black."""
    pictures, targets = [], []
    for number in range(count):
        _, boxes = drawn(number)
        pixels = np.zeros((64, 96, 3), np.uint8)
        for box in boxes:
            left, top, right, bottom = (round(edge) for edge in box[1:5])
            pixels[top:bottom, left:right] = 40 * (number + 1)
        from PIL import Image

        pictures.append((Image.fromarray(pixels),))
        corners = torch.tensor([[float(edge) for edge in box[1:5]] for box in boxes])
        targets.append({"boxes": corners, "classes": torch.full((len(boxes),), number)})
    rows = letterbox.encode(pictures, draws or [0] * count, SIDE)
    return collate(rows, INPUTS), {"objects": collate(targets, BOXES)}


def taught(live, targets):
    return letterbox.in_view(targets["objects"], live["geometry"], SIDE)


@pytest.mark.parametrize("draws", [None, [1, 2, 3, 4, 5, 6]], ids=["plain", "augmented"])
def test_boxes_lie_where_their_pixels_are(draws):
    live, targets = batch(draws=draws)
    made, found = mosaic(live, targets, 1.0, np.random.default_rng(0))
    assert made["image"].shape == live["image"].shape
    assert made["image"].dtype == torch.uint8
    classes, boxes, there = taught(made, found)
    before = int(taught(live, targets)[2].sum())
    assert before < int(there.sum()) <= 4 * before, "each picture is in four others, but for what is too small there"
    for picture, kinds, edges, count in zip(made["image"], classes, boxes, there, strict=True):
        for kind, (left, top, right, bottom) in zip(kinds[count], edges[count].round().long().tolist(), strict=True):
            inside = picture[:, top + 1 : bottom - 1, left + 1 : right - 1].float()
            if not draws and inside.numel():  # colours change where pictures are augmented
                assert float(inside.median()) == pytest.approx(40 * (int(kind) + 1), abs=6)
            elif inside.numel():
                assert float(inside.median()) > 5


def test_each_row_keeps_a_part_of_itself():
    live, targets = batch()
    made, found = mosaic(live, targets, 1.0, np.random.default_rng(0))
    classes, _, there = taught(made, found)
    assert all(row in classes[row][there[row]] for row in range(6))


def test_a_share_is_put_together_and_the_others_stay_as_they_are():
    live, targets = batch()
    made, found = mosaic(live, targets, 0.5, np.random.default_rng(3))
    same = (made["image"] == live["image"]).flatten(1).all(1)
    assert 0 < int(same.sum()) < 6
    for ours, theirs in zip(taught(made, found), taught(live, targets), strict=True):
        wide = torch.zeros_like(ours)
        wide[:, : theirs.shape[1]] = theirs
        count = taught(live, targets)[2].sum(1)
        for row in same.nonzero()[:, 0].tolist():
            torch.testing.assert_close(ours[row, : count[row]], wide[row, : count[row]])
    none, kept = mosaic(live, targets, 0.0, np.random.default_rng(3))
    assert torch.equal(none["image"], live["image"])
    assert torch.equal(taught(none, kept)[2].sum(1), taught(live, targets)[2].sum(1))


def test_the_same_chance_makes_the_same_pictures():
    live, targets = batch()
    one, other = (mosaic(live, targets, 0.7, np.random.default_rng(5))[0]["image"] for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, mosaic(live, targets, 0.7, np.random.default_rng(6))[0]["image"])


def test_through_the_command_line(weights, folder, tmp_path):
    from ukulele.cli import answer

    common = ["--model", str(weights), "--cache", str(tmp_path / "c"), "--epochs", "2", "--controls", "none", "--quiet"]
    ends = []
    for name in ("one", "two"):
        run = ["--strategy", "full", "--mosaic", "0.5", "--out", str(tmp_path / name)]
        assert answer(["fit", str(folder), *common, *run]) == 0
        ends.append(json.loads((tmp_path / name / "record.json").read_text()))
    assert ends[0]["plan"]["mosaic"] == 0.5
    assert ends[0]["test"] == ends[1]["test"]
    plain = ["--strategy", "full", "--out", str(tmp_path / "plain")]
    assert answer(["fit", str(folder), *common, *plain]) == 0
    other = json.loads((tmp_path / "plain" / "record.json").read_text())
    losses = [[epoch["train_loss"] for epoch in record["candidates"][-1]["history"]] for record in (*ends, other)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--strategy", "full", "--mosaic", "1.5"], "between 0 and 1"),
        (["--strategy", "full", "--mosaic", "0.5", "--views", "2"], "--views 2"),
        (["--strategy", "full", "--mosaic", "0.5", "--freeze", "backbone"], "--freeze backbone"),
        (["--strategy", "finetune", "--mosaic", "0.5"], "full, l2sp, autorgn and scratch would"),
    ],
)
def test_what_cannot_be_put_together_is_said(weights, folder, tmp_path, capsys, flags, said):
    from ukulele.cli import answer

    assert answer(["fit", str(folder), "--model", str(weights), *flags, "--out", str(tmp_path / "run")]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_texts_have_none(tmp_path, capsys):
    from ukulele.cli import answer

    rows = "text,label\n" + "\n".join(f"good tea {n},a\nbad rain {n},b" for n in range(30))
    (tmp_path / "rows.csv").write_text(rows)
    flags = ["--strategy", "full", "--mosaic", "0.5", "--out", str(tmp_path / "run")]
    assert answer(["fit", str(tmp_path / "rows.csv"), *flags]) == 2
    assert "for pictures with boxes" in " ".join(capsys.readouterr().err.split())
