"""The way from a folder of pictures with boxes to a detector, as a user walks it."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from detect_kit import write_voc
from PIL import Image

from ukulele.api import load
from ukulele.cli import answer
from ukulele.errors import DataError, PlanError
from ukulele.trial.predict import Predictor

pytest.importorskip(
    "libreyolo.models.yolox.nn",
    reason="detection needs libreyolo (pip install 'ukulele[detect]') and an OpenCV that can be imported",
    exc_type=ImportError,
)

LABELS = ["square", "person"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, weights, folder):
    place = tmp_path_factory.mktemp("runs")
    common = ["--model", str(weights), "--cache", str(place / "cache"), "--epochs", "2", "--batch", "8", "--quiet"]
    common += ["--precision", "fp32"]  # random weights tell pictures apart by less than what bf16 rounds off
    assert answer(["fit", str(folder), *common, "--freeze", "backbone", "--out", str(place / "run")]) == 0
    return place / "run"


def test_a_run_is_told_whole(run):
    record = json.loads((run / "record.json").read_text())
    assert record["task"] == {
        "name": "objects", "kind": "detect", "labels": ["disc", "square"], "metric": "map50_95"
    }  # fmt: skip
    assert {"map50", "map50_95", "precision", "recall"} <= record["test"].keys()
    for estimate in record["test"].values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert [one["name"] for one in record["candidates"]] == ["finetune", "zero-shot", "scratch"]
    assert record["verdict"]["against"] == "scratch"
    assert [one["against"] for one in record["comparisons"]] == ["scratch", "zero-shot"]
    assert record["comparisons"][0]["comparisons"] == 1, "the untouched model is another question"
    over = record["gain_over_untouched"]
    assert over["against"] == "zero-shot"
    assert over["sentence"].startswith("Fine-tuning ")
    codes = {one["code"] for one in record["findings"]}
    assert ("no-better-than-untouched" in codes) == (over["outcome"] == "inconclusive")
    assert record["plan"]["cut"] == "neck"
    assert {one["label"] for one in record["per_class"]} == {"disc", "square"}
    assert record["data"]["classes"]["train"]["disc"] > 0
    page = (run / "report.html").read_text()
    assert over["sentence"].replace("+", "&#43;") in page or over["sentence"] in page
    assert 'id="curves"' in page
    assert page.count('class="picture"') == 2 * len(record["mistakes"]) > 0
    assert 'class="box wrong"' in page
    for mistake in record["mistakes"]:
        assert mistake["input"]["width"] == 96
        assert mistake["missed"] == sum(not box["right"] for box in mistake["truth"])


def test_boxes_that_may_be_wrong_are_listed_and_shown(weights, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("ukulele.models.yolox.FLOOR", 1e-6)  # so little training makes nothing likely
    monkeypatch.setattr("ukulele.story.drawn.SURE", 1e-5)
    run, common = tmp_path / "run", ["--model", str(weights), "--cache", str(tmp_path / "c"), "--controls", "none"]
    assert answer(["fit", str(folder), *common, "--epochs", "1", "--freeze", "all", "--out", str(run), "--quiet"]) == 0
    with (run / "suspects.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["file", "line", "split", "task", "input", "given", "suggested", "score"]
    assert [float(line["score"]) for line in lines] == sorted((float(line["score"]) for line in lines), reverse=True)
    assert {line["split"] for line in lines} == {"train", "validation", "test"}
    for line in lines:
        assert line["file"].startswith(str(folder))
        assert line["given"] != line["suggested"]
        left, top, right, bottom = map(int, line["input"].split(","))
        assert 0 <= left <= right <= 96
        assert 0 <= top <= bottom <= 64
    record = json.loads((run / "record.json").read_text())
    shown = record["doubted"]
    assert [one["score"] for one in shown] == pytest.approx([float(line["score"]) for line in lines[:12]], abs=1e-4)
    finding = next(one for one in record["findings"] if one["code"] == "label-suspects")
    assert finding["evidence"]["count"] == sum(bool(line["suggested"]) for line in lines)
    page = (run / "report.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') >= len(shown)
    assert 'id="doubted"' in page


def test_sizes_and_places_of_the_boxes_are_counted(run, folder):
    record = json.loads((run / "record.json").read_text())
    boxes = record["boxes"]
    total = sum(sum(counts.values()) for counts in record["data"]["classes"].values())
    assert boxes["pictures"] == 28
    assert sum(boxes["sizes"]["counts"]) == sum(map(sum, boxes["places"])) == total
    assert sum(boxes["sizes"]["counts"][-3:-1]) == total  # sides of 16 to 25 pixels of 96
    assert 'id="layout"' in (run / "report.html").read_text()


def test_the_frozen_part_is_as_it_was(run, weights):
    from safetensors.torch import load_file

    before, after = load_file(weights), load_file(run / "bundle" / "weights.safetensors")
    frozen = [name for name in before if name.startswith("backbone.backbone.")]
    assert len(frozen) > 100
    for name in frozen:
        assert torch.equal(before[name], after[f"net.{name}"]), name
    assert not torch.equal(before["backbone.C3_p4.conv1.conv.weight"], after["net.backbone.C3_p4.conv1.conv.weight"])


@pytest.mark.slow
@pytest.mark.parametrize(("freeze", "cut"), [("none", "stem"), ("neck", None), ("dark3", "dark4")])
def test_the_cut_is_where_the_user_says(weights, folder, tmp_path, freeze, cut):
    common = ["--model", str(weights), "--cache", str(tmp_path / "c"), "--epochs", "1", "--controls", "none", "--quiet"]
    assert answer(["fit", str(folder), *common, "--freeze", freeze, "--out", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "record.json").read_text())["plan"]["cut"] == cut


@pytest.mark.slow
def test_auto_climbs_from_the_neck_to_everything_and_hands_over_the_better(weights, folder, tmp_path):
    common = ["--model", str(weights), "--cache", str(tmp_path / "c"), "--epochs", "2", "--controls", "none", "--quiet"]
    assert answer(["fit", str(folder), *common, "--out", str(tmp_path / "run")]) == 0
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert [one["name"] for one in record["candidates"]] == ["finetune", "full"]
    scores = {one["name"]: one["validation"]["map50_95"]["value"] for one in record["candidates"]}
    assert scores[record["chosen"]] == max(scores.values())


def test_pictures_are_answered_with_the_trunk_in_bf16(run, folder):
    pictures = [(path,) for path in sorted((folder / "JPEGImages").iterdir())[:4]]
    wide, narrow = (Predictor.load(run, precision=precision) for precision in ("fp32", "bf16"))
    for ours, theirs in zip(wide.raw(pictures)["objects"], narrow.raw(pictures)["objects"], strict=True):
        np.testing.assert_allclose(np.sort(theirs[:, 4])[-5:], np.sort(ours[:, 4])[-5:], atol=2e-3)


def test_pictures_are_answered_and_drawn(run, folder, tmp_path, capsys):
    pictures = str(folder / "JPEGImages")
    out = tmp_path / "out"
    assert answer(["predict", str(run), pictures, "--out", str(out), "--draw", "--conf", "0.0"]) == 0
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert len(lines) == 28
    assert len(list(out.glob("*.jpg"))) == 28
    for box in lines[0]["boxes"]:
        assert box["label"] in {"disc", "square"}
        assert 0 <= box["box"][0] <= box["box"][2] <= 96
    record = json.loads((run / "record.json").read_text())
    assert record["domain"][0]["test"]["n"] == 6
    assert sum(line["outside"] for line in lines) < 9
    Image.new("RGB", (96, 96), (255, 0, 255)).save(tmp_path / "odd.png")
    assert answer(["predict", str(run), str(tmp_path / "odd.png"), "--out", str(tmp_path / "odd.jsonl")]) == 0
    assert json.loads((tmp_path / "odd.jsonl").read_text())["outside"]
    assert "1 of 1 rows are unlike those of training" in capsys.readouterr().err
    table = tmp_path / "boxes.csv"
    assert answer(["predict", str(run), pictures, "--out", str(table), "--conf", "0.0"]) == 0
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(line["boxes"]) for line in lines)
    assert answer(["predict", str(run), pictures, "--conf", "1"]) == 0
    assert "(nothing)" in capsys.readouterr().out
    header = table.read_text().splitlines()[0]
    assert header == "row,label,score,left,top,right,bottom,outside"
    for name, text in (("n.csv", f"{header}\n"), ("n.tsv", header.replace(",", "\t") + "\n")):
        assert answer(["predict", str(run), pictures, "--conf", "1", "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text() == text
        assert "28 of 28 pictures have no box" in capsys.readouterr().err
    whole = tmp_path / "whole.json"
    assert answer(["predict", str(run), pictures, "--out", str(whole), "--conf", "0.0"]) == 0
    assert json.loads(whole.read_text()) == [{k: v for k, v in line.items() if k != "drawn"} for line in lines]
    assert len(whole.read_text().splitlines()) == 30


def test_drawn_pictures_are_named_and_folders_may_have_a_dot(run, folder, tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        shutil.copy(folder / "JPEGImages" / "p000.jpg", tmp_path / "in" / name / "p000.jpg")
    (tmp_path / "o.v1").mkdir()
    for out in (tmp_path / "o.v1", tmp_path / "o.v2", tmp_path / "plain"):
        assert answer(["predict", str(run), str(tmp_path / "in"), "--out", str(out), "--draw"]) == 0
        lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
        assert {line["row"]: line["drawn"] for line in lines} == {
            str(tmp_path / "in" / "a" / "p000.jpg"): "p000.jpg",
            str(tmp_path / "in" / "b" / "p000.jpg"): "p000-2.jpg",
        }
        assert {path.name for path in out.iterdir()} == {"answers.jsonl", "p000.jpg", "p000-2.jpg"}
    for name in ("boxes.xlsx", "boxes.jpg"):
        assert answer(["predict", str(run), str(tmp_path / "in"), "--out", str(tmp_path / name)]) == 2
        assert ".jsonl or .json was expected" in capsys.readouterr().err
    assert answer(["predict", str(run), str(tmp_path / "in"), "--out", str(tmp_path / "o.csv"), "--draw"]) == 2
    assert "--out DIR" in capsys.readouterr().err


def test_a_picture_in_every_form_with_other_numbers_for_one_call(run, folder, monkeypatch):
    monkeypatch.setattr("ukulele.models.yolox.FLOOR", 1e-6)  # so little training makes nothing likely
    finished, place = load(run), folder / "JPEGImages" / "p000.jpg"
    with Image.open(place) as opened:
        picture = opened.convert("RGB")
    expected = finished.predict([picture], confidence=0.0)
    assert expected[0]["boxes"]
    for one in (picture, np.asarray(picture), [np.asarray(picture)], np.asarray(picture)[None]):
        assert finished.predict(one, conf=0.0) == expected
    from_file = finished.predict([str(place)], confidence=0.0)
    content = place.read_bytes()
    for one in (str(place), place, content, bytearray(content), [content]):
        assert finished.predict(one, confidence=0.0) == from_file
    assert finished.predict(place, confidence=1.0, overlap=0.5) == [{"boxes": []}]
    assert finished.predict(place, confidence=0.0, iou=0.01) != from_file
    assert finished.predict(place) == load(run).predict(place), "as it was"
    for words, said in (
        ({"confidence": 2}, "a number from 0 to 1"),
        ({"beams": 2}, "no such number"),
        ({"confidance": 0.5}, "Choose among confidence"),
    ):
        with pytest.raises(PlanError) as error:
            finished.predict(place, **words)
        assert said in f"{error.value.message} {error.value.hint}"
    for one in (np.zeros((3, 64, 64), np.uint8), np.zeros((8, 8, 3)), [np.zeros((8, 8), np.uint8)], 3, None):
        with pytest.raises(DataError) as refused:
            finished.predict(one)
        assert "uint8" in refused.value.hint


def test_a_model_is_scored_again_and_is_the_next_ones_start(run, folder, capsys):
    record = json.loads((run / "record.json").read_text())
    assert answer(["evaluate", str(run), str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 6
    assert told["test"]["map50"]["value"] == pytest.approx(record["test"]["map50"]["value"], abs=1e-4)
    predictor = load(run).predictor
    assert isinstance(predictor, Predictor)
    from ukulele.models import load as load_model
    from ukulele.types import Request

    model = load_model(Request(str(run)), "image")
    assert model.recipe["labels"] == ["disc", "square"]
    fresh = model.heads["detect"](["disc", "square"])
    for name, value in predictor.heads["objects"].state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name


def test_weights_are_used_as_they_are(weights, folder, capsys):
    assert answer(["evaluate", str(weights), str(folder), "--json"]) == 0
    captured = capsys.readouterr()
    assert "does not know, left out: disc" in captured.err
    assert json.loads(captured.out)["rows"] == 6
    assert answer(["predict", str(weights), str(folder / "JPEGImages" / "p000.jpg"), "--conf", "0"]) == 0


def test_classes_are_the_same_whatever_their_case(weights, tmp_path, capsys):
    scores = []
    for label in ("square", "Square"):
        place = tmp_path / label
        write_voc(place, {"train": 2, "val": 2, "test": 4}, labels=("square",))
        for file in (place / "Annotations").iterdir():
            file.write_text(file.read_text().replace("<name>square", f"<name>{label}"))
        assert answer(["evaluate", str(weights), str(place), "--json"]) == 0
        captured = capsys.readouterr()
        assert ("Square as square" in captured.err) == (label == "Square")
        scores.append(json.loads(captured.out)["test"])
    assert scores[0] == scores[1]


def test_what_cannot_be_done_is_said(weights, folder, tmp_path, capsys):
    common = ["--model", str(weights), "--cache", str(tmp_path / "c"), "--out", str(tmp_path / "r")]
    assert answer(["fit", str(folder), *common, "--strategy", "probe"]) == 2
    assert "--freeze all" in capsys.readouterr().err
    assert answer(["fit", str(folder), *common, "--freeze", "dark9"]) == 2
    assert "stem, dark2" in capsys.readouterr().err
    assert answer(["fit", str(folder), "--cache", str(tmp_path / "c"), "--out", str(tmp_path / "r")]) == 2
    assert "yolox-s" in capsys.readouterr().err
    other = tmp_path / "voc"
    write_voc(other, {"train": 3, "val": 2, "test": 2}, labels=("disc",))
    assert answer(["evaluate", str(weights), str(other)]) == 2
    assert "none of those" in capsys.readouterr().err


def test_a_plan_is_forecast(weights, folder, tmp_path, capsys):
    common = ["--model", str(weights), "--cache", str(tmp_path / "c"), "--epochs", "2", "--batch", "8", "--quiet"]
    assert answer(["fit", str(folder), *common, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "finetune" in told
    assert "scratch" in told


def test_a_data_set_is_converted(folder, tmp_path, capsys):
    assert answer(["convert", str(folder), "--to", "yolo", "--out", str(tmp_path / "y")]) == 0
    assert (tmp_path / "y" / "data.yaml").is_file()
    assert answer(["check", str(tmp_path / "y")]) == 0
    assert "16 train, 6 validation, 6 test" in capsys.readouterr().out


@pytest.mark.slow
def test_shapes_are_learned_and_a_resumed_run_is_the_same(weights, folder, tmp_path):
    """Ten epochs lower the loss; killed after the fifth and resumed, the weights are the same to the bit."""
    from ukulele.config import FitOptions
    from ukulele.events import Judged
    from ukulele.story import pipeline

    def options():
        return FitOptions(
            model=str(weights),
            strategy="scratch",
            rate=2e-3,
            controls="none",
            epochs=10,
            batch=4,
            views=2,
            cache=str(tmp_path / "c"),
        )

    class KilledError(BaseException):
        """As Ctrl-C is: the run's folder stays."""

    def kill(event):
        if isinstance(event, Judged) and event.place.epoch == 5:
            raise KilledError

    whole = pipeline.fit(str(folder), options(), tmp_path / "whole", lambda _: None)
    broken = tmp_path / "broken"
    with pytest.raises(KilledError):
        pipeline.fit(str(folder), options(), broken, kill)
    pipeline.fit(str(folder), options(), broken, lambda _: None, resume=True)
    name = "bundle/weights.safetensors"
    assert (whole / name).read_bytes() == (broken / name).read_bytes()
    record = json.loads((whole / "record.json").read_text())
    losses = [epoch["train_loss"] for epoch in record["candidates"][0]["history"]]
    assert np.mean(losses[-2:]) < losses[0]


def test_a_curve_of_detectors_trained_on_nested_parts(uke, tmp_path, weights):
    write_voc(tmp_path / "shapes", {"train": 40, "val": 8, "test": 4})
    asked = ["--model", weights, "--epochs", 1, "--cache", tmp_path / "cache"]
    found = uke("curve", tmp_path / "shapes", *asked, "--json")
    assert found.code == 0, found.err
    curve = json.loads(found.out)["tasks"]["objects"]
    assert [point["rows"] for point in curve["points"]] == [10, 14, 20, 28, 40]
    assert curve["metric"] == "map50_95"
    assert all(0 <= point["low"] <= point["value"] <= point["high"] <= 1 for point in curve["points"])
    again = json.loads(uke("curve", tmp_path / "shapes", *asked, "--json").out)
    assert again["tasks"]["objects"]["points"] == curve["points"]
    shown = uke("curve", tmp_path / "shapes", *asked)
    assert "map50_95 of tiny, fine-tuned, by labelled rows" in shown.out.replace(str(weights), "tiny")
