"""Each method against its formula, and against torchjd where that has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from balance_kit import TASKS, absent, direction
from scipy.optimize import nnls
from torch import Tensor

from ukulele.balance import gramians, make
from ukulele.balance.gramians import FADING, RADIUS
from ukulele.errors import InternalError

LOSS = torch.tensor([0.5, 2.0, 4.0])


def factors(name: str, losses: Tensor = LOSS, weights: dict[str, float] | None = None) -> Tensor:
    """The weight that a fresh balancer gives to each task's gradient."""
    return direction(make(name, TASKS[: len(losses)], weights or {}), torch.eye(len(losses)), losses)


def rows(seed: int, tasks: int = 3, width: int = 5) -> Tensor:
    return torch.randn(tasks, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_first_divides_by_the_first_value_of_each_task() -> None:
    balancer = make("first", TASKS, {"tone": 0.5})
    assert balancer.combine(torch.tensor([0.5, 2.0, 0.0])) == 2.0
    assert balancer.combine(torch.tensor([0.25, 3.0, 8.0])) == 0.5 + 1.5 + 0.5
    assert balancer.combine(torch.tensor([0.5, 2.0, 4.0])) == 1.0 + 1.0 + 0.25


def test_sum_adds() -> None:
    assert factors("sum", weights={"topic": 3.0}).tolist() == [1.0, 3.0, 1.0]


def test_uncertainty_starts_with_half_the_sum_and_a_static_weight_outlasts_the_learning() -> None:
    assert factors("uncertainty").tolist() == [0.5] * 3
    balancer = make("uncertainty", TASKS, {"topic": 3.0})
    (learnt,) = balancer.parameters()
    optimiser = torch.optim.SGD([learnt], lr=0.1)
    for _ in range(500):
        optimiser.zero_grad()
        balancer.combine(LOSS).backward()
        optimiser.step()
    torch.testing.assert_close(learnt.detach(), LOSS.log(), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        direction(balancer, torch.eye(3), LOSS), torch.tensor([1.0, 0.75, 0.125]), rtol=1e-3, atol=0
    )


def test_dwa_gives_more_to_what_falls_slowly() -> None:
    balancer = make("dwa", ("mood", "topic"), {})
    for means in ([1.0, 4.0], [0.5, 4.0]):
        assert direction(balancer, torch.eye(2), torch.ones(2)).tolist() == [1.0, 1.0]
        balancer.epoch_done(torch.tensor(means))
    balancer.epoch_done(torch.tensor([0.0, float("nan")]))  # an epoch without rows is no history
    expected = 2 * torch.tensor([0.5 / 2, 1.0 / 2]).softmax(0)
    torch.testing.assert_close(direction(balancer, torch.eye(2), torch.ones(2)), expected)


def test_famo_is_a_convex_combination_and_gives_less_to_what_improved_most() -> None:
    balancer = make("famo", TASKS, {})
    found = direction(balancer, torch.eye(3), LOSS)
    torch.testing.assert_close(found, (1 / LOSS) / (1 / LOSS).sum())
    balancer.after(LOSS * torch.tensor([0.1, 0.9, 0.9]))
    assert direction(balancer, torch.eye(3), LOSS)[0] < found[0]


def test_stch_leans_on_the_largest() -> None:
    torch.testing.assert_close(factors("stch"), (LOSS / 3 / 0.1).softmax(0) / 3)


def test_the_geometric_mean_takes_weights_as_exponents() -> None:
    balancer = make("geometric", ("mood", "topic"), {"topic": 3.0})
    torch.testing.assert_close(balancer.combine(torch.tensor([16.0, 1.0])), torch.tensor(2.0))
    torch.testing.assert_close(factors("geometric").dot(LOSS), torch.tensor(4.0 ** (1 / 3)))


def test_random_factors_sum_to_one_and_change() -> None:
    torch.manual_seed(0)
    first, second = factors("random"), factors("random")
    torch.testing.assert_close(first.sum(), torch.tensor(1.0))
    assert not torch.equal(first, second)


def test_mgda_is_the_closest_point_of_the_hull() -> None:
    for seed in range(20):
        one, two = rows(seed, 2)
        share = ((two - one) @ two / (one - two).square().sum()).clamp(0, 1)
        torch.testing.assert_close(
            make("mgda", TASKS[:2], {}).combine(torch.stack([one, two])), share * one + (1 - share) * two
        )
        points = rows(seed, 4)
        found = make("mgda", "abcd", {}).combine(points)
        assert float((points @ found).min()) >= float(found @ found) - 1e-8


def test_mgda_bears_gradients_of_very_different_lengths() -> None:
    jacobian = rows(0) * torch.tensor([[1e-6], [1.0], [1e6]], dtype=torch.float64)
    found = make("mgda", TASKS, {}).combine(jacobian)
    assert float((jacobian @ found).min()) >= float(found @ found) * (1 - 1e-6)


def test_a_solver_that_gives_up_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def tired(system: np.ndarray, aim: np.ndarray) -> tuple[np.ndarray, float]:
        tries.append(len(system))
        if len(tries) % 3:
            raise RuntimeError("Maximum number of iterations reached.")
        return nnls(system, aim)

    jacobian = rows(0)
    expected = make("mgda", TASKS, {}).combine(jacobian)
    monkeypatch.setattr(gramians, "nnls", tired)
    torch.testing.assert_close(make("mgda", TASKS, {}).combine(jacobian), expected, rtol=1e-4, atol=1e-4)
    assert len(tries) == 3

    def exhausted(system: np.ndarray, aim: np.ndarray) -> tuple[np.ndarray, float]:
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr(gramians, "nnls", exhausted)
    with pytest.raises(InternalError, match="no direction"):
        make("mgda", TASKS, {}).combine(jacobian)


def test_cagrad_helps_the_worst_task_most_of_all_within_its_ball() -> None:
    for seed in range(20):
        jacobian = rows(seed, 4) + 0.3 * rows(seed + 100, 1)
        mean = jacobian.mean(0)
        found = make("cagrad", "abcd", {}).combine(jacobian)
        radius = RADIUS * mean.norm()
        torch.testing.assert_close((found - mean).norm(), radius)
        aside = rows(seed + 200, 2000)
        rivals = mean + radius * aside / aside.norm(dim=1, keepdim=True)
        near = found + 0.02 * radius * aside / aside.norm(dim=1, keepdim=True)
        near = mean + radius * (near - mean) / (near - mean).norm(dim=1, keepdim=True)
        worst = float((jacobian @ found).min())
        assert worst >= float((torch.cat([rivals, near]) @ jacobian.T).amin(1).max()) - 1e-6


def test_cagrad_leaves_the_mean_where_no_direction_helps_all() -> None:
    jacobian = torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
    found = make("cagrad", TASKS[:2], {}).combine(jacobian)
    assert (found - jacobian.mean(0)).norm() <= RADIUS + 1e-6


def test_gradvac_turns_a_gradient_to_the_usual_angle() -> None:
    balancer = make("gradvac", TASKS[:2], {})
    usual = torch.tensor([[0.0, 0.6], [-0.99, 0.0]], dtype=torch.float64)
    balancer.restore({"resting": [], "memory": {"similarity": usual}})
    one, two = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64), torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    turned = balancer.combine(torch.stack([one, two])) - two
    torch.testing.assert_close(torch.cosine_similarity(turned, two, dim=0), torch.tensor(0.6, dtype=torch.float64))
    seen = torch.cosine_similarity(one, two, dim=0)
    expected = (1 - FADING) * usual + FADING * seen * (1 - torch.eye(2))
    torch.testing.assert_close(balancer.state()["memory"]["similarity"], expected)


