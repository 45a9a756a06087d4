"""What a run says about single rows: labels that may be wrong."""

import csv
import random

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
    assert len(caught) >= 6
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
