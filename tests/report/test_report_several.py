"""The page of a run that learnt several tasks: each against a model of its own, and what they did to each other."""

import re

import pytest
from several_kit import ALONE, KINDS, TOGETHER
from test_report_page import EVIL, Page, harmless

from ukulele.errors import RunError
from ukulele.report import compare, render
from ukulele.report.heat import heat


def classed(page, wanted):
    """How many elements have a class."""
    return sum(name == "class" and wanted in (value or "").split() for _, name, value in page.attributes)


def section(html, name):
    return Page(re.search(rf'<section id="{name}".*?</section>', html, re.DOTALL)[0]).text


def test_the_parts_come_in_the_order_of_their_weight(several):
    words = Page(render(several)).text
    told = (
        several["multitask"]["sentence"],
        "On the test rows of each task",
        "What each candidate took",
        "What you should know",
        "How the tasks share one model",
        "By epoch",
        "Each by itself",
        "What was read",
        "The same command",
    )
    places = [words.index(part) for part in told]
    assert places == sorted(places)


def test_each_task_stands_together_alone_and_against_its_control(several):
    told = section(render(several), "quality")
    for task in several["multitask"]["tasks"]:
        assert task["name"] in told
        for estimate in (task["multi"], task["single"], (task["control"] or {}).get("value")):
            if estimate:
                assert f"{estimate['value']:.3f} {estimate['low']:.3f} to {estimate['high']:.3f}" in told
    assert "▲ Helped +0.019 +0.011 to +0.027 against alone" in told
    assert "≈ Inconclusive −0.002 −0.010 to +0.006 against alone" in told
    assert "▼ Hurt −0.019 −0.027 to −0.011 against alone" in told
    assert "+0.241 +0.220 to +0.262 against tf-idf" in told
    assert re.search(r"urgent or not accuracy, 212 rows 0\.934 0\.920 to 0\.948 – –", told)


def test_the_changes_are_shares_of_the_number_alone(several):
    told = section(render(several), "quality")
    assert f"{100 * 0.019 / ALONE['emotion']:.1f} %" == "2.1 %"
    assert "emotion +2.1 % +1.2 to +3.0 %" in told
    assert "similarity −2.2 % −3.1 to −1.3 %" in told
    assert "Δm the mean −0.1 % −1.0 to +0.8 %" in told


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.2, 2.4, "helped"), (-2.4, -0.2, "hurt"), (-0.4, 1.1, "inconclusive")]
)
def test_the_badge_follows_the_interval_of_the_mean_change(several, low, high, word):
    several["multitask"]["delta_m_percent"] = {
        "value": (low + high) / 2,
        "low": low,
        "high": high,
        "n": 4,
        "method": "",
    }
    page = harmless(render(several))
    assert ("section", "class", f"hero {word}") in page.attributes
    assert classed(page, "badge") == 1


def test_the_cost_is_held_against_a_model_for_each(several):
    told = section(render(several), "cost")
    assert "38 % of what a model for each takes" in told
    assert "One model for 4 tasks 1 min 36 s A model for each task 4 min 12 s" in told


def test_the_heat_map_has_every_number_and_its_sign():
    map_ = heat(["a", "b"], [[0.02, 0.0043], [-0.0051, None]])
    page = Page(map_)
    assert page.text.split() == ["a", "step", "on", "…", "a", "b", "…", "changes", "the", "loss", "of", "a", "b",
                                 "+0.43", "−0.51", "+2.00", "–"]  # fmt: skip
    kinds = [value for _, name, value in page.attributes if name == "class" and value.split()[0] in KINDS_OF_CELL]
    assert kinds == ["helps", "harms", "helps own", "none own"]
    label = next(value for _, name, value in page.attributes if name == "aria-label")
    assert "a step on b changes the loss of a by −0.51 %" in label


KINDS_OF_CELL = ("helps", "harms", "none")


def test_a_number_on_the_strongest_colour_can_be_read():
    page = Page(heat(["a", "b"], [[5.0, -0.5], [0.1, 0.0]]))
    depths = [float(value) for _, name, value in page.attributes if name == "fill-opacity"]
    assert max(depths) == 0.6
    assert min(depths) == 0.0


def test_long_names_are_cut_and_stand_upright():
    names = ["a", "the mood of whoever wrote this"]
    page = Page(heat(names, [[0.1, 0.1], [0.1, 0.1]]))
    assert page.text.count("the mood…te this") == 2
    assert ("text", "transform", "rotate(-90)") in page.attributes
    assert names[1] in next(value for _, name, value in page.attributes if name == "aria-label")


