"""`uke choose`: models ranked, their features kept for `uke fit`, limits, and data with nothing to learn."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import Answer, rows_of, write_csv
from rich.console import Console

import ukulele
from ukulele.doors import choosing, show
from ukulele.trial import ranking

Uke = Callable[..., Answer]


@pytest.fixture(scope="session")
def other(encoder_folder: Callable[..., Path]) -> Path:
    """A second text encoder, narrower than the first."""
    return encoder_folder("bert", hidden_size=8, num_hidden_layers=1, num_attention_heads=2)


def chosen(uke: Uke, *args: object) -> dict[str, Any]:
    answer = uke("choose", *args, "--json", "--quiet")
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


def test_table_and_json(uke: Uke, tables: Path, bert: Path, other: Path) -> None:
    answer = uke("choose", tables / "reviews.csv", "--models", bert, other)
    assert answer.code == 0, answer.err
    assert f"--model {bert}" in answer.flat or f"--model {other}" in answer.flat
    assert "regret" in answer.out
    found = chosen(uke, tables / "reviews.csv", "--models", bert, other)
    assert [one["rank"] for one in found["models"]] == [1, 2]
    assert found["metric"] == {"label": "accuracy"}
    assert found["learnt"]["label"]["something"]
    regrets = [one["regret"] for one in found["models"]]
    assert regrets == sorted(regrets)
    for one in found["models"]:
        expected = one["expected"]["label"]
        assert expected["low"] <= expected["value"] <= expected["high"]
        assert one["layer"] in [layer["stage"] for layer in one["layers"]]
        assert one["latency_seconds"] > 0
        assert one["size_bytes"] == 4 * one["parameters"]
        assert {"probe", "kNN", "LogME", "H-score", "plain H-score", "prior"} <= one["scores"].keys()


def test_fit_reads_what_choose_stored(
    uke: Uke, tables: Path, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training rows are encoded once, by whichever comes first; a second question encodes nothing."""
    from ukulele.features import blocks

    wrote: list[Path] = []
    real = blocks.write

    def write(path: Path, *args: Any) -> None:
        wrote.append(path)
        real(path, *args)

    monkeypatch.setattr(blocks, "write", write)
    chosen(uke, tables / "reviews.csv", "--models", bert)
    first = list(wrote)
    assert len(first) == 1
    chosen(uke, tables / "reviews.csv", "--models", bert)
    assert wrote == first
    options = ("--model", bert, "--strategy", "probe", "--controls", "none", "--out", tmp_path / "run")
    assert uke("fit", tables / "reviews.csv", *options).code == 0
    assert first[0] not in wrote[1:]
    assert len(wrote) == 3  # validation and test rows, which choosing does not look at


@pytest.mark.parametrize(
    ("data", "metric"), [("scores.csv", "r2"), ("marks.csv", "micro_f1"), ("pairs.csv", "accuracy")]
)
def test_other_tasks(data: str, metric: str, uke: Uke, tables: Path, bert: Path, other: Path) -> None:
    found = chosen(uke, tables / data, "--models", bert, other)
    assert list(found["metric"].values()) == [metric]
    assert all(one["status"] == "ranked" for one in found["models"])


def test_several_tasks(uke: Uke, tables: Path, bert: Path, other: Path) -> None:
    found = chosen(uke, tables / "reviews.csv", "--target", "label", "shop", "--models", bert, other)
    assert set(found["metric"]) == {"label", "shop"}
    assert set(found["models"][0]["expected"]) == {"label", "shop"}
    assert found["learnt"]["label"]["something"]


@pytest.mark.parametrize("limit", [(), ("--budget", "0.01s")])
def test_a_task_with_few_rows(limit: tuple[str, ...], uke: Uke, bert: Path, other: Path, tmp_path: Path) -> None:
    """Too few for 20 neighbours, and so rare that a sample of all rows would have none of them."""
    rows = [row | {"rare": row["label"] if number < 24 else ""} for number, row in enumerate(rows_of(1600))]
    data = write_csv(tmp_path / "rare.csv", rows, ["text", "shop", "rare"])
    found = chosen(uke, data, "--target", "shop", "rare", "--text", "text", "--models", bert, other, *limit)
    best = found["models"][0]
    assert best["status"] == "ranked"
    assert set(best["expected"]) == {"shop", "rare"}


