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


def numbers(tmp_path, change, count=400):
    """Rows with a number for an answer, most small and some very large."""
    draw = random.Random(0)
    rows = [{"text": f"w{n} w{n % 7}", "cost": round(draw.lognormvariate(3, 1), 4)} for n in range(count)]
    path = tmp_path / "data.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [row | change(row["cost"], draw) for row in rows]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    options = ReadOptions(target=("cost",), inputs=("text",))
    return {finding.code: finding for finding in read(path, options, tmp_path / "cache").findings}


@pytest.mark.parametrize(
    "cell",
    [
        lambda cost, draw: f"{cost * 1.19 + draw.random() * 0.1:.2f}",
        lambda cost, draw: f"{-(cost**0.5):.4f}",
        lambda cost, draw: f"EUR {cost}" if draw.random() < 0.99 else "",
    ],
    ids=["scaled", "bent", "written"],
)
def test_a_column_that_tells_a_number_is_told_of(tmp_path, cell):
    values = [round(n * 1.37 + 0.55, 2) for n in range(40)]  # each on some rows: a column of words can tell it
    found = numbers(tmp_path, lambda cost, draw: {"cost": (c := draw.choice(values)), "paid": cell(c, draw)})
    finding = found["column-tells-target"]
    assert finding.evidence["column"] == "paid"
    assert finding.evidence["share"] > 0.95
    assert "of the variance of 'cost'" in finding.message
    assert "most_frequent" not in finding.evidence


def test_a_number_that_hangs_together_with_another_is_not_told_of(tmp_path):
    found = numbers(tmp_path, lambda cost, draw: {"near": f"{cost * draw.lognormvariate(0, 0.7):.2f}", "day": "Monday"})
    assert not {"column-tells-target", "group-leak"} & set(found)


def test_few_very_large_numbers_are_told_by_a_column_of_another_unit(tmp_path):
    found = numbers(tmp_path, lambda cost, draw: {"cents": f"{cost * 100:.0f}"})
    assert found["column-tells-target"].evidence["column"] == "cents"


@pytest.mark.parametrize("cell", ["", "n/a", "nan", "inf"])
def test_a_cell_that_is_no_number_hides_no_other(tmp_path, cell):
    found = numbers(tmp_path, lambda cost, draw: {"paid": f"{cost * 1.19:.2f}" if draw.random() < 0.9 else cell})
    assert found["column-tells-target"].evidence["column"] == "paid"
    assert "in the held-out rows where it is filled." in found["column-tells-target"].message

    def points(row, label, draw):
        told = ["bad", "fair", "good"].index(label) + draw.random() * 0.9
        return {"points": f"{told:.4f}" if draw.random() < 0.9 else cell}

    (tmp_path / "classes").mkdir()
    assert dataset(tmp_path / "classes", points)["column-tells-target"].evidence["column"] == "points"
    rarely = numbers(tmp_path, lambda cost, draw: {"paid": f"{cost * 1.19:.2f}" if draw.random() < 0.3 else cell})
    assert "column-tells-target" not in rarely


def test_whole_numbers_that_measure_something_are_no_groups(tmp_path):
    """What lies near them tells as much."""

    def change(cost, draw):
        age = draw.randint(18, 90)
        return {"age": age, "cost": round(age + draw.gauss(0, 15), 2)}

    assert "group-leak" not in numbers(tmp_path, change, 2000)

    def classes(row, label, draw):
        age = draw.randint(18, 90)
        return {"age": age, "label": ["bad", "fair", "good"][(age - 18) // 25] if draw.random() < 0.8 else label}

    (tmp_path / "classes").mkdir()
    assert "group-leak" not in dataset(tmp_path / "classes", classes, 2000)


def test_groups_are_told_of_by_their_numbers(tmp_path):
    draw = random.Random(1)
    levels = {n: draw.uniform(0, 40) for n in range(100, 150)}

    def change(cost, draw):
        site = draw.choice(list(levels))
        return {"site": site, "cost": round(levels[site] + draw.gauss(0, 4), 3)}

    assert numbers(tmp_path, change, 1000)["group-leak"].evidence["column"] == "site"
    moods = {n: draw.choice(["good", "bad", "fair"]) for n in levels}

    def classes(row, label, draw):
        site = draw.choice(list(moods))
        return {"site": site, "label": moods[site] if draw.random() < 0.9 else label}

    (tmp_path / "classes").mkdir()
    assert dataset(tmp_path / "classes", classes, 1000)["group-leak"].evidence["column"] == "site"


def test_long_cells_beside_the_input_take_little_memory(tmp_path):
    import tracemalloc

    def change(cost, draw):
        return {"page": "<p>" * (50_000 if draw.random() < 0.02 else 10) + str(cost)}

    tracemalloc.start()
    numbers(tmp_path, change, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000_000  # as an array of equal cells, 600 MB


def test_groups_that_share_a_number_are_told_of(tmp_path):
    levels = {f"site {n}": float(n) for n in range(40)}

    def change(cost, draw):
        site = draw.choice(list(levels))
        return {"site": site, "cost": round(levels[site] + draw.gauss(0, 6), 3)}

    finding = numbers(tmp_path, change)["group-leak"]
    assert finding.evidence["column"] == "site"
    assert "of the variance of 'cost' in them" in finding.message
    assert "group-leak" not in numbers(tmp_path, lambda cost, draw: {"site": draw.choice(list(levels))})


def test_a_column_that_tells_several_labels_is_told_of(tmp_path):
    draw, rows = random.Random(0), ["text,labels,code"]
    for n in range(300):
        labels = sorted(draw.sample(["joy", "fear", "anger"], draw.choice([1, 1, 2])))
        rows.append(f"w{n} w{n % 7},{';'.join(labels)},{len(labels)}{labels[0][0]}{labels[-1][0]}")
    path = tmp_path / "data.csv"
    path.write_text("\n".join(rows), "utf-8")
    data = read(path, ReadOptions(target=("labels",), inputs=("text",)), tmp_path / "cache")
    assert [target.kind for target in data.targets] == ["multilabel"]
    finding = next(one for one in data.findings if one.code == "column-tells-target")
    assert finding.evidence["column"] == "code"
    assert finding.evidence["most_frequent"] < 0.5


def test_groups_that_stand_in_several_splits_are_told_of(tmp_path):
    moods = {f"author {n}": ["good", "bad", "fair"][n % 3] for n in range(40)}

    def change(row, label, draw):
        author = draw.choice(list(moods))
        return {"author": author, "label": moods[author] if draw.random() < 0.8 else label}

    finding = dataset(tmp_path, change)["group-leak"]
    assert finding.evidence["column"] == "author"
    assert "--group author" in finding.advice
    assert "group-leak" not in dataset(tmp_path, lambda row, label, draw: {"author": f"author {draw.randint(0, 39)}"})
