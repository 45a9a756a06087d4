"""Learning curves: known shapes are continued, intervals hold them, and what cannot be is never expected."""

from __future__ import annotations

import numpy as np
import pytest

from ukulele.diagnose.curve import between, fit_curve, rows_for

SIZES = [round(64 * 2 ** (k / 2)) for k in range(10)]


def draws(scores: np.ndarray, error: float, seed: int = 0) -> np.ndarray:
    """Scores whose errors go together, as those on the same test rows do."""
    generator = np.random.default_rng(seed)
    shared = generator.standard_normal((300, 1))
    own = generator.standard_normal((300, len(scores)))
    return np.asarray(scores + error * (0.8 * shared + 0.6 * own))


@pytest.mark.parametrize("bend", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("shape", ["pow", "mmf"])
def test_known_curves(shape: str, bend: float) -> None:
    def curve(n: np.ndarray) -> np.ndarray:
        u = n**-bend if shape == "pow" else 20 / (20 + n**bend)
        return np.asarray(0.9 - 0.9 * u)

    scores = curve(np.array(SIZES, float))
    fit = fit_curve(SIZES, draws(scores, 0.003), scores, 1.0, 100_000)
    assert fit is not None
    said = between(fit.at(4 * SIZES[-1]))
    truth = float(curve(np.array([4.0 * SIZES[-1]]))[0])
    assert said["low"] <= truth <= said["high"]
    assert said["value"] == pytest.approx(truth, abs=0.02)


def test_nothing_beyond_the_best_score_and_no_loss() -> None:
    scores = np.linspace(0.5, 0.97, 10)
    fit = fit_curve(SIZES, draws(scores, 0.01), scores, 1.0, 100_000)
    assert fit is not None
    ahead = fit.at(np.array([1e3, 1e4, 1e6]))
    assert (ahead <= 1).all()
    assert (np.diff(ahead, axis=1) >= -1e-12).all()


def test_intervals_widen_with_noise_and_with_distance() -> None:
    scores = 0.9 - 0.9 * np.array(SIZES, float) ** -0.4
    calm, noisy = (fit_curve(SIZES, draws(scores, error), scores, 1.0, 100_000) for error in (0.002, 0.02))
    assert calm is not None
    assert noisy is not None

    def width(fit: object, rows: float) -> float:
        found = between(fit.at(rows))  # type: ignore[attr-defined]
        return found["high"] - found["low"]

    assert width(noisy, 4000) > width(calm, 4000)
    assert width(calm, 40000) > width(calm, 2000)


def test_a_flat_curve_needs_labels_without_end() -> None:
    scores = np.full(10, 0.8)
    fit = fit_curve(SIZES, draws(scores, 0.002), scores, 1.0, 100_000)
    assert fit is not None
    assert rows_for(fit, 1000, 0.05)["value"] is None
    steep = 0.95 - 2.0 * np.array(SIZES, float) ** -0.4
    rising = fit_curve(SIZES, draws(steep, 0.002), steep, 1.0, 100_000)
    assert rising is not None
    more = rows_for(rising, SIZES[-1], 0.02)
    assert more["low"] is not None
    assert more["value"] is not None
    truth = next(n for n in range(SIZES[-1], 100_000) if 0.95 - 2.0 * n**-0.4 >= steep[-1] + 0.02) - SIZES[-1]
    assert more["low"] <= truth * 1.1
    assert more["value"] == pytest.approx(truth, rel=0.5)
    assert more["reached"] > 0.9


def test_losses_end_at_nothing() -> None:
    """Of what is better where it is less, the signed score rises to 0 and no further."""
    scores = -(0.1 + 3.0 * np.array(SIZES, float) ** -0.5)
    fit = fit_curve(SIZES, draws(scores, 0.004), scores, 0.0, 100_000)
    assert fit is not None
    assert (fit.at(1e9) <= 0).all()
    assert between(fit.at(4 * SIZES[-1]))["value"] == pytest.approx(-(0.1 + 3.0 * (4 * SIZES[-1]) ** -0.5), abs=0.03)


def test_too_few_points_and_undefined_scores() -> None:
    assert fit_curve(SIZES[:3], draws(np.ones(3), 0.1), [0.5, 0.6, 0.7], 1.0, 50) is None
    assert fit_curve(SIZES, draws(np.ones(10), 0.1), [np.nan] * 10, 1.0, 50) is None


def test_all_right_on_few_rows_is_not_certain() -> None:
    """Resampled rows that are all right vary by nothing; the interval still holds what thirty rows leave open."""
    scores = np.array([0.9, 0.97, 1.0, 1.0, 1.0, 1.0])
    fit = fit_curve(SIZES[:6], np.tile(scores, (200, 1)), scores, 1.0, 30)
    assert fit is not None
    said = between(fit.at(4 * SIZES[5]))
    assert said["low"] < 0.95
    more = fit_curve(SIZES[:6], np.tile(scores, (200, 1)), scores, 1.0, 3000)
    assert more is not None
    assert between(more.at(4 * SIZES[5]))["low"] > said["low"]
