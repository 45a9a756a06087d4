"""`uke diagnose` and `uke curve`: what one pass tells before training, on screen, as JSON and of hostile data."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e_kit import Answer, record_of, rows_of, sentence, write_csv
from PIL import Image

from ukulele.models.bundle import Kept
from ukulele.trial import origin

Uke = Callable[..., Answer]


def asked(uke: Uke, command: str, *args: object) -> dict[str, Any]:
    answer = uke(command, *args, "--json", "--quiet")
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


def codes(found: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in found["findings"]}


def shuffled(path: Path, count: int) -> Path:
    rows = rows_of(count)
    labels = [row["label"] for row in rows]
    random.Random(4).shuffle(labels)
    return write_csv(path, [{**r, "label": label} for r, label in zip(rows, labels, strict=True)], ["text", "label"])


# ---------------------------------------------------------------- diagnose


def test_diagnose(uke: Uke, bert: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", rows_of(200), ["text", "label"])
    answer = uke("diagnose", data, "--model", bert)
    assert answer.code == 0, answer.err
    assert "predict transfer poorly" in answer.flat
    found = asked(uke, "diagnose", data, "--model", bert)
    assert [layer["stage"] for layer in found["layers"]] == ["embed", "block0", "block1", "pool", "average"]
    task = found["tasks"]["label"]
    assert task["learnt"]
    assert task["probe"]["value"] > task["same for every row"]["high"]
    assert {"1 nearest", "5 nearest", "20 nearest"} <= task.keys()
    assert "nothing-to-learn" not in codes(found)


def test_nothing_to_learn(uke: Uke, bert: Path, tmp_path: Path) -> None:
    found = asked(uke, "diagnose", shuffled(tmp_path / "noise.csv", 300), "--model", bert)
    assert found["tasks"]["label"]["learnt"] is False
    assert "nothing-to-learn" in codes(found)
    assert "far-domain" not in codes(found)


@pytest.mark.parametrize("command", ["diagnose", "choose"])
def test_rows_of_a_group_are_no_neighbours(command: str, uke: Uke, bert: Path, tmp_path: Path) -> None:
    """Near copies whose groups have labels at random: a neighbour of the same group would know the answer."""
    draw = random.Random(1)
    rows = []
    for group in range(60):
        words, label = sentence(draw, good=True, length=12), draw.choice(["a", "b"])
        rows += [{"text": f"{words} w{copy}", "label": label, "who": f"g{group}"} for copy in range(5)]
    data = write_csv(tmp_path / "copies.csv", rows, ["text", "label", "who"])
    options = (data, "--group", "who", "--target", "label", "--text", "text")
    if command == "choose":
        assert asked(uke, command, *options, "--models", bert)["models"][0]["scores"]["kNN"] < 0.7
    else:
        task = asked(uke, command, *options, "--model", bert)["tasks"]["label"]
        assert all(task[f"{k} nearest"]["value"] < 0.7 for k in (1, 5, 20))


def test_against_the_same_and_against_other_data(uke: Uke, bert: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", rows_of(200), ["text", "label"])
    alike = write_csv(tmp_path / "alike.csv", rows_of(150, 9), ["text", "label"])
    draw = random.Random(1)
    other = [{"text": " ".join(["tea rain", sentence(draw, True, 3), "tea tea"])} for _ in range(120)]
    apart = write_csv(tmp_path / "other.csv", other, ["text"])
    same = asked(uke, "diagnose", data, "--model", bert, "--against", alike)
    far = asked(uke, "diagnose", data, "--model", bert, "--against", apart)
    assert "rows-differ" not in codes(same)
    assert "rows-differ" in codes(far)
    assert same["distance"]["mmd_p"] > 0.01 >= far["distance"]["mmd_p"]
    assert far["distance"]["proxy_a"] > 1 > same["distance"]["proxy_a"]
    assert far["distance"]["frechet"] > 3 * same["distance"]["frechet"]
    assert far["distance"]["cka"] < same["distance"]["cka"]
    assert far["distance"]["from"] == str(apart)


def test_the_other_data_are_read_by_the_same_columns(uke: Uke, bert: Path, tmp_path: Path) -> None:
    draw = random.Random(4)
    bodies = [" ".join(draw.choices(["tea", "rain", "song", "string"], k=12)) for _ in range(120)]
    rows = [
        {"title": row["text"], "body": body, "label": row["label"]}
        for row, body in zip(rows_of(120), bodies, strict=True)
    ]
    data = write_csv(tmp_path / "data.csv", rows, ["title", "body", "label"])
    for columns in (("title",), ("title", "body")):
        how = ("--text", *columns, "--target", "label", "--model", bert)
        found = asked(uke, "diagnose", data, *how, "--against", data)["distance"]
        assert found["mmd_p"] > 0.05
        assert found["proxy_a"] < 1


def test_how_far_from_what_a_bundle_was_trained_on(
    uke: Uke, fitted: Path, tables: Path, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = asked(uke, "diagnose", tables / "reviews.csv", "--target", "label", "--model", fitted)["source"]
    draw = random.Random(5)
    others = [" ".join(draw.choices(["tea", "rain", "song", "string"], k=draw.randint(6, 14))) for _ in range(120)]
    rows = [{**row, "text": text} for row, text in zip(rows_of(120, 5), others, strict=True)]
    data = write_csv(tmp_path / "tea.csv", rows, ["text", "label"])
    found = asked(uke, "diagnose", data, "--model", fitted)
    far = found["source"]
    assert "reviews" in far["trained_on"]
    assert near["outside"] < 0.1 < far["outside"]
    assert near["frechet"] < far["frechet"]
    assert far["frechet_of_drawn"] < far["frechet"]
    assert "source-differs" in codes(found)
    assert asked(uke, "diagnose", data, "--model", bert)["source"] is None
    answer = uke("diagnose", data, "--model", fitted)
    assert "Such distances predict transfer poorly" in answer.flat
    run = tmp_path / "run"
    assert uke("fit", data, "--model", fitted, "--strategy", "probe", "--controls", "none", "--out", run).code == 0
    assert record_of(run)["source"]["outside"] == pytest.approx(far["outside"])

    monkeypatch.setattr(origin, "read_statistics", lambda _: (Kept(), "old rows"))
    assert (
        "keeps no statistics of the rows that it was trained on (old rows)"
        in uke("diagnose", data, "--model", fitted).flat
    )


@pytest.mark.parametrize("command", ["diagnose", "curve", "choose"])
def test_options_of_texts_are_refused_for_pictures(uke: Uke, pictures: Path, command: str) -> None:
    answer = uke(command, pictures, "--max-length", 9)
    assert answer.code == 2
    assert "--max-length 9: for texts, and these are pictures" in answer.flat


def test_against_pictures_is_refused(uke: Uke, tables: Path, bert: Path, pictures: Path) -> None:
    answer = uke("diagnose", tables / "reviews.csv", "--model", bert, "--against", pictures)
    assert answer.code == 2
    assert "image" in answer.flat


def test_a_far_domain(uke: Uke, network: Path, tmp_path: Path) -> None:
    """Textures that differ in their grain alone, which stages behind the first blur away."""
    generator = np.random.default_rng(0)
    for label in ("fine", "coarse"):
        (tmp_path / "far" / label).mkdir(parents=True)
        for number in range(30):
            small = generator.integers(0, 256, (32 if label == "fine" else 16,) * 2, dtype=np.uint8)
            picture = Image.fromarray(small).resize((32, 32), Image.Resampling.NEAREST)
            picture.save(tmp_path / "far" / label / f"{number}.png")
    found = asked(uke, "diagnose", tmp_path / "far", "--model", network)
    assert found["tasks"]["label"]["metric"] == "accuracy"
    assert ("far-domain" in codes(found)) == found["far"]
    assert found["stage"] == max(found["layers"], key=lambda one: one["value"])["stage"] or not found["far"]


def test_twenty_rows_and_pairs(uke: Uke, bert: Path, tmp_path: Path, tables: Path) -> None:
    data = write_csv(tmp_path / "few.csv", rows_of(20), ["text", "label"])
    found = asked(uke, "diagnose", data, "--model", bert)
    assert found["distance"] is None
    for name in ("scores.csv", "marks.csv", "pairs.csv"):
        assert asked(uke, "diagnose", tables / name, "--model", bert)["tasks"]


# ---------------------------------------------------------------- curve


def test_curve(uke: Uke, bert: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", rows_of(300), ["text", "label", "score"])
    found = asked(uke, "curve", data, "--model", bert, "--target", "label")
    curve = found["tasks"]["label"]
    assert curve["learnt"]
    sizes = [point["rows"] for point in curve["points"]]
    assert sizes == sorted(sizes)
    assert sizes[-1] <= curve["rows"]
    assert all(b / a == pytest.approx(2**0.5, rel=0.1) for a, b in pairwise(sizes))
    assert [one["rows"] for one in curve["expected"]] == [2 * curve["rows"], 4 * curve["rows"]]
    for one in (*curve["expected"], *curve["line"]):
        assert one["low"] <= one["value"] <= one["high"] <= 1
    assert [one["gain"] for one in curve["more"]] == [0.01, 0.02, 0.05]
    assert curve["bottleneck"] in {"labels", "model", "unclear"}
    answer = uke("curve", data, "--model", bert, "--target", "label", "--gain", "0.03")
    assert answer.code == 0
    assert "Without any further gain" in answer.flat
    assert "+0.03 accuracy" in answer.flat


def test_a_curve_measured_on_a_sample_speaks_of_all_rows(
    uke: Uke, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ukulele.doors import curving

    monkeypatch.setattr(curving, "MOST", 120)
    data = write_csv(tmp_path / "data.csv", rows_of(300), ["text", "label"])
    options = ("--model", bert, "--target", "label")
    curve = asked(uke, "curve", data, *options)["tasks"]["label"]
    rows = curve["rows"]
    assert (rows > 200, curve["measured_rows"]) == (True, 120)
    assert max(point["rows"] for point in curve["points"]) == 96  # four folds of five
    assert [one["rows"] for one in curve["expected"]] == [2 * rows, 4 * rows]
    assert [curve["line"][0]["rows"], curve["line"][-1]["rows"]] == [rows, 4 * rows]
    assert f"four times the labels ({4 * rows:,} rows)" in curve["advice"]
    assert f"The curve is measured on 120 of {rows} rows." in curve["advice"]
    shown = uke("curve", data, *options)
    assert f"measured on 120 of {rows} rows" in shown.flat
    assert any(line.split()[:1] == [str(rows)] and "expected" in line for line in shown.out.splitlines())


def test_curve_of_a_number_and_of_a_loss(uke: Uke, bert: Path, tmp_path: Path) -> None:
    """A metric of which less is better is shown as it is, and a gain is still positive."""
    data = write_csv(tmp_path / "data.csv", rows_of(200), ["text", "score"])
    curve = asked(uke, "curve", data, "--model", bert, "--metric", "rmse")["tasks"]["score"]
    assert not curve["higher_is_better"]
    assert all(point["low"] <= point["value"] <= point["high"] for point in curve["points"])
    assert all(one["value"] > 0 for one in curve["points"])
    assert all(one["gain"]["low"] >= -1e-9 for one in curve["expected"])
    now = curve["line"][0]["value"]
    assert [one["share"] for one in curve["more"]] == [0.01, 0.02, 0.05]
    assert [one["gain"] for one in curve["more"]] == pytest.approx([0.01 * now, 0.02 * now, 0.05 * now])
    assert "lower rmse by" in curve["advice"]
    assert "+0" not in curve["advice"]
    shown = uke("curve", data, "--model", bert, "--metric", "rmse")
    assert " rmse (2 % less): " in shown.flat
    assert "+0" not in shown.flat
    assert "−0.3 rmse: " in uke("curve", data, "--model", bert, "--metric", "rmse", "--gain", "0.3").flat


def test_curve_of_noise_and_of_few_rows(uke: Uke, bert: Path, tmp_path: Path) -> None:
    curve = asked(uke, "curve", shuffled(tmp_path / "noise.csv", 300), "--model", bert)["tasks"]["label"]
    assert curve["bottleneck"] == "nothing-learnt"
    data = write_csv(tmp_path / "few.csv", rows_of(20), ["text", "label"])
    answer = uke("curve", data, "--model", bert)
    assert answer.code == 0
    assert "too few" in answer.flat
    assert uke("curve", data, "--model", bert, "--gain", "0").code == 2
    epochs = uke("curve", data, "--model", bert, "--epochs", "2")
    assert epochs.code == 2
    assert "--epochs: probes have none" in epochs.err


def test_curve_of_several_labels(uke: Uke, bert: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", rows_of(200), ["text", "marks"])
    assert asked(uke, "curve", data, "--model", bert)["tasks"]["marks"]["metric"] == "micro_f1"


def test_a_run_shows_its_curve(uke: Uke, bert: Path, tmp_path: Path) -> None:
    """Measured on what is stored, in the record and drawn in the report."""
    data = write_csv(tmp_path / "data.csv", rows_of(300), ["text", "label"])
    out = tmp_path / "run"
    options = ("--model", bert, "--strategy", "probe", "--controls", "none", "--out", out)
    assert uke("fit", data, *options).code == 0
    curve = record_of(out)["learning_curve"]["label"]
    assert len(curve["points"]) >= 4
    assert curve["expected"][-1]["rows"] == 4 * curve["rows"]
    page = (out / "report.html").read_text("utf-8")
    assert 'id="learning"' in page
    assert "by labelled rows. Measured" in page


def test_a_run_that_would_take_long_shows_none(
    uke: Uke, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ukulele.trial import learning

    monkeypatch.setattr(learning, "WORK", 10)
    data = write_csv(tmp_path / "data.csv", rows_of(90), ["text", "label"])
    out = tmp_path / "run"
    options = ("--model", bert, "--strategy", "probe", "--controls", "none", "--out", out)
    assert uke("fit", data, *options).code == 0
    assert record_of(out)["learning_curve"] == {}
    assert 'id="learning"' not in (out / "report.html").read_text("utf-8")
