"""What the terminal prints: while a run goes on, and when it is done."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from ukulele.doors.show import Screen, summary
from ukulele.events import Judged, Lookahead, Place

WIDE = """\
on the test rows of each task, with 95 % intervals
task           metric    together                alone                   control                        verdict
emotion        accuracy  0.912 (0.898 to 0.926)  0.893 (0.878 to 0.908)  0.671 (0.651 to 0.691) tf-idf  better
topics         macro_f1  0.714 (0.700 to 0.728)  0.716 (0.701 to 0.731)  0.671 (0.651 to 0.691) tf-idf  unclear
similarity     pearson   0.842 (0.828 to 0.856)  0.861 (0.846 to 0.876)  0.671 (0.651 to 0.691) tf-idf  worse
urgent or not  accuracy  0.934 (0.920 to 0.948)  -                       -                              -
Δm -0.12 % (-1.02 to +0.78), together 96.2 s, a model for each 251.8 s"""
NARROW = """\
similarity, pearson
  together  0.842 (0.828 to 0.856)
  alone     0.861 (0.846 to 0.876)
  control   0.671 (0.651 to 0.691) tf-idf
  verdict   worse
urgent or not, accuracy
  together  0.934 (0.920 to 0.948)
Δm"""


def heard(*events):
    out = io.StringIO()
    with Screen(Console(file=out, width=100)) as screen:
        for event in events:
            screen.hear(event)
    return out.getvalue()


def test_several_tasks_have_a_row_each_where_there_is_room(several):
    told = summary(several, Path("runs/messages"), 120)
    assert WIDE in told
    assert told.startswith("Learning 4 tasks together made no difference")
    assert "! 9 test rows stand word for word" in told
    assert told.endswith('try it  uke predict runs/messages "…"')


@pytest.mark.parametrize("width", [60, 100])
def test_and_some_lines_each_where_there_is_none(several, width):
    told = summary(several, Path("runs/messages"), width)
    assert NARROW in told
    assert max(map(len, told.split("\n"))) <= max(width, 75)


def test_what_was_not_measured_is_left_out(several):
    several["multitask"] |= {"delta_m_percent": None, "seconds": {"together": 96.2, "singles": 0}}
    told = summary(several, Path("runs/messages"))
    assert "Δm" not in told.split("intervals")[1]
    assert "together 96.2 s\n" in told
    assert "a model for each" not in told.split("intervals")[1]


def test_one_task_is_told_as_ever(text):
    told = summary(text, Path("runs/sst2"))
    assert "accuracy on 1,821 test rows, with 95 % intervals\n  probe " in told
    assert "* finetune " in told
    assert "0.8840 (0.8680 to 0.9000)" in told
    assert "(* is the model that was packed)" in told


def test_the_screen_tells_the_score_of_each_task():
    place = Place(epoch=2)
    told = heard(Judged(place, 0.4, 0.85, True, {"mood": 0.9, "topic": 0.8}))
    assert "epoch 2: validation loss 0.4000, score 0.8500 (mood 0.9000, topic 0.8000) · best" in told
    for scores in ({}, {"mood": 0.85}):
        assert "score 0.8500\n" in heard(Judged(place, 0.4, 0.85, False, scores))


def test_the_screen_is_quiet_about_looks_ahead():
    assert heard(Lookahead(Place(), ("a", "b"), ((0.1, 0.0), (0.0, 0.1)), 0.5)) == ""
