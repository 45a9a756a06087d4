"""Data that mislead: each run ends well, says what is true, and gives no figure that its rows do not bear out."""

from __future__ import annotations

import random
import wave
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e_kit import PLAIN, Answer, record_of, rows_of, write_csv
from PIL import Image

Uke = Callable[..., Answer]
SHARED = Path(__file__).resolve().parents[3] / "shared"
DIGITS, MOBILENET = SHARED / "data/spoken_digits/recordings", SHARED / "weights/mobilenetv2_100_imagenet.safetensors"
WAYS = pytest.mark.parametrize("way", [(), ("--budget", "1h")], ids=["auto", "budget"])
FEW = ("--epochs", 2, "--batch", 32, "--threads", 1)


def fitted(uke: Uke, data: Path, *options: object, out: Path) -> tuple[Answer, dict[str, Any]]:
    answer = uke("fit", data, *options, "--out", out)
    assert answer.code == 0, answer.err
    record = record_of(out)
    for candidate in record["candidates"]:
        for split in ("validation", "test"):
            for name, estimate in candidate[split].items():
                assert sound(name, estimate), (candidate["name"], split, name, estimate)
    return answer, record


def sound(metric: str, estimate: dict[str, Any]) -> bool:
    """An interval around its value; of an accuracy within 0 and 1, and never a point however few rows there are."""
    low, value, high = (estimate[name] for name in ("low", "value", "high"))
    inside = metric != "accuracy" or (0 <= low < high <= 1 and high - low > 0.9 / estimate["n"])
    return inside and low <= value <= high and np.isfinite([low, value, high]).all()


def codes(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["code"]: finding for finding in record["findings"]}


@pytest.mark.slow
@WAYS
def test_shuffled_labels(uke: Uke, bert: Path, tmp_path: Path, way: tuple[str, ...]) -> None:
    rows = rows_of(300)
    labels = [row["label"] for row in rows]
    random.Random(4).shuffle(labels)
    rows = [{**row, "label": label} for row, label in zip(rows, labels, strict=True)]
    data = write_csv(tmp_path / "noise.csv", rows, ["text", "label"])
    answer, record = fitted(uke, data, "--model", bert, *FEW, *way, out=tmp_path / "run")
    assert "nothing-to-learn" in codes(record)
    assert "far-domain" not in codes(record)
    assert record["verdict"]["outcome"] == "inconclusive"
    assert "Nothing to learn" in answer.out
    assert record["test"]["accuracy"]["low"] <= 0.5 <= record["test"]["accuracy"]["high"]


@pytest.mark.slow
@WAYS
def test_the_target_written_into_the_text(uke: Uke, bert: Path, tmp_path: Path, way: tuple[str, ...]) -> None:
    draw = random.Random(5)
    rows = []
    for number in range(200):
        good = number % 2 == 0
        words = [*draw.choices(PLAIN, k=6), "song" if good else "string"]
        rows.append({"text": " ".join(words), "label": "good" if good else "bad"})
    data = write_csv(tmp_path / "told.csv", rows, ["text", "label"])
    _, record = fitted(uke, data, "--model", bert, *FEW, *way, out=tmp_path / "run")
    told = codes(record)["word-tells-target"]
    assert told["severity"] == "warning"
    assert told["evidence"]["words"] == {"good": "song", "bad": "string"}
    assert record["verdict"]["outcome"] != "helped", "words alone do as well"


@pytest.mark.slow
@WAYS
def test_twenty_rows(uke: Uke, bert: Path, tmp_path: Path, way: tuple[str, ...]) -> None:
    data = write_csv(tmp_path / "few.csv", rows_of(20), ["text", "label"])
    _, record = fitted(uke, data, "--model", bert, *FEW, *way, out=tmp_path / "run")
    assert record["verdict"]["outcome"] == "inconclusive"
    found = record["test"]["accuracy"]
    assert found["high"] - found["low"] > 0.3


@pytest.mark.slow
@WAYS
def test_five_hundred_classes_of_three_rows(uke: Uke, bert: Path, tmp_path: Path, way: tuple[str, ...]) -> None:
    pairs = random.Random(6).sample(list(combinations(PLAIN, 2)), 500)
    rows = [
        {"text": " ".join([*pair, *pair, noise]), "label": f"intent {number}"}
        for number, pair in enumerate(pairs)
        for noise in ("tea", "rain", "good")
    ]
    data = write_csv(tmp_path / "many.csv", rows, ["text", "label"])
    options = ("--model", bert, "--epochs", 1, "--batch", 64, "--threads", 1, *way)
    _, record = fitted(uke, data, *options, out=tmp_path / "run")
    assert len(record["task"]["labels"]) == 500
    assert record["test"]["accuracy"]["low"] > 1 / 500
    assert record["verdict"] is not None


@pytest.mark.slow
@WAYS
def test_a_domain_unlike_all_that_was_learnt(uke: Uke, bert: Path, tmp_path: Path, way: tuple[str, ...]) -> None:
    """An encoder whose last block forgets the words: only its inner stages serve the task."""
    data = write_csv(tmp_path / "data.csv", rows_of(240), ["text", "label"])
    model = forgetful(bert, tmp_path / "forgetful")
    _, record = fitted(uke, data, "--model", model, *FEW, *way, out=tmp_path / "run")
    far = codes(record)["far-domain"]
    assert far["severity"] == "warning"
    assert far["evidence"]["stage"] != "pool"


def forgetful(model: Path, folder: Path) -> Path:
    """A copy of an encoder whose last block gives the same for every text."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    last = max(name.split(".")[name.split(".").index("layer") + 1] for name in weights if ".layer." in name)
    for name, value in weights.items():
        if f".layer.{last}.output.LayerNorm.weight" in f".{name}":
            value.mul_(1e-4)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.skipif(not (DIGITS.is_dir() and MOBILENET.is_file()), reason=f"needs {DIGITS} and {MOBILENET}")
def test_spoken_digits_as_pictures(uke: Uke, tmp_path: Path) -> None:
    """Photographs taught the model little that helps here: nothing is called near, and doubts fall on the probe."""
    for digit in range(10):
        (tmp_path / "digits" / str(digit)).mkdir(parents=True)
        for number, file in enumerate(sorted(DIGITS.glob(f"{digit}_*_[0-4].wav"))):
            spectrogram(file).save(tmp_path / "digits" / str(digit) / f"{number}.png")
    options = ("--model", MOBILENET, "--strategy", "probe", "--threads", 1)
    _, record = fitted(uke, tmp_path / "digits", *options, out=tmp_path / "run")
    assert record["test"]["accuracy"]["low"] > 0.1
    assert "near-domain" not in codes(record)
    doubts = codes(record)["label-errors"]
    assert doubts["severity"] == "info"
    assert "most will be its own mistakes" in doubts["message"]


def spectrogram(path: Path, window: int = 256, step: int = 64) -> Image.Image:
    """The log-magnitudes of a recording over time, low frequencies below, as a grey picture."""
    with wave.open(str(path)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32)
    sound = np.pad(sound, (0, max(0, window - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::step] * np.hanning(window)
    loud = np.log(np.abs(np.fft.rfft(frames)) + 1).T[::-1]
    grey = (255 * (loud - loud.min()) / max(float(np.ptp(loud)), 1e-6)).astype(np.uint8)
    return Image.fromarray(grey).resize((128, 128)).convert("RGB")
