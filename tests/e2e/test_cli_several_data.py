"""Several sources and several targets through the command line, without any training."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import Answer, rows_of, write_csv

Uke = Callable[..., Answer]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tables of different kinds."""
    folder = tmp_path_factory.mktemp("several")
    holes = rows_of(90, 3)
    for number, row in enumerate(holes):
        row["label" if number % 3 else "score"] = ""
    holes[9]["score"] = "much"
    return {
        "mood": write_csv(folder / "mood.csv", rows_of(90, 0), ["text", "label", "shop"]),
        "marks": write_csv(folder / "marks.csv", rows_of(60, 1), ["text", "marks"]),
        "pairs": write_csv(folder / "pairs.csv", rows_of(60, 2), ["first", "second", "label"]),
        "holes": write_csv(folder / "holes.csv", holes, ["text", "label", "score"]),
    }


def test_check_several_sources(uke: Uke, sources: dict[str, Path], tmp_path: Path) -> None:
    answer = uke("check", f"mood={sources['mood']}", f"marks={sources['marks']}")
    assert answer.code == 0, answer.err
    assert "mood: Target: column 'label'" in answer.flat
    assert "marks: Task: several labels a row, from the cells of 'marks'." in answer.flat
    assert "Rows of 2 sources together" in answer.flat
    bad = write_csv(tmp_path / "bad.csv", [*rows_of(60), {"text": "", "label": "good"}], ["text", "label"])
    answer = uke("check", f"mood={sources['mood']}", f"bad={bad}", "--quarantine", tmp_path / "aside.csv")
    assert f"{bad}:62: empty text" in answer.flat
    assert str(bad) in (tmp_path / "aside.csv").read_text()


def test_check_texts_beside_pairs(uke: Uke, sources: dict[str, Path], bert: Path) -> None:
    """Rows of one text and of two are counted in the model's tokens."""
    answer = uke("check", f"mood={sources['mood']}", f"pairs={sources['pairs']}", "--model", bert, "--max-length", 8)
    assert answer.code == 0, answer.err
    assert "of 150 texts" in answer.flat


def test_check_several_targets(uke: Uke, sources: dict[str, Path]) -> None:
    for options in (("--target", "label", "--target", "score"), ("--target", "label", "score")):
        answer = uke("check", sources["holes"], *options)
        assert answer.code == 0, answer.err
        assert "Task 'label': one class a row" in answer.flat
        assert "Task 'score': a number" in answer.flat
        assert "'label' (60), 'score' (29)" in answer.flat
        assert f"{sources['holes']}:11: target 'score' is 'much', not a number" in answer.flat


def test_check_a_file_of_tasks(uke: Uke, sources: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(f"tasks:\n- {{name: mood, data: {sources['mood']}}}\n- {{name: marks, data: {sources['marks']}}}\n")
    answer = uke("check", path)
    assert answer.code == 0, answer.err
    assert "Rows of 2 sources together" in answer.flat
    path.write_text(path.read_text().replace("name: marks", "name: marks, wait: 2"))
    answer = uke("check", path)
    assert answer.code == 2
    assert "tasks.yaml:3: unknown key 'wait'" in answer.flat
    assert "Did you mean 'weight'?" in answer.flat


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("{mood}", "{marks}"), ("2 sources were given", "NAME=PATH")),
        (("mood={mood}", "{marks}"), ("without a name", "NAME=PATH")),
        (("mood={mood}", "mood={marks}"), ("the name 'mood' stands twice",)),
        (("mood={mood}", "marks={marks}", "--task", "classify"), ("--task classify is for one target",)),
        (("mood={mood}", "marks={marks}", "--target", "label"), ("marks.csv: there is no column 'label'",)),
        (("mood={mood}", "marks={marks}", "--group", "shpo"), ("no source has a column 'shpo'", "Did you mean 'shop'")),
        (("mood={mood}", "marks=nowhere.csv"), ("marks: nowhere.csv: no such file",)),
        (("{holes}", "--target", "label", "score", "--task", "regress"), ("there are 2: label, score",)),
    ],
)
@pytest.mark.parametrize("command", ["check", "fit"])
def test_refused_with_the_way_out(
    command: str, args: tuple[str, ...], said: tuple[str, ...], uke: Uke, sources: dict[str, Path], tmp_path: Path
) -> None:
    out = ("--out", tmp_path / "run") if command == "fit" else ()
    answer = uke(command, *(arg.format(**sources) for arg in args), *out)
    assert answer.code == 2, answer.flat
    assert "Traceback" not in answer.err
    for words in said:
        assert words in answer.flat, answer.flat
    assert not (tmp_path / "run").exists()


def test_pictures_and_texts_are_refused(uke: Uke, sources: dict[str, Path], pictures: Path) -> None:
    answer = uke("check", f"colour={pictures}", f"mood={sources['mood']}")
    assert answer.code == 2
    assert "'colour' holds pictures and 'mood' texts" in answer.flat


def test_a_path_with_an_equals_sign(uke: Uke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "day=1.csv", rows_of(60), ["text", "label"])
    plain, named = uke("check", "day=1.csv"), uke("check", "first=day=1.csv")
    assert plain.code == named.code == 0
    assert "first: Target" in named.flat
    assert "first" not in plain.flat


def test_how_a_stopped_run_of_several_goes_on(
    uke: Uke, sources: dict[str, Path], bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every argument is quoted."""
    out = tmp_path / "a run"

    def stopped(_source: Any, _options: Any, folder: Path, *_: Any, **__: Any) -> Path:
        folder.mkdir()
        (folder / "manifest.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr("ukulele.story.pipeline.fit", stopped)
    given = [f"mood={sources['mood']}", "other=has space.csv"]
    answer = uke("fit", *given, "--out", out)
    assert answer.code == 130
    command = answer.flat.partition("Go on with: ")[2]
    assert shlex.split(command) == ["uke", "fit", *given, "--resume", str(out)]


def test_names_for_folders() -> None:
    from ukulele.api import source_name

    assert source_name({"irony": "x", "hate": "y", "emotion": "z"}) == "irony-hate-emotion"
    assert len(source_name({f"task-number-{i}": "x" for i in range(9)})) <= 40
    assert source_name({"../..": "x"}) == "data"
    assert source_name("data/tasks.yaml") == "tasks"


def test_from_python(sources: dict[str, Path]) -> None:
    import pandas as pd

    import ukulele as uke

    data = uke.check({"mood": pd.read_csv(sources["mood"]), "marks": sources["marks"]})
    assert [target.name for target in data.targets] == ["mood", "marks"]
    assert sum(map(len, data.splits.values())) == 150
    several = uke.check(sources["holes"], target=["label", "score"])
    assert sum(map(len, several.splits.values())) == 90
    assert not several.quarantine
