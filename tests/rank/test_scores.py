"""Transferability scores against published reference values, brute force and what must hold of any of them."""

from __future__ import annotations

import numpy as np
import pytest

from ukulele import rank
from ukulele.rank import Scores


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, classes and source probabilities that the reference values were computed for."""
    draw = np.random.RandomState(0)
    y, mu = draw.randint(0, 5, 300), draw.randn(5, 16)
    f = mu[y] + draw.randn(300, 16)
    p = np.exp(f[:, :8])
    return f, y, p / p.sum(1, keepdims=True)


def test_reference_values(made: tuple[np.ndarray, ...]) -> None:
    f, y, p = made
    assert rank.h_score(f, y) == pytest.approx(2.973680, abs=5e-7)
    assert rank.h_score(f, y, shrunk=True) == pytest.approx(2.891917, abs=5e-7)
    assert rank.logme(f, np.eye(5)[y]) == pytest.approx(-0.048893, abs=5e-7)
    assert rank.leep(p, y) == pytest.approx(-1.244948, abs=5e-7)
    assert rank.nce(p.argmax(1), y) == pytest.approx(-0.996189, abs=5e-7)


def test_shrinkage_is_that_of_scikit_learn(made: tuple[np.ndarray, ...]) -> None:
    from sklearn.covariance import LedoitWolf

    from ukulele.rank.hscore import shrinkage

    for x in (made[0], made[0][:12], np.random.RandomState(1).randn(40, 90)):
        centred = x - x.mean(0)
        ours = shrinkage(centred, rank.spectrum(centred).squares)
        assert ours == pytest.approx(LedoitWolf().fit(x).shrinkage_, rel=1e-9)


def test_wide_features_give_what_the_whole_matrix_gives() -> None:
    """With fewer rows than features the smaller Gram matrix is used: the scores are those of the larger one."""
    draw = np.random.RandomState(3)
    y, x = draw.randint(0, 3, 30), draw.randn(30, 50)
    centred = x - x.mean(0)
    means = np.stack([centred[y == c].mean(0) for c in range(3)])[y]
    covariance, between = centred.T @ centred / 29, means.T @ means / 29
    plain = np.trace(np.linalg.pinv(covariance, rcond=1e-10) @ between)
    assert rank.h_score(x, y) == pytest.approx(plain, rel=1e-8)
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(x)
    shrunk = np.trace(np.linalg.inv(fitted.covariance_) @ between) * (1 - fitted.shrinkage_)
    assert rank.h_score(x, y, shrunk=True) == pytest.approx(shrunk, rel=1e-8)


def test_logme_is_the_evidence_of_a_gaussian() -> None:
    """At its α and β the evidence is the density of y under a normal distribution with covariance FFᵀ/α + I/β."""
    from scipy.optimize import minimize
    from scipy.stats import multivariate_normal

    draw = np.random.RandomState(5)
    for n, d in ((40, 6), (20, 35)):
        f = draw.randn(n, d)
        y = f @ draw.randn(d) * 0.3 + draw.randn(n)

        def negative(logs: np.ndarray, f: np.ndarray = f, y: np.ndarray = y) -> float:
            alpha, beta = np.exp(logs)
            covariance = f @ f.T / alpha + np.eye(len(y)) / beta
            return -float(multivariate_normal.logpdf(y, np.zeros(len(y)), covariance)) / len(y)

        best = minimize(negative, np.zeros(2), method="Nelder-Mead", options={"maxiter": 2000}).fun
        # its authors stop the fixed point early: a little below the optimum, never above
        assert -best - 0.01 <= rank.logme(f, y[:, None]) <= -best + 1e-6


def test_scores_fall_with_shuffled_labels(made: tuple[np.ndarray, ...]) -> None:
    f, y, p = made
    shuffled = np.random.RandomState(1).permutation(y)
    assert rank.h_score(f, y, shrunk=True) > rank.h_score(f, shuffled, shrunk=True)
    assert rank.logme(f, np.eye(5)[y]) > rank.logme(f, np.eye(5)[shuffled])
    assert rank.leep(p, y) > rank.leep(p, shuffled)
    assert rank.nce(p.argmax(1), y) > rank.nce(p.argmax(1), shuffled)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_neighbours_are_those_of_brute_force(k: int) -> None:
    draw = np.random.RandomState(7)
    x, y = draw.randn(57, 9), np.eye(3)[draw.randint(0, 3, 57)]
    centred = x - x.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    for row, found in enumerate(rank.neighbours(x, y, (k,))[k]):
        others = [i for i in np.argsort(-(unit @ unit[row])) if i != row][:k]
        assert found == pytest.approx(y[others].mean(0), abs=1e-4)


def test_neighbours_of_few_rows() -> None:
    y = np.array([[1.0], [2.0], [6.0]])
    found = rank.neighbours(np.eye(3), y, (20,))[20]
    assert found[:, 0] == pytest.approx([4.0, 3.5, 1.5], abs=1e-4)
    assert rank.neighbours(np.eye(3)[:1], y[:1], (1,))[1].tolist() == [[0.0]]


def test_rows_of_one_group_are_no_neighbours() -> None:
    """Near copies with a label of their own at random tell nothing of rows that are new."""
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    x = draw.standard_normal((60, 8))[groups] + 1e-3 * draw.standard_normal((300, 8))
    labels = draw.integers(0, 4, 60)[groups]
    right = {k: (found.argmax(1) == labels).mean() for k, found in rank.neighbours(x, np.eye(4)[labels]).items()}
    assert right[1] == 1
    apart = rank.neighbours(x, np.eye(4)[labels], groups=groups)
    assert list(apart) == [1, 5, 20]
    assert all((found.argmax(1) == labels).mean() < 0.5 for found in apart.values())
    unit = x - x.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for row, found in enumerate(apart[5]):
        others = [i for i in np.argsort(-(unit @ unit[row])) if groups[i] != groups[row]][:5]
        assert found == pytest.approx(np.eye(4)[labels[others]].mean(0), abs=1e-4)


def test_neighbours_beside_a_large_group() -> None:
    """Where a row has fewer others than are asked for, those that there are answer."""
    y = np.arange(6.0)[:, None]
    found = rank.neighbours(np.eye(6), y, (5, 20), np.array([7, 7, 7, 7, 3, 3]))
    assert list(found) == [5]
    assert found[5][:, 0] == pytest.approx([4.5] * 4 + [1.5] * 2, abs=1e-4)
    alone = rank.neighbours(np.eye(3), y[:3], (1,), np.array([4, 4, 4]))
    assert np.array_equal(alone[1], rank.neighbours(np.eye(3), y[:3], (1,))[1])


# ---------------------------------------------------------------- fused


def drawn(values: list[float], error: float, seed: int = 0) -> np.ndarray:
    return np.array(values) + error * np.random.default_rng(seed).standard_normal((500, len(values)))


def test_regret_is_least_for_the_best_and_never_negative() -> None:
    values = [0.9, 0.8, 0.5]
    fused = rank.fuse([Scores("probe", np.array(values), 1.0, drawn(values, 0.01))])
    assert (fused.regret >= 0).all()
    assert list(np.argsort(fused.regret)) == [0, 1, 2]
    assert fused.regret[1] == pytest.approx(0.1, abs=0.02)
    assert fused.regret[2] == pytest.approx(0.4, abs=0.02)


def test_regret_grows_with_noise_and_with_scores_that_disagree() -> None:
    values = [0.85, 0.84]
    sure = rank.fuse([Scores("probe", np.array(values), 1.0, drawn(values, 0.001))])
    noisy = rank.fuse([Scores("probe", np.array(values), 1.0, drawn(values, 0.03))])
    assert noisy.regret[0] > sure.regret[0] + 1e-4
    apart = rank.fuse(
        [Scores("probe", np.array(values), 1.0, drawn(values, 0.001)), Scores("kNN", np.array([0.6, 0.9]), 0.5)]
    )
    assert apart.regret[0] > sure.regret[0] + 1e-4


def test_units_do_not_matter() -> None:
    values = np.array([0.9, 0.7, 0.8])
    probe = Scores("probe", values, 1.0, drawn(list(values), 0.02))
    other = np.array([3.0, 1.0, 2.5])
    one = rank.fuse([probe, Scores("LogME", other, 0.3)])
    two = rank.fuse([probe, Scores("LogME", 1000 * other - 7, 0.3)])
    assert one.values == pytest.approx(two.values)
    assert one.regret == pytest.approx(two.regret)


def test_a_score_that_some_lack_says_nothing_of_them() -> None:
    values = np.array([0.9, 0.7, 0.8])
    probe = Scores("probe", values, 1.0)
    fused = rank.fuse([probe, Scores("LEEP", np.array([np.nan, -1.0, -2.0]), 0.5)])
    assert fused.values[0] == pytest.approx(0.9)
    assert np.isfinite(fused.values).all()
    assert np.isfinite(fused.regret).all()
    equal = rank.fuse([probe, Scores("prior", np.array([6.0, 6.0, 6.0]), 0.5)])
    assert list(np.argsort(-equal.values)) == [0, 2, 1]
    assert rank.fuse([Scores("probe", values[:1], 1.0)]).regret.tolist() == [0.0]
