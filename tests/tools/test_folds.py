"""Folds: as they ever were where each row is by itself, and no group taken apart where there are groups."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from ukulele.tools.probe import Search, fit_logistic, fit_ridge, held_out, score_layers, stratified_folds

GROUPS, EACH = 60, 6


def test_rows_by_themselves_have_the_folds_of_ever() -> None:
    y = torch.tensor([0, 1, 1, 0, 2, 1, 0, 1, 2, 0, 1, 1])
    known = [1, 1, 0, 0, 1, 1, 0, 2, 2, 2, 2, 0]
    assert stratified_folds(y, 3, 7).tolist() == known
    assert stratified_folds(y, 3, 7, torch.arange(12) * 5).tolist() == known
    assert stratified_folds(y, 3, 7, torch.zeros(12, dtype=torch.long)).tolist() == known


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 25)), min_size=2, max_size=120),
    st.integers(2, 5),
    st.sampled_from(["classes", "labels", "numbers"]),
    st.integers(0, 9),
)
def test_every_group_is_in_one_fold_and_no_fold_is_empty(
    rows: list[tuple[int, int]], folds: int, kind: str, seed: int
) -> None:
    classes, groups = (torch.tensor(column) for column in zip(*rows, strict=True))
    ties = torch.arange(len(rows)) % 7
    y = {"classes": classes, "labels": torch.stack([classes > 1, ties > 3], 1).float(), "numbers": classes + ties / 3}
    found = stratified_folds(y[kind], folds, seed, groups)
    assert torch.equal(found, stratified_folds(y[kind], folds, seed, groups))
    count = len(groups.unique())
    if count > 1:
        assert all(len(found[groups == group].unique()) == 1 for group in groups.unique())
        assert found.unique().tolist() == list(range(min(folds, count)))


def test_folds_of_groups_have_like_sizes_and_shares() -> None:
    draw = np.random.default_rng(0)
    groups = torch.from_numpy(
        np.concatenate([np.repeat(np.arange(150), draw.integers(1, 9, 150)), np.arange(200, 500)])
    )
    y = torch.from_numpy(draw.choice(3, len(groups), p=[0.6, 0.3, 0.1]))
    found = stratified_folds(y, 5, 0, groups)
    for one in range(5):
        own = torch.bincount(y[found == one], minlength=3)
        assert (own - torch.bincount(y) / 5).abs().max() <= 2
    numbers = torch.from_numpy(draw.standard_normal(len(groups)))
    found = stratified_folds(numbers, 5, 0, groups)
    means = torch.stack([numbers[found == one].mean() for one in range(5)])
    assert means.abs().max() < 0.1
    assert (torch.bincount(found) - len(groups) / 5).abs().max() <= 5


@pytest.fixture
def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features that tell the group, labels drawn by group, groups."""
    draw = torch.Generator().manual_seed(0)
    groups = torch.arange(GROUPS).repeat_interleave(EACH)
    x = torch.randn(GROUPS, 80, generator=draw)[groups] + 0.1 * torch.randn(len(groups), 80, generator=draw)
    return x, (torch.randperm(GROUPS, generator=draw) % 2)[groups], groups


@pytest.mark.parametrize("sparse", [False, True])
def test_a_probe_does_not_know_groups_that_are_held_out(
    drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor], sparse: bool
) -> None:
    x, y, groups = drawn
    given = csr_matrix(x.numpy()) if sparse else x
    known = fit_logistic(given, y, 2, search=Search(metric="log_loss"))
    honest = fit_logistic(given, y, 2, search=Search(metric="log_loss", groups=groups))
    assert known.score.loss < 0.1
    assert honest.score.loss > 0.6
    assert honest.strength > 10 * known.strength
    assert (honest.oof.argmax(1) == y).double().mean() < 0.65


def test_every_look_at_a_probe_holds_groups_out(drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    x, y, groups = drawn
    by_group = Search(groups=groups)
    assert held_out(x, y, 2)[0].mean > 0.99
    assert held_out(x, y, 2, search=by_group)[0].mean < 0.65
    assert score_layers({"last": x}, y, 2)["last"].mean > 0.99
    assert score_layers({"last": x}, y, 2, search=by_group)["last"].mean < 0.65
    assert score_layers({"last": x}, y, 2, search=by_group, rows=240)["last"].mean < 0.65  # of a part of the rows
    numbers = torch.randn(GROUPS, generator=torch.Generator().manual_seed(1))[groups]
    assert fit_ridge(x, numbers).score.mean > 0.9
    assert fit_ridge(x, numbers, search=by_group).score.mean < 0.2
