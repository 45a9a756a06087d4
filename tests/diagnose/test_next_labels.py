import numpy as np

from ukulele.diagnose import next_labels, unsure_of_class, unsure_of_labels


def test_unsure_rows_that_are_unlike_each_other_come_first():
    draw = np.random.default_rng(0)
    heaps = np.repeat(np.eye(4, dtype=np.float32), 25, axis=0) + draw.normal(0, 0.01, (100, 4)).astype(np.float32)
    unsure = np.where(np.arange(100) < 75, 0.8, 0.05) + draw.random(100) * 0.01
    chosen = next_labels(unsure, heaps, 3)
    assert {row // 25 for row in chosen} == {0, 1, 2}


def test_copies_are_chosen_once_and_no_more_than_there_are():
    x = np.repeat(np.array([[1, 0], [0, 1], [1, 1]], np.float32), 5, axis=0)
    chosen = next_labels(np.linspace(1, 0.5, 15), x, 10)
    assert sorted(row // 5 for row in chosen) == [0, 1, 2]


def test_how_unsure():
    assert unsure_of_class(np.array([[0.5, 0.5, 0], [1, 0, 0]])).tolist() == [1, 0]
    assert unsure_of_labels(np.array([[0.5, 0.9], [0, 1]])).tolist() == [1, 0]
