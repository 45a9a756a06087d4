"""Probes against scikit-learn at equal penalty, and the choice of the strength."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from ukulele.tools import probe as tools_probe
from ukulele.tools.probe import Search, fit_logistic, fit_ridge, score_layers, stratified_folds


def clusters(n: int, d: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated features of very different scales, far from the origin."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (n,), generator=draw)
    hidden = torch.randn(classes, 8, generator=draw)[y] + torch.randn(n, 8, generator=draw)
    x = hidden @ torch.randn(8, d, generator=draw) + 0.5 * torch.randn(n, d, generator=draw)
    return x * torch.logspace(-2, 1, d) + 5 * torch.randn(d, generator=draw), y


def at_same_penalty(x: torch.Tensor, y: torch.Tensor, strength: float, weights=None) -> tuple[np.ndarray, np.ndarray]:
    scaler = StandardScaler().fit(x.double().numpy())
    total = len(y) if weights is None else float(weights.sum())
    model = LogisticRegression(C=1 / (total * strength), tol=1e-10, max_iter=10_000)
    model.fit(
        scaler.transform(x.double().numpy()), y.numpy(), sample_weight=None if weights is None else weights.numpy()
    )
    weight = model.coef_ / scaler.scale_
    return weight, model.intercept_ - weight @ scaler.mean_


@pytest.mark.parametrize(("n", "d", "classes"), [(400, 20, 2), (300, 20, 5), (60, 200, 2), (60, 200, 3)])
@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_logistic_equals_sklearn(n: int, d: int, classes: int, strength: float) -> None:
    x, y = clusters(n, d, classes)
    probe = fit_logistic(x, y, classes, search=Search((strength,)))
    weight, bias = at_same_penalty(x, y, strength)
    ours, ours_bias = probe.weight.double().numpy(), probe.bias.double().numpy()
    if classes == 2:
        ours, ours_bias = ours[1:] - ours[:1], ours_bias[1:] - ours_bias[:1]
    else:  # a softmax does not change when all classes get the same
        weight, ours = weight - weight.mean(0), ours - ours.mean(0)
        bias, ours_bias = bias - bias.mean(), ours_bias - ours_bias.mean()
    assert np.abs(ours - weight).max() <= 1e-3 * np.abs(weight).max()
    assert np.allclose(x.double().numpy() @ ours.T + ours_bias, x.double().numpy() @ weight.T + bias, atol=2e-2)


def test_weights_of_rows_are_those_of_sklearn() -> None:
    x, y = clusters(300, 10, 2)
    rows = torch.where(y == 1, 3.0, 0.5)
    probe = fit_logistic(x, y, 2, weights=rows, search=Search((0.01,)))
    weight, _ = at_same_penalty(x, y, 0.01, rows)
    assert np.abs((probe.weight[1] - probe.weight[0]).numpy() - weight[0]).max() <= 1e-3 * np.abs(weight).max()


def test_several_labels_are_as_many_single_ones() -> None:
    x, y = clusters(300, 10, 3)
    marks = torch.stack([y == 0, y > 0, y == 2], 1).float()
    probe = fit_logistic(x, marks, 3, search=Search((0.01,)))
    for label in range(3):
        weight, bias = at_same_penalty(x, marks[:, label].long(), 0.01)
        assert np.abs(probe.weight[label].numpy() - weight[0]).max() <= 1e-3 * np.abs(weight).max()
        assert float(probe.bias[label]) == pytest.approx(bias[0], rel=1e-3, abs=1e-3)
    assert probe.oof.shape == (300, 3)


@pytest.mark.parametrize(("n", "d"), [(300, 20), (50, 120)])
def test_ridge_equals_sklearn(n: int, d: int) -> None:
    x, _ = clusters(n, d, 2)
    y = x[:, 0] / x[:, 0].std() + torch.randn(n, generator=torch.Generator().manual_seed(1))
    probe = fit_ridge(x, y, search=Search((0.1,)))
    scaler = StandardScaler().fit(x.double().numpy())
    model = Ridge(alpha=n * 0.1).fit(scaler.transform(x.double().numpy()), y.double().numpy())
    weight = model.coef_ / scaler.scale_
    assert np.abs(probe.weight[0].numpy() - weight).max() <= 1e-3 * np.abs(weight).max()
    assert float(probe.bias[0]) == pytest.approx(model.intercept_ - weight @ scaler.mean_, abs=1e-2)


def test_ridge_prefers_a_weak_penalty_for_clean_numbers_and_a_strong_one_for_noise() -> None:
    x, _ = clusters(200, 30, 2)
    noise = torch.randn(200, generator=torch.Generator().manual_seed(2))
    assert fit_ridge(x, x @ torch.linspace(-1, 1, 30)).strength <= 1e-3
    assert fit_ridge(x, noise).strength >= 10


def test_the_strength_has_the_best_score_and_log_loss_breaks_ties() -> None:
    x, y = clusters(300, 40, 3)
    for metric in ("accuracy", "balanced_accuracy", "log_loss"):
        probe = fit_logistic(x, y, 3, search=Search(metric=metric))
        best = max((score.mean, -score.loss) for score in probe.scores)
        assert (probe.score.mean, -probe.score.loss) == best
        assert len(probe.scores) == 9


def test_held_out_answers_are_honest() -> None:
    x, _ = clusters(200, 100, 2)
    y = torch.randint(0, 2, (200,), generator=torch.Generator().manual_seed(5))  # nothing to learn
    probe = fit_logistic(x, y, 2, search=Search((1e-4,)))
    assert probe.oof.exp().sum(1).allclose(torch.ones(200), atol=1e-5)
    held = (probe.oof.argmax(1) == y).float().mean()
    seen = ((x @ probe.weight.T + probe.bias).argmax(1) == y).float().mean()
    assert held < 0.6
    assert seen > 0.75
    assert probe.score.mean == pytest.approx(float(held))


def test_validation_rows_choose_instead_of_folds() -> None:
    x, y = clusters(300, 10, 3)
    probe = fit_logistic(x[:200], y[:200], 3, validation=(x[200:], y[200:]))
    assert probe.oof.shape == (100, 3)
    again = fit_logistic(x[:200], y[:200], 3, search=Search((probe.strength,)))
    torch.testing.assert_close(probe.weight, again.weight, rtol=1e-3, atol=1e-5)


def test_dead_features_missing_classes_and_one_feature_are_no_trouble() -> None:
    x, y = clusters(60, 5, 2)
    x[:, 2] = 7.0
    probe = fit_logistic(x, y, 4)
    assert probe.weight.isfinite().all()
    assert (probe.weight[:, 2] == 0).all()
    assert set((x @ probe.weight.T + probe.bias).argmax(1).tolist()) <= {0, 1}
    majority = fit_logistic(torch.ones(60, 1), (torch.arange(60) < 40).long(), 2)
    assert (majority.weight @ torch.ones(1) + majority.bias).softmax(0)[1].item() == pytest.approx(2 / 3, abs=1e-4)
    mean = fit_ridge(torch.ones(60, 1), torch.arange(60.0))
    assert float(mean.weight[0, 0] + mean.bias[0]) == pytest.approx(29.5, rel=1e-4)


def test_folds_one_by_one_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = clusters(300, 20, 5)
    rows = torch.where(y == 1, 3.0, 0.5)
    at_once = fit_logistic(x, y, 5, weights=rows)
    monkeypatch.setattr(tools_probe, "AT_ONCE", 1)
    one_by_one = fit_logistic(x, y, 5, weights=rows)
    for ours, theirs in zip(one_by_one.scores, at_once.scores, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-2)
        assert ours.mean == pytest.approx(theirs.mean, abs=0.02)


def test_the_same_seed_gives_the_same_probe() -> None:
    x, y = clusters(200, 20, 3)
    first, second = (fit_logistic(x, y, 3, search=Search(seed=4)) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert first.scores == second.scores


def test_folds_are_stratified_and_of_equal_size() -> None:
    y = torch.tensor([0] * 50 + [1] * 10 + [2] * 5)
    folds = stratified_folds(y, 5)
    for fold in range(5):
        assert torch.bincount(y[folds == fold], minlength=3).tolist() == [10, 2, 1]
    marks = torch.zeros(40, 3)
    marks[:, 0], marks[:5, 2] = 1, 1
    assert all(marks[stratified_folds(marks, 5) == fold, 2].sum() == 1 for fold in range(5))


@pytest.mark.parametrize("classes", [2, 3])
def test_sparse_equals_sklearn(classes: int) -> None:
    generator = np.random.default_rng(0)
    dense = generator.random((200, 50)) * (generator.random((200, 50)) < 0.2)
    y = (dense[:, :classes] + 0.1 * generator.random((200, classes))).argmax(1)
    x = csr_matrix(dense.astype(np.float32))
    probe = fit_logistic(x, torch.from_numpy(y), classes, search=Search((0.01,)))
    model = LogisticRegression(C=1 / 2.0, tol=1e-10, max_iter=10_000).fit(dense, y)
    ours = np.log(torch.softmax(torch.from_numpy(x @ probe.weight.numpy().T) + probe.bias, 1).numpy())
    assert np.abs(ours - model.predict_log_proba(dense)).max() < 5e-3
    numbers = fit_ridge(x, torch.from_numpy(dense[:, 0] * 3 + 1).float())
    assert numbers.score.mean > 0.9


def test_sparse_majority_votes_survive_a_fold_without_a_class() -> None:
    x = csr_matrix(np.eye(6, dtype=np.float32))
    probe = fit_logistic(x, torch.tensor([0, 0, 0, 0, 0, 1]), 2)
    assert probe.weight.isfinite().all()


def test_layers_are_scored_on_the_same_rows() -> None:
    x, y = clusters(600, 10, 3)
    noise = torch.randn(600, 10, generator=torch.Generator().manual_seed(3))
    scores = score_layers({"good": x, "noise": noise}, y, 3, rows=300)
    assert scores["good"].mean > scores["noise"].mean + 4 * scores["good"].error
    assert scores["noise"].mean == pytest.approx(1 / 3, abs=0.12)
    numbers = score_layers({"good": x, "noise": noise}, x[:, 0], None)
    assert numbers["good"].mean > 0.9
    assert numbers["noise"].mean < 0.1
