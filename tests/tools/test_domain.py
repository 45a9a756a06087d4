import numpy as np
import pytest

from ukulele.tools.domain import Domain


def rows(count: int, seed: int, width: int = 40) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return (draw.normal(0, 1, (count, width)) * np.linspace(3, 0.1, width) + 1).astype(np.float32)


@pytest.mark.parametrize("width", [8, 40, 300])
def test_rows_like_those_of_training_are_seldom_outside_and_others_are(width):
    domain = Domain.of(rows(600, 0, width), rows(400, 1, width))
    assert domain.outside(rows(2000, 2, width)).mean() < 0.03
    assert domain.outside(rows(200, 3, width) + np.linspace(0, 3, width).astype(np.float32)).mean() > 0.9


def test_it_comes_back_as_it_was():
    domain = Domain.of(rows(100, 0), rows(50, 1))
    again = Domain.load(domain.arrays(), domain.numbers())
    x = rows(20, 2) * 2
    assert (again.distance(x) == domain.distance(x)).all()
    assert again.limit == domain.limit


def test_fewer_rows_than_features_and_constant_features_do_no_harm():
    x = rows(12, 0)
    x[:, 5] = 7
    domain = Domain.of(x, rows(6, 1))
    assert np.isfinite(domain.distance(rows(30, 2))).all()
    flat = Domain.of(np.ones((5, 3), np.float32), np.ones((4, 3), np.float32))
    assert not flat.outside(np.ones((2, 3), np.float32)).any()
    assert flat.outside(np.full((1, 3), 2, np.float32)).all()


def test_with_few_held_rows_those_of_training_are_held_out_too():
    domain = Domain.of(rows(300, 0), rows(4, 1))
    assert domain.held == 304
    assert domain.outside(rows(2000, 2)).mean() < 0.03
