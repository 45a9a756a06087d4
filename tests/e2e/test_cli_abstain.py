"""How sure a model says it is: prediction sets, abstaining, and rows unlike those of training."""

import csv
import random

import pytest
from e2e_kit import record_of, sentence, write_csv


@pytest.fixture(scope="module")
def plenty(tmp_path_factory):
    """Short sentences with a label, labels and a number each."""
    draw, rows = random.Random(0), []
    for n in range(700):
        good = n % 2 == 0
        loud = draw.random() < 0.3
        rows.append(
            {
                "text": f"{sentence(draw, good, 3)}{' song' if loud else ''} w{n % 50}",
                "label": "good" if good else "bad",
                "marks": ";".join(["good" if good else "bad", *(["loud"] if loud else [])]),
                "score": round(good + draw.random() / 2, 3),
            }
        )
    folder = tmp_path_factory.mktemp("plenty")
    for target in ("label", "marks", "score"):
        write_csv(folder / f"{target}.csv", rows, ["text", target])
    write_csv(folder / "new.csv", rows[:40], ["text"])
    return folder


def answers_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("target", ["label", "marks", "score"])
def test_sets_hold_the_truth_as_often_as_promised(uke, bert, plenty, tmp_path, target):
    run, out = tmp_path / "run", tmp_path / "answers.csv"
    fit = uke(
        "fit", plenty / f"{target}.csv", "--model", bert, "--strategy", "probe", "--controls", "none",
        "--calibrate", 120, "--out", run,
    )  # fmt: skip
    assert fit.code == 0, fit.flat
    assert "calibrate prediction sets and serve nothing else" in fit.flat
    record = record_of(run)
    told = record["sets"][0]
    assert told["calibration"] >= 120
    assert told["low"] <= told["covered"] <= told["high"]
    assert told["inside"]
    assert sum(record["data"]["rows"].values()) + told["calibration"] == 700
    assert record["domain"][0]["test"]["outside"] < 0.1
    said = uke("predict", run, plenty / "new.csv", "--abstain", 0.9, "--out", out)
    assert said.code == 0, said.flat
    first = answers_of(out)[0]
    wanted = {"label": {"set", "abstained"}, "marks": {"certain", "possible", "abstained"}, "score": {"low", "high"}}
    assert wanted[target] | {"outside"} <= set(first)
    page = (run / "report.html").read_text("utf-8")
    assert "Certainty" in page
    assert "Prediction sets" in page
    assert uke("predict", run, "good w1", "--abstain", 0.9999).code == 2


def test_sets_are_refused_without_rows_that_calibrate_them(uke, bert, fitted, tables, tmp_path):
    said = uke("predict", fitted, "good w1", "--abstain", 0.95)
    assert said.code == 2
    assert "--calibrate auto" in said.flat
    for asked, why in (("auto", "tenth"), ("50", "at least 100"), ("100", "more would calibrate than train")):
        said = uke("fit", tables / "reviews.csv", "--model", bert, "--calibrate", asked, "--out", tmp_path / "run")
        assert said.code == 2
        assert why in said.flat
    said = uke("fit", tables / "reviews.csv", "--calibrate", "200", "--time", "day", "--out", tmp_path / "run")
    assert said.code == 2
    assert "future" in said.flat


def test_rows_unlike_those_of_training_are_marked(uke, fitted, tmp_path):
    out = tmp_path / "answers.jsonl"
    rows = write_csv(tmp_path / "new.csv", [{"text": "song " * 40}, {"text": "good w1 w2 w3 fine w9"}], ["text"])
    said = uke("predict", fitted, rows, "--out", out)
    assert said.code == 0, said.flat
    lines = out.read_text("utf-8").splitlines()
    assert '"outside": true' in lines[0]
    assert '"outside": false' in lines[1]
    assert "1 of 2 rows are unlike those of training" in said.flat


def test_the_rows_to_label_next_are_chosen(uke, fitted, plenty, tmp_path):
    out = tmp_path / "next.csv"
    said = uke("label-next", fitted, plenty / "new.csv", "-n", 7, "--out", out)
    assert said.code == 0, said.flat
    found = answers_of(out)
    assert [line["rank"] for line in found] == [str(rank) for rank in range(1, 8)]
    assert len({line["input"] for line in found}) == 7
    assert float(found[0]["unsure"]) == max(float(line["unsure"]) for line in found)
    said = uke("label-next", fitted, plenty / "new.csv", "-n", 3)
    assert said.code == 0
    assert found[0]["input"][:20] in said.flat
    assert uke("label-next", fitted, tmp_path / "absent.csv").code == 2
