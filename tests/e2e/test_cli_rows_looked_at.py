"""What a run says about single rows: labels that may be wrong."""

import csv
import json
import random

import pytest
from e2e_kit import record_of, sentence, write_csv


def flipped(path, count=8):
    """Short sentences whose words tell the label, but for some."""
    draw = random.Random(0)
    rows = [
        {"text": f"{sentence(draw, n % 2 == 0, 2)} w{n}", "label": "good" if n % 2 == 0 else "bad"} for n in range(300)
    ]
    for row in rows[:count]:
        row["label"] = "bad" if row["label"] == "good" else "good"
    return write_csv(path, rows, ["text", "label"]), {row["text"] for row in rows[:count]}


def lines_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_wrong_labels_are_listed_told_and_shown(uke, bert, tmp_path):
    data, wrong = flipped(tmp_path / "reviews.csv")
    run = tmp_path / "run"
    said = uke("fit", data, "--model", bert, "--strategy", "probe", "--out", run)
    assert said.code == 0, said.flat
    found = lines_of(run / "suspects.csv")
    assert list(found[0]) == ["file", "line", "split", "task", "input", "given", "suggested", "score"]
    caught = wrong & {line["input"] for line in found}
    assert len(caught) >= 4
    assert len(found) <= 2 * len(wrong)
    assert {line["split"] for line in found} <= {"train", "validation", "test"}
    first = found[0]
    assert first["file"] == str(data)
    assert first["given"] != first["suggested"]
    with data.open(encoding="utf-8", newline="") as file:
        assert file.read().splitlines()[int(first["line"]) - 1] == f"{first['input']},{first['given']}"
    record = record_of(run)
    told = next(one for one in record["findings"] if one["code"] == "label-errors")
    assert told["evidence"]["count"] == len(found)
    assert record["suspects"][0]["input"] == first["input"]
    page = (run / "report.html").read_text("utf-8")
    assert "Labels to look at" in page
    assert first["input"] in page
    before = diagnosed(uke, data, bert)
    assert [{name: str(value) for name, value in one.items()} for one in before["suspects"]] == found
    told |= {"advice": told["advice"].replace("suspects.csv", "what --json prints")}
    assert told in before["findings"]


def diagnosed(uke, data, model):
    """What `uke diagnose` says of the same rows, without a run."""
    said = uke("diagnose", data, "--model", model, "--json", "--quiet")
    assert said.code == 0, said.flat
    return json.loads(said.out)


def test_several_labels_and_numbers_are_looked_at_too(uke, bert, tables, tmp_path):
    for name in ("marks", "scores"):
        said = uke("fit", tables / f"{name}.csv", "--model", bert, "--strategy", "probe", "--out", tmp_path / name)
        assert said.code == 0, said.flat
        assert (tmp_path / name / "suspects.csv").read_text("utf-8").startswith("file,line,split,task,input")


def test_pictures_are_shown_small(uke, network, pictures, tmp_path):
    import shutil

    folder = tmp_path / "colours"
    shutil.copytree(pictures, folder)
    (folder / "blue" / "3.png").rename(folder / "red" / "99.png")
    run = tmp_path / "run"
    said = uke("fit", folder, "--model", network, "--strategy", "probe", "--controls", "none", "--out", run)
    assert said.code == 0, said.flat
    found = lines_of(run / "suspects.csv")
    assert any(line["file"].endswith("99.png") and line["suggested"] == "blue" for line in found)
    assert record_of(run)["suspects"][0]["input"]["thumbnail"].startswith("data:image/jpeg")


@pytest.mark.parametrize("controls", ["cheap", "none"])
def test_shuffled_labels_are_nothing_to_learn(uke, bert, tmp_path, controls):
    draw = random.Random(3)
    rows = [{"text": sentence(draw, n % 2 == 0, 4), "label": draw.choice(["good", "bad"])} for n in range(240)]
    data, run = write_csv(tmp_path / "reviews.csv", rows, ["text", "label"]), tmp_path / "run"
    said = uke("fit", data, "--model", bert, "--strategy", "probe", "--controls", controls, "--out", run)
    assert said.code == 0, said.flat
    record = record_of(run)
    assert "nothing-to-learn" in {one["code"] for one in record["findings"]}
    assert lines_of(run / "suspects.csv") == []
    if controls == "cheap":
        assert record["verdict"]["outcome"] == "inconclusive"
        assert "Nothing to learn" in said.flat
    assert "<h1>Nothing to learn" in (run / "report.html").read_text("utf-8").replace(' class="long"', "")


