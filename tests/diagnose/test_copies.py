import numpy as np

from ukulele.diagnose import bare, copies, likeness, nearest_rows


def test_the_nearest_rows_are_those_of_greatest_cosine():
    draw = np.random.default_rng(0)
    here, there = draw.normal(size=(50, 8)).astype(np.float32), draw.normal(size=(1100, 8)).astype(np.float32)
    rows, cosines = nearest_rows(here, there, 4)
    whole = (there / np.linalg.norm(there, axis=1)[:, None]) @ (here / np.linalg.norm(here, axis=1)[:, None]).T
    assert (np.sort(rows, 1) == np.sort(np.argsort(-whole, 1)[:, :4], 1)).all()
    assert np.allclose(cosines, np.take_along_axis(whole, rows, 1), atol=1e-5)
    assert nearest_rows(here[:2], there, 4)[0].shape == (1100, 2)


def test_case_and_punctuation_do_not_count():
    assert bare("WHERE is my card?!") == bare("where is, my card") == "where is my card"
    assert likeness("where is my card", "where is my card") == 1
    assert likeness("where is my card", "when did it rain") < 0.3


def test_the_finding_says_how_many_rows():
    assert copies("test", [], 10, 10, "copies.csv") == []
    (one,) = copies("test", ["a.csv:3, as b.csv:4"] * 3, 50, 100, "copies.csv")
    assert "3 of 100 test rows (of 50 looked at)" in one.message
