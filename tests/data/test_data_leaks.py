import csv
import random

import pytest

from ukulele.data import ReadOptions, read

WORDS = [f"w{i}" for i in range(30)]


def dataset(tmp_path, change, count=400):
    draw, rows = random.Random(0), []
    for n in range(count):
        label = draw.choice(["good", "bad", "fair"])
        row = {"text": " ".join(draw.choices(WORDS, k=8)) + f" n{n}", "label": label, "shop": f"s{draw.randint(0, 9)}"}
        rows.append(row | {"price": f"{draw.random() * 10:.3f}"} | change(row, label, draw))
    path = tmp_path / "data.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    options = ReadOptions(target=("label",), inputs=("text",))
    return {finding.code: finding for finding in read(path, options, tmp_path / "cache").findings}


def test_data_without_leaks_are_left_alone(tmp_path):
    found = dataset(tmp_path, lambda row, label, draw: {})
    assert not {"column-tells-target", "word-tells-target"} & set(found)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("grade", lambda label, draw: {"good": "A", "fair": "B", "bad": "C"}[label]),
        ("points", lambda label, draw: f"{['bad', 'fair', 'good'].index(label) + draw.random() * 0.9:.4f}"),
    ],
)
def test_a_column_that_tells_the_target_is_told_of(tmp_path, name, cell):
    found = dataset(tmp_path, lambda row, label, draw: {name: cell(label, draw)})
    finding = found["column-tells-target"]
    assert finding.evidence["column"] == name
    assert finding.evidence["share"] > 0.95


def test_a_target_written_into_the_text_is_told_of(tmp_path):
    found = dataset(tmp_path, lambda row, label, draw: {"text": f"{row['text']} [label={label.upper()}]"})
    finding = found["word-tells-target"]
    assert finding.severity == "warning"
    assert finding.evidence["words"] == {"good": "good", "bad": "bad", "fair": "fair"}


def test_a_word_that_half_the_class_has_gives_nothing_away(tmp_path):
    def change(row, label, draw):
        return {"text": row["text"] + (f" {label}" if draw.random() < 0.5 else "")}

    assert "word-tells-target" not in dataset(tmp_path, change)


def test_columns_of_lists_are_passed_over(tmp_path):
    import json

    draw = random.Random(0)
    rows = [{"text": f"w{n} w{n % 7}", "label": draw.choice(["good", "bad"])} for n in range(100)]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row | {"tags": ["a", row["label"]]}) + "\n" for row in rows), "utf-8")
    data = read(path, ReadOptions(target=("label",), inputs=("text",)), tmp_path / "cache")
    assert "column-tells-target" not in {finding.code for finding in data.findings}


def test_groups_that_stand_in_several_splits_are_told_of(tmp_path):
    moods = {f"author {n}": ["good", "bad", "fair"][n % 3] for n in range(40)}

    def change(row, label, draw):
        author = draw.choice(list(moods))
        return {"author": author, "label": moods[author] if draw.random() < 0.8 else label}

    finding = dataset(tmp_path, change)["group-leak"]
    assert finding.evidence["column"] == "author"
    assert "--group author" in finding.advice
    assert "group-leak" not in dataset(tmp_path, lambda row, label, draw: {"author": f"author {draw.randint(0, 39)}"})