def test_pictures_and_a_folder_of_weights(uke: Uke, pictures: Path, network: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("one", "two"):
        shutil.copy(network, folder / f"{name}.safetensors")
    found = chosen(uke, pictures, "--models", folder)
    assert {Path(one["model"]).stem for one in found["models"]} == {"one", "two"}
    assert found["models"][0]["fused"] == pytest.approx(found["models"][1]["fused"])
    assert found["models"][0]["licence"] == "CC0-1.0"


def test_a_list_of_names_and_one_that_is_no_model(uke: Uke, tables: Path, bert: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text(f"{bert}  # the one\n\n{tmp_path / 'absent'}\n")
    found = chosen(uke, tables / "reviews.csv", "--models", names)
    assert [one["status"] for one in found["models"]] == ["ranked", "refused"]
    assert "absent" in found["models"][1]["why"]
    refused = uke("choose", tables / "reviews.csv", "--models", tmp_path / "absent")
    assert refused.code == 2
    assert "no candidate can be used" in refused.flat
    empty = tmp_path / "empty.txt"
    empty.write_text("# none\n")
    assert "names no model" in uke("choose", tables / "reviews.csv", "--models", empty).flat


def test_a_control_is_no_candidate(uke: Uke, pictures: Path, network: Path) -> None:
    found = chosen(uke, pictures, "--models", network, "histogram")
    assert [one["status"] for one in found["models"]] == ["ranked", "refused"]
    assert "control" in found["models"][1]["why"]


def test_local_models(
    uke: Uke, tables: Path, fitted: Path, pictures: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished runs in runs/ and weights in the folder, each for the kind of data that it reads."""
    from ukulele.models import hub

    monkeypatch.setattr(hub, "offline_installed", lambda: False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(fitted, tmp_path / "runs" / "before")
    shutil.copy(network, tmp_path / "net.safetensors")
    found = chosen(uke, tables / "reviews.csv")
    assert [one["model"] for one in found["models"]] == ["runs/before"]
    assert found["models"][0]["scores"]["LEEP"] <= 0  # the run's own classifier
    assert [one["model"] for one in chosen(uke, pictures, "--models", "local")["models"]] == ["net.safetensors"]
    (tmp_path / "net.safetensors").unlink()
    nothing = uke("choose", pictures)
    assert nothing.code == 2
    assert "no model for image data" in nothing.flat


def test_limits(uke: Uke, tables: Path, bert: Path, other: Path) -> None:
    found = chosen(uke, tables / "reviews.csv", "--models", bert, other, "--max-size", "0.02")
    assert [(one["model"], one["status"]) for one in found["models"]] == [
        (str(other), "ranked"), (str(bert), "over the limit"),
    ]  # fmt: skip
    none = uke("choose", tables / "reviews.csv", "--models", bert, other, "--max-latency", "0.000001")
    assert none.code == 2
    assert "ms for a row" in none.flat
    for option, value in (("--max-size", "0"), ("--budget", "soon")):
        refused = uke("choose", tables / "reviews.csv", "--models", bert, option, value)
        assert refused.code == 2, option
        assert option in refused.flat


def test_halving(uke: Uke, bert: Path, tmp_path: Path, encoder_folder: Callable[..., Path]) -> None:
    """More candidates than are worth all rows: few rows first, and the better half goes on."""
    data = write_csv(tmp_path / "many.csv", rows_of(2400), ["text", "label"])
    names = [bert, *(encoder_folder("bert", hidden_size=8, intermediate_size=size) for size in range(8, 16))]
    found = chosen(uke, data, "--models", *names)
    assert [len(step["models"]) for step in found["rounds"]] == [9, 5, 3]
    rows = [step["rows"] for step in found["rounds"]]
    assert rows[:1] == [500]
    assert rows == sorted(rows)
    assert [one["status"] for one in found["models"]] == ["ranked"] * 3 + ["dropped"] * 6
    assert all(one["rows"] == 500 for one in found["models"][-4:])
    assert [one["regret"] is None for one in found["models"]] == [False] * 3 + [True] * 6


def test_with_many_classes_a_round_has_several_rows_of_each(
    uke: Uke, bert: Path, tmp_path: Path, encoder_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "FIRST_ROWS", 20)
    monkeypatch.setattr(ranking, "FEW", 2)
    draw = random.Random(0)
    rows = [{"text": f"w{label} song w{draw.randrange(40)} {copy}", "label": f"c{label}"}
            for label in range(16) for copy in range(12)]  # fmt: skip
    data = write_csv(tmp_path / "wide.csv", rows, ["text", "label"])
    names = [bert, *(encoder_folder("bert", hidden_size=8, intermediate_size=size) for size in (8, 9, 10))]
    found = chosen(uke, data, "--models", *names)
    assert found["rounds"][0]["rows"] == 80
    assert [len(step["models"]) for step in found["rounds"]] == [4, 2]


def test_a_round_that_tells_nothing_drops_nobody(
    uke: Uke, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights under other names: their order is that in which they are named."""
    monkeypatch.setattr(ranking, "FEW", 2)
    data = write_csv(tmp_path / "many.csv", rows_of(800), ["text", "label"])
    answer = uke("choose", data, "--models", *(shutil.copytree(bert, tmp_path / name) for name in "abcd"))
    assert "500 rows do not tell these models apart: none is dropped" in answer.flat
    assert "dropped: behind" not in answer.flat
    assert "As good as equal to it: b, c, d." in answer.flat


def test_a_dropped_model_is_not_called_equal() -> None:
    """Its regret was that of another round."""
    one = {
        "model": "a", "status": "ranked", "why": "", "rank": 1, "regret": 0.001, "layer": "pool", "rows": 2000,
        "expected": {"label": {"value": 0.9, "low": 0.8, "high": 1.0}}, "latency_seconds": 0.1, "pass_seconds": 1,
        "size_bytes": 10**6, "licence": "MIT",
    }  # fmt: skip
    models = [one, one | {"model": "b", "rank": 2}, one | {"model": "c", "status": "dropped", "rank": 3, "rows": 500}]
    found = {"models": models, "learnt": {"label": {"something": True}}, "metric": {"label": "accuracy"}}
    found |= {"seconds": 1.0, "limit_seconds": None}
    said = " ".join(choosing.sentences(found))
    assert "As good as equal to it: b. " in said


def test_a_narrow_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Cells stay whole: headers are broken between words, then columns left out, which is said."""
    rows = [["1", "a-model-with-a-long-name", "0.912", "0.900 to 0.924"]]
    header = ("", "model", "expected accuracy", "95 % interval")
    shown = {}
    for width in (80, 56, 40):
        left_out = show.table(Console(width=width), header, rows, ("95 % interval", "model"))
        shown[width] = (left_out, capsys.readouterr().out.splitlines())
    assert shown[80][0] == ()
    assert len(shown[80][1]) == 2
    assert shown[56][0] == ()
    assert [line.split() for line in shown[56][1]][1:] == [
        ["model", "accuracy", "95", "%", "interval"], ["1", *rows[0][1:3], *rows[0][3].split()],
    ]  # fmt: skip
    assert shown[40][0] == ("95 % interval",)
    assert "0.900" not in "".join(shown[40][1])
    assert all(len(line) <= width for width, (_, lines) in shown.items() for line in lines)


def test_a_short_budget_means_fewer_rows(uke: Uke, tables: Path, bert: Path, other: Path) -> None:
    found = chosen(uke, tables / "reviews.csv", "--models", bert, other, "--budget", "0.01s")
    assert found["rounds"][-1]["rows"] < found["rows"]
    assert found["models"][0]["status"] == "ranked"


# ---------------------------------------------------------------- time


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Makes each call of a function of the ranking take as many seconds as are given, and lists the calls."""
    late, real_clock = [0.0], time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: real_clock() + late[0])

    def make(name: str, *seconds: float) -> list[Any]:
        real, calls = getattr(ranking, name), list[Any]()

        def slowed(*args: Any) -> Any:
            late[0] += seconds[min(len(calls), len(seconds) - 1)]
            calls.append(args[0])
            return real(*args)

        monkeypatch.setattr(ranking, name, slowed)
        return calls

    return make


@pytest.fixture
def four(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Data, and four models that see them in two rounds."""
    monkeypatch.setattr(ranking, "FEW", 2)
    models = [shutil.copytree(bert, tmp_path / name) for name in "abcd"]
    monkeypatch.setattr(ranking, "_kept", lambda _running, _context: 2)
    return [write_csv(tmp_path / "many.csv", rows_of(800), ["text", "label"]), "--models", *models]


def test_models_that_are_not_looked_at_for_want_of_time(uke: Uke, four: list[object], slow: Any) -> None:
    looked = slow("glimpse", 40)
    answer = uke("choose", *four, "--budget", "60s")
    assert answer.code == 0, answer.err
    assert len(looked) == 1
    for name in "bcd":
        assert f"{name}: not looked at: time was up" in answer.out


def test_a_round_ends_when_time_is_up(uke: Uke, four: list[object], slow: Any) -> None:
    scored = slow("_score", 40)
    answer = uke("choose", *four, "--budget", "60s")
    assert answer.code == 0, answer.err
    assert [Path(one.name).name for one in scored] == ["a", "b"]
    assert "c: not looked at: time was up" in answer.out
    assert "d: not looked at: time was up" in answer.out
    assert "60 were meant." in answer.flat


def test_no_round_on_the_same_rows(uke: Uke, four: list[object], slow: Any) -> None:
    scored = slow("_score", 20)
    found = chosen(uke, *four, "--budget", "75s")
    assert len(scored) == 4
    assert [step["rows"] for step in found["rounds"]] == [500]
    assert [one["status"] for one in found["models"]] == ["ranked"] * 4
    assert found["limit_seconds"] == 75


def test_a_round_that_comes_to_no_end_changes_nothing(uke: Uke, four: list[object], slow: Any) -> None:
    """Models are compared on the rows that all of them saw."""
    slow("_score", 10, 10, 10, 10, 60)
    answer = uke("choose", *four, "--budget", "90s", "--json")
    found = json.loads(answer.out)
    assert [step["rows"] for step in found["rounds"]] == [500]
    assert [(one["status"], one["rows"]) for one in found["models"]] == [("ranked", 500)] * 4
    assert "time was up on 560 rows: the order is that of 500" in answer.flat


def test_from_python(tables: Path, bert: Path, other: Path) -> None:
    found = ukulele.choose(tables / "reviews.csv", [bert, other], target="label", max_size=100)
    assert found["chosen"] in {str(bert), str(other)}
    with pytest.raises(ukulele.UkuleleError, match="unknown options"):
        ukulele.choose(tables / "reviews.csv", bert, colour="red")


# ---------------------------------------------------------------- hostile


def test_shuffled_labels_are_nothing_to_learn(uke: Uke, bert: Path, other: Path, tmp_path: Path) -> None:
    rows = rows_of(300)
    labels = [row["label"] for row in rows]
    random.Random(4).shuffle(labels)
    data = write_csv(
        tmp_path / "noise.csv",
        [{**row, "label": label} for row, label in zip(rows, labels, strict=True)],
        ["text", "label"],
    )
    answer = uke("choose", data, "--models", bert, other)
    assert answer.code == 0
    assert "Nothing to learn for 'label'" in answer.flat
    assert not chosen(uke, data, "--models", bert, other)["learnt"]["label"]["something"]


def test_twenty_rows(uke: Uke, bert: Path, other: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "few.csv", rows_of(20), ["text", "label"])
    found = chosen(uke, data, "--models", bert, other)
    assert found["rows"] < 20
    expected = found["models"][0]["expected"]["label"]
    assert 0 <= expected["low"] <= expected["value"] <= expected["high"] <= 1


@pytest.mark.parametrize("classes", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_many_classes_with_three_rows_each(classes: int, uke: Uke, bert: Path, tmp_path: Path) -> None:
    """Two of them train: one is left to learn a class from when the other is held out."""
    draw = random.Random(0)
    rows = [
        {"text": f"w{label % 40} w{label // 40} song w{draw.randrange(40)} {copy}", "label": f"c{label}"}
        for label in range(classes) for copy in range(3)
    ]  # fmt: skip
    data = write_csv(tmp_path / "wide.csv", rows, ["text", "label"])
    answer = uke("choose", data, "--models", bert)
    assert answer.code == 0, answer.err
    assert "Nothing to learn" not in answer.flat
    assert f"on {round(2.1 * classes):,} rows" in answer.flat


def test_one_class(uke: Uke, bert: Path, tmp_path: Path) -> None:
    data = write_csv(
        tmp_path / "one.csv", [{"text": row["text"], "label": "good"} for row in rows_of(40)], ["text", "label"]
    )
    answer = uke("choose", data, "--target", "label", "--models", bert)
    assert answer.code == 2
    assert "label" in answer.flat