def test_copies_across_given_splits_are_found(uke, bert, tmp_path):
    draw = random.Random(1)
    rows = [{"text": f"{sentence(draw, n % 2 == 0, 6)}", "label": "good" if n % 2 == 0 else "bad"} for n in range(260)]
    train, test = rows[:200], rows[200:]
    changed = [{**row, "text": row["text"].upper() + "!"} for row in train[:6]]
    folder = tmp_path / "data"
    folder.mkdir()
    write_csv(folder / "train.csv", train, ["text", "label"])
    write_csv(folder / "test.csv", [*changed, *test], ["text", "label"])
    run = tmp_path / "run"
    said = uke("fit", folder, "--model", bert, "--strategy", "probe", "--controls", "none", "--out", run)
    assert said.code == 0, said.flat
    found = [line for line in lines_of(run / "copies.csv") if line["split"] == "test"]
    assert {line["input"] for line in found} == {row["text"] for row in changed}
    record = record_of(run)
    told = next(one for one in record["findings"] if one["code"] == "near-duplicate-across-splits")
    assert told["evidence"]["count"] == 6
    page = (run / "report.html").read_text("utf-8")
    assert "copies.csv" in page
    before = diagnosed(uke, folder, bert)
    assert [one["input"] for one in before["copies"] if one["split"] == "test"] == [line["input"] for line in found]
    assert told | {"advice": "Remove them from train; all are in what --json prints."} in before["findings"]


def test_one_number_far_from_all_others_is_found_and_hides_nothing(uke, bert, tmp_path):
    draw = random.Random(0)
    rows = [{"text": f"{sentence(draw, n % 2 == 0, 2)} w{n}", "score": n % 2 + draw.random() / 5} for n in range(160)]
    rows[9]["score"] *= 1000
    data = write_csv(tmp_path / "scores.csv", rows, ["text", "score"])
    run = tmp_path / "run"
    said = uke("fit", data, "--model", bert, "--strategy", "probe", "--controls", "none", "--out", run)
    assert said.code == 0, said.flat
    (line,) = lines_of(run / "suspects.csv")
    assert line["input"] == rows[9]["text"]
    codes = {finding["code"] for finding in record_of(run)["findings"]}
    assert {"stray-numbers", "label-errors"} <= codes
    assert "nothing-to-learn" not in codes
    assert "Values of 'score' far from all others: 1" in uke("check", data).flat


def test_few_rows_are_not_said_to_hold_nothing(uke, bert, tmp_path):
    draw = random.Random(1)
    rows = [{"text": sentence(draw, n % 2 == 0, 2), "label": "good" if n % 2 == 0 else "bad"} for n in range(20)]
    data = write_csv(tmp_path / "few.csv", rows, ["text", "label"])
    run = tmp_path / "run"
    assert uke("fit", data, "--model", bert, "--strategy", "probe", "--controls", "none", "--out", run).code == 0
    codes = {finding["code"] for finding in record_of(run)["findings"]}
    assert "nothing-to-learn" not in codes
    assert "too-few-to-tell" in codes


def test_the_only_row_of_a_class_is_not_doubted(uke, bert, tmp_path):
    draw = random.Random(2)
    rows = [
        {"text": f"{sentence(draw, n % 2 == 0, 2)} w{n}", "label": "good" if n % 2 == 0 else "bad", "split": "train"}
        for n in range(150)
    ]
    rows[7] |= {"text": "an album of songs from far away", "label": "song"}
    for n in range(100, 150):
        rows[n]["split"] = "validation" if n < 120 else "test"
    data = write_csv(tmp_path / "rare.csv", rows, ["text", "label", "split"])
    run = tmp_path / "run"
    assert uke("fit", data, "--model", bert, "--strategy", "probe", "--controls", "none", "--out", run).code == 0
    assert rows[7]["text"] not in {line["input"] for line in lines_of(run / "suspects.csv")}