def test_what_the_tasks_do_to_each_other_is_told(several):
    html = render(several)
    told = section(html, "together")
    assert several["multitask"]["grouping"]["text"] in told
    assert "emotion + topics + urgent or not" in told
    assert "A suggestion" in told
    assert "the mean of 48 looks ahead" in told
    page = Page(html)
    assert any("gradients point apart, % by epoch. 35.0, 32.0" in (value or "") for _, _, value in page.attributes)
    several["multitask"]["grouping"]["carried_out"] = True
    html = render(several)
    assert "This run was trained in these groups." in section(html, "together")
    assert "the model of the task's group" in section(html, "quality")
    assert "The groups 1 min 36 s" in section(html, "cost")


def test_the_score_of_each_task_is_drawn(several):
    labels = [value for _, name, value in Page(render(several)).attributes if name == "aria-label" and value]
    for name, (_, _, metric) in KINDS.items():
        drawn = f"{metric.replace('macro_f1', 'macro F1').replace('pearson', 'Pearson r')} of {name} by epoch."
        assert sum(drawn in label for label in labels) == 1
    assert sum("validation score (all tasks) by epoch" in label for label in labels) == 1
    assert sum("validation score (Pearson r) by epoch" in label for label in labels) == 1, "of similarity alone"


def test_each_task_is_folded_with_what_its_kind_has(several):
    html = render(several)
    parts = re.split(r'<div id="task-\d">', re.search(r'<section id="tasks".*?</section>', html, re.DOTALL)[0])[1:]
    assert len(parts) == 4
    has = [re.findall(r"<h3>(\w+)</h3>", part) for part in parts]
    assert has == [
        ["Quality", "Confusion", "Calibration", "Classes", "Mistakes", "Slices"],
        ["Quality", "Calibration", "Classes", "Mistakes"],
        ["Quality", "Answers", "Mistakes"],
        ["Quality"],
    ]
    assert "<details open" not in html.split('id="repeat"')[0]
    assert "Learning together helped: +0.019 in accuracy against emotion alone." in parts[0]
    assert "topics alone" in parts[1]
    assert "emotion alone" not in parts[1]
    assert "tf-idf" not in parts[3]


def test_the_rows_of_each_task_are_counted(several):
    told = section(render(several), "data")
    assert "Tasks emotion, topics, similarity, urgent or not" in told
    assert "urgent or not one label a row urgent.csv label 1 848 106 212" in told


def test_a_task_named_like_a_script_is_harmless(several):
    text = '<script>alert("x")</script>'
    block = several["multitask"]
    block["tasks"][0]["name"] = text
    block["affinity"]["tasks"][0] = text
    block["grouping"]["groups"][0][0] = text
    block["tasks"][1]["control"]["name"] = EVIL
    for c in several["candidates"]:
        c["test"] = {text if name == "emotion" else name: value for name, value in c["test"].items()}
        for entry in c["history"]:
            entry["scores"] = {text if n == "emotion" else n: v for n, v in entry.get("scores", {}).items()}
    html = render(several)
    page = harmless(html)
    assert "<script" not in html
    assert page.text.count(text) > 5


def test_without_models_alone_the_page_says_so(several):
    block = several["multitask"]
    for task in block["tasks"]:
        task |= {"single": None, "verdict": None}
    block |= {"delta_m_percent": None, "sentence": "", "affinity": None, "grouping": None, "conflicts": []}
    block["seconds"] = {"together": 96.2, "singles": 0}
    html = render(several)
    page = harmless(html)
    assert "4 tasks were learnt together. No model was trained for each alone" in page.text
    assert "No model was trained for a single task" in page.text
    assert ("section", "class", "hero none") in page.attributes
    for gone in ("badge", "heat", "groups"):
        assert classed(page, gone) == 0
    assert "Alone" not in section(html, "quality").split("Task Together")[1]


def test_the_least_record_of_several_tasks_renders(several):
    needed = {name: several[name] for name in ("run", "data", "model", "test")}
    harmless(render(needed | {"multitask": {}}))
    harmless(render(needed | {"multitask": several["multitask"]}))
    with pytest.raises(RunError, match="lacks task"):
        render(needed | {"multitask": None})


def test_a_run_of_one_task_has_none_of_it(text):
    ids = set(Page(render(text | {"multitask": None})).ids)
    assert not ids & {"together", "tasks", "task-1"}
    assert render(text | {"multitask": None}) == render(text)


def test_compare_has_a_row_for_each_task(several, text):
    rows = {row[0]: row[1:] for row in compare([several, text])}
    assert rows["test emotion: accuracy"] == ["0.912 (0.898 to 0.926)", "–"]
    assert rows["test similarity: Pearson r"][0].startswith(f"{TOGETHER['similarity']}")
    assert rows["Δm"] == ["−0.1 % (−1.0 to +0.8 %)", "–"]
    assert rows["test accuracy"][0] == "–"
