"""Distances between sets of features against what they must be, and permutation tests that are not fooled."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from ukulele import diagnose

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 6), (12, 9, 30), (100, 8, 20)])
def test_frechet_is_that_of_the_formula(n: int, m: int, d: int) -> None:
    x, y = DRAW.standard_normal((n, d)), 1 + 2 * DRAW.standard_normal((m, d)) @ DRAW.standard_normal((d, d))
    c, e = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = sqrtm(c + 1e-12 * np.eye(d)) @ (e + 1e-12 * np.eye(d)) @ sqrtm(c + 1e-12 * np.eye(d))
    values = np.sqrt(np.maximum(np.linalg.eigvalsh((root + root.T).real / 2), 0)).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c) + np.trace(e) - 2 * values
    assert diagnose.frechet(x, y) == pytest.approx(expected, rel=1e-3)
    assert diagnose.frechet(x, x) == pytest.approx(0, abs=1e-8)


def test_mmd_is_that_of_the_formula() -> None:
    x, y = DRAW.standard_normal((30, 3)), DRAW.standard_normal((20, 3)) + 0.5
    both = np.concatenate([x, y])
    apart = ((both[:, None] - both[None]) ** 2).sum(2)
    kernel = np.exp(-apart / np.median(apart[np.triu_indices(50, 1)]))
    a, b, c = kernel[:30, :30], kernel[30:, 30:], kernel[:30, 30:]
    expected = (a.sum() - 30) / (30 * 29) + (b.sum() - 20) / (20 * 19) - 2 * c.mean()
    assert diagnose.mmd(x, y).value == pytest.approx(expected, abs=1e-10)


def test_p_of_equal_distributions_is_uniform_enough() -> None:
    found = [
        diagnose.mmd(DRAW.standard_normal((40, 5)), DRAW.standard_normal((60, 5)), seed=seed).p for seed in range(40)
    ]
    assert 0.25 < np.mean(found) < 0.75
    assert np.mean(np.array(found) < 0.05) <= 0.15


def test_alignment() -> None:
    x = DRAW.standard_normal((60, 5))
    assert diagnose.cka(x, 3 * x + 1) == pytest.approx(1)
    assert diagnose.cka(x, DRAW.standard_normal((60, 5))) < 0.4
    assert diagnose.cka(x, np.ones((60, 2))) == 0
    assert diagnose.covariance_cka(x, x[::-1]) == pytest.approx(1)


def test_findings_of_distances_need_both_size_and_certainty() -> None:
    base = {"of": "the training rows", "from": "b.csv", "mmd_p": 0.002, "proxy_a": 1.5}
    assert diagnose.apart(base)[0].code == "rows-differ"
    assert not diagnose.apart({**base, "mmd_p": 0.2})
    assert not diagnose.apart({**base, "proxy_a": 0.1})
    assert not diagnose.apart(None)
