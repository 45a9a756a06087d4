"""What is wrong with pictures, labels and weights is said on the command line, with the place and the way out."""

import json
import shutil

import pytest
import yaml
from detect_kit import drawn, write_voc
from safetensors.torch import save_file

from ukulele.cli import answer
from ukulele.trial.context import Context

LABELS = ("square", "disc")


def yolo(root, count=12):
    """A folder as YOLO has it, with pictures of squares and discs."""
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    for number in range(count):
        picture, boxes = drawn(number)
        picture.save(root / "images" / f"p{number:02}.jpg", quality=95)
        lines = [
            f"{LABELS.index(b.label)} {(b.left + b.right) / 192:.6f} {(b.top + b.bottom) / 128:.6f} "
            f"{(b.right - b.left) / 96:.6f} {(b.bottom - b.top) / 64:.6f}"
            for b in boxes
        ]
        (root / "labels" / f"p{number:02}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text(yaml.safe_dump({"train": "images", "names": list(LABELS)}))
    return root


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("UKULELE_CACHE", str(tmp_path / "cache"))
    return yolo(tmp_path / "shapes")


def check(source, capsys, *more):
    """Exit code of `uke check`, and all it said."""
    code = answer(["check", str(source), *more])
    told = capsys.readouterr()
    return code, told.out + told.err


def test_a_data_yaml_that_points_nowhere(source, capsys):
    (source / "data.yaml").write_text("train: ../elsewhere/images\nnames: [square, disc]\n")
    code, said = check(source, capsys)
    assert code == 2
    assert "data.yaml: '../elsewhere/images' is not there" in said
    assert "Looked for " in said
    assert "Mend `path`" in said


def test_a_class_beyond_the_names_is_told_by_file_and_line(source, capsys):
    labels = source / "labels" / "p03.txt"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join([*lines, "7 0.5 0.5 0.2 0.2"]) + "\n")
    code, said = check(source, capsys, "--max-bad", "0.5")
    assert code == 0
    assert f"p03.txt:{len(lines) + 1}: class 7, where " in said
    assert "data.yaml names 0 to 1" in said
    code, said = check(source, capsys, "--max-bad", "0")
    assert code == 2
    assert f"p03.txt:{len(lines) + 1}: class 7" in said


def test_an_empty_label_file_is_a_picture_without_objects(source, capsys):
    (source / "labels" / "p05.txt").write_bytes(b"")
    code, said = check(source, capsys)
    assert code == 0
    assert "1 of them without any" in said


def test_no_box_at_all(source, capsys):
    for path in (source / "labels").iterdir():
        path.write_bytes(b"")
    code, said = check(source, capsys)
    assert code == 2
    assert "no box in any of 12 pictures" in said