def test_gradvac_keeps_the_angles_of_each_pair_apart() -> None:
    balancer, jacobian = make("gradvac", TASKS, {}), rows(0)
    jacobian[0] = 0
    balancer.combine(jacobian)
    seen = balancer.state()["memory"]["similarity"] != 0
    assert seen.nonzero().tolist() == [[1, 2], [2, 1]]


@absent
def test_pcgrad_takes_out_what_points_against_the_other() -> None:
    one, two = torch.tensor([1.0, 2.0]), torch.tensor([1.0, -1.0])
    expected = (one - one @ two / (two @ two) * two) + (two - one @ two / (one @ one) * one)
    torch.testing.assert_close(make("pcgrad", TASKS[:2], {}).combine(torch.stack([one, two])), expected)


@absent
def test_imtl_g_advances_alike_along_every_gradient() -> None:
    jacobian = rows(1)
    found = make("imtl-g", TASKS, {}).combine(jacobian)
    advance = jacobian / jacobian.norm(dim=1, keepdim=True) @ found
    torch.testing.assert_close(advance, advance[:1].expand(3))


@absent
def test_aligned_mtl_has_its_closed_form() -> None:
    jacobian = rows(1)
    left, sizes, right = torch.linalg.svd(jacobian, full_matrices=False)
    torch.testing.assert_close(make("aligned-mtl", TASKS, {}).combine(jacobian), sizes[-1] * (left @ right).mean(0))


@absent
def test_upgrad_projects_each_gradient_on_what_harms_none() -> None:
    one, two = torch.tensor([-4.0, 1.0, 1.0]), torch.tensor([6.0, 1.0, 1.0])
    expected = ((one - one @ two / (two @ two) * two) + (two - one @ two / (one @ one) * one)) / 2
    torch.testing.assert_close(make("upgrad", TASKS[:2], {}).combine(torch.stack([one, two])), expected)


@absent
@pytest.mark.parametrize("seed", range(3))
def test_the_losses_methods_agree_with_torchjd(seed: int) -> None:
    from torchjd.scalarization import DWA, FAMO, STCH, UW, GeometricMean

    theirs = {"uncertainty": UW(3), "dwa": DWA(), "famo": FAMO(3), "stch": STCH(mu=0.1), "geometric": GeometricMean()}
    draw = np.random.default_rng(seed)
    for name, other in theirs.items():
        balancer = make(name, TASKS, {})
        for _ in range(20):
            losses = torch.tensor(draw.uniform(0.1, 3, 3), dtype=torch.float32, requires_grad=True)
            (mine,) = torch.autograd.grad(balancer.combine(losses), losses)
            (expected,) = torch.autograd.grad(other(losses), losses)
            torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6)
            later = torch.tensor(draw.uniform(0.1, 3, 3), dtype=torch.float32)
            balancer.after(later)
            balancer.epoch_done(losses.detach())
            if name == "famo":
                other.update(later)
            if name == "dwa":
                other.step()


@absent
@pytest.mark.parametrize("seed", range(3))
def test_gradvac_and_mgda_agree_with_torchjd(seed: int) -> None:
    from torchjd.aggregation import MGDA, GradVac

    mine, theirs = make("gradvac", TASKS, {}), GradVac(beta=FADING)
    for step in range(5):
        jacobian = rows(10 * seed + step, width=3)
        torch.manual_seed(step)
        found = mine.combine(jacobian)
        torch.manual_seed(step)
        torch.testing.assert_close(found, theirs(jacobian), rtol=1e-5, atol=1e-6)
    shortest = MGDA(epsilon=1e-9, max_iters=1000)(jacobian)
    torch.testing.assert_close(make("mgda", TASKS, {}).combine(jacobian), shortest, rtol=1e-2, atol=1e-2)