def test_a_picture_of_one_pixel_and_a_damaged_one(source, capsys):
    from PIL import Image

    Image.new("RGB", (1, 1)).save(source / "images" / "p02.jpg")
    whole = (source / "images" / "p07.jpg").read_bytes()
    (source / "images" / "p07.jpg").write_bytes(whole[: len(whole) // 2])
    code, said = check(source, capsys, "--max-bad", "0.5")
    assert code == 0
    assert "p02.jpg: a picture of 1 × 1 pixels" in said
    assert "p07.jpg" in said
    code, said = check(source, capsys, "--max-bad", "0")
    assert code == 2


def test_a_picture_in_two_splits_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UKULELE_CACHE", str(tmp_path / "cache"))
    write_voc(tmp_path / "voc", {"train": 8, "val": 3, "test": 3})
    shutil.copy(tmp_path / "voc" / "JPEGImages" / "p000.jpg", tmp_path / "voc" / "JPEGImages" / "p012.jpg")
    code, said = check(tmp_path / "voc", capsys)
    assert code == 0
    assert "1 of 3 test rows are also in train" in said
    assert "p000.jpg (train)" in said


def test_a_curve_of_several_detectors_is_refused(source, tmp_path, capsys):
    other = yolo(tmp_path / "other")
    code = answer(["curve", f"a={source}", f"b={other}", "--model", "yolox-n"])
    said = capsys.readouterr().err
    assert code == 2
    assert "a curve of a detector is of one data set; found the tasks a, b" in said
    assert "uke curve DATA --model" in said


# ---------------------------------------------------------------- with a detector


@pytest.fixture
def detector():
    pytest.importorskip("libreyolo.models.yolox.nn", reason="detection needs libreyolo", exc_type=ImportError)


def weights(path, labels, told=None):
    from ukulele.models import build

    net = build({"family": "yolox", "size": "n", "labels": labels, "input": 64}, {}, seed=1).net
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    save_file(state, path, metadata={"labels": json.dumps(told or labels), "input": "64"})
    return path


def fit(source, tmp_path, capsys, model, *more):
    """Exit code of `uke fit` in one epoch, and all it said."""
    common = ["--out", str(tmp_path / "run"), "--epochs", "1", "--controls", "none", "--strategy", "finetune"]
    code = answer(["fit", str(source), "--model", str(model), *common, *more])
    told = capsys.readouterr()
    return code, told.out + told.err


def test_damaged_pictures_amid_the_data_do_not_stop_the_training(source, tmp_path, capsys, detector):
    whole = (source / "images" / "p07.jpg").read_bytes()
    (source / "images" / "p07.jpg").write_bytes(whole[: len(whole) // 2])
    model = weights(tmp_path / "tiny.safetensors", list(LABELS))
    code, said = fit(source, tmp_path, capsys, model, "--max-bad", "0.2")
    assert code == 0, said
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert sum(record["data"]["rows"].values()) == 11
    assert "p07.jpg" in (tmp_path / "run" / "quarantine.csv").read_text()


def test_weights_for_other_classes_are_explained(source, tmp_path, capsys, detector):
    model = weights(tmp_path / "tiny.safetensors", ["cat", "disc", "dog"])
    code, said = fit(source, tmp_path, capsys, model)
    assert code == 0, said
    assert "the model knows 1 of the data's 2 classes by name; the head is rebuilt for them" in said
    assert "the rows of those it knows are kept" in said


def test_a_head_can_be_drawn_anew_but_untouched_the_model_answers_by_what_it_knows(
    source, tmp_path, capsys, detector, monkeypatch
):
    model, load, known = weights(tmp_path / "tiny.safetensors", ["cat", "disc", "dog"]), Context.load, {}

    def seen(context, candidate):
        found = load(context, candidate)
        known[candidate.name] = found[0].heads["detect"].args[1]
        return found

    monkeypatch.setattr(Context, "load", seen)
    code, said = fit(source, tmp_path, capsys, model, "--head", "new", "--controls", "cheap")
    assert code == 0, said
    assert "by name; the head is rebuilt for them\n" in said
    assert known["finetune"] == ()
    assert known["zero-shot"] == ("cat", "disc", "dog")


def test_a_new_head_is_of_detectors_alone(tmp_path, capsys):
    (tmp_path / "some.csv").write_text("text,label\n" + "".join(f"row {n},{'ab'[n % 2]}\n" for n in range(40)))
    code, said = fit(tmp_path / "some.csv", tmp_path, capsys, "minilm", "--head", "new")
    assert code == 2
    assert "--head new is of detectors" in said


def test_weights_whose_names_do_not_count_up_are_refused(source, tmp_path, capsys, detector):
    model = weights(tmp_path / "tiny.safetensors", ["cat", "disc", "dog"], told=["cat", "disc"])
    code, said = fit(source, tmp_path, capsys, model)
    assert code == 2
    assert "has 3 classes, and its metadata name 2" in said


def test_a_classifier_is_no_detector(source, tmp_path, capsys, detector):
    import timm

    model = tmp_path / "net.safetensors"
    net = timm.create_model("mobilenetv3_small_050", pretrained=False)
    save_file(net.state_dict(), model, metadata={"architecture": "mobilenetv3_small_050"})
    code, said = fit(source, tmp_path, capsys, model)
    assert code == 2
    assert "no detector" in said
    assert "yolox-s" in said
