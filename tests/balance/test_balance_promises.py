"""Each balancer keeps what it promises; what it does not promise can be seen to fail."""

from __future__ import annotations

import pytest
import torch
from balance_kit import EVERY, TASKS, direction, params
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ukulele.balance import NAMES, make, promises

EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True)
Round = tuple[Tensor, Tensor]  # a Jacobian, and losses


def drawn(seed: int, tasks: int = 3, width: int = 6, spread: float = 1.0) -> Round:
    """Gradients of several lengths, in float64 so that only the method's own precision counts."""
    source = torch.Generator().manual_seed(seed)
    lengths = 10 ** (spread * (2 * torch.rand(tasks, 1, generator=source) - 1))
    jacobian = torch.randn(tasks, width, generator=source, dtype=torch.float64) * lengths
    return jacobian, 0.1 + 3 * torch.rand(tasks, generator=source, dtype=torch.float64)


def last(name: str, rounds: list[Round], order: list[int], seeds: int = 0) -> Tensor:
    """The last direction of several steps, an epoch each, with the tasks in an order."""
    names = [f"t{task}" for task in order]
    balancer = make(name, names, {"t0": 2.0})
    found = torch.zeros(())
    for index, (jacobian, losses) in enumerate(rounds):
        torch.manual_seed(seeds + index)
        found = direction(balancer, jacobian[order], losses[order])
        balancer.after(losses[order] * torch.tensor([0.5, 0.9, 1.1, 0.7])[order])
        balancer.epoch_done(losses[order])
    return found


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[Round], list[int]]:
    tasks = draw(st.integers(2, 4))
    seed = draw(st.integers(0, 10_000))
    return [drawn(seed + index, tasks) for index in range(3)], draw(st.permutations(range(tasks)))


@st.composite
def wild(draw: st.DrawFn) -> Tensor:
    """Rows that repeat, oppose or cancel each other, of very different lengths."""
    tasks, width = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    row = st.lists(st.integers(-2, 2), min_size=width, max_size=width)
    found = torch.tensor(draw(st.lists(row, min_size=tasks, max_size=tasks)), dtype=torch.float64)
    powers = draw(st.lists(st.integers(-4, 4), min_size=tasks, max_size=tasks))
    return found * 10.0 ** torch.tensor(powers, dtype=torch.float64)[:, None]


def harm(jacobian: Tensor, gradient: Tensor) -> float:
    """How far the first row that suffers points against a gradient, by the lengths concerned."""
    lengths = jacobian.norm(dim=1)
    return float((-(jacobian @ gradient) / (lengths * lengths.max()).clamp(min=1e-30)).max())


@pytest.mark.parametrize("name", params([name for name in NAMES if promises(name).order_invariant]))
def test_the_order_of_tasks_does_not_matter(name: str) -> None:
    @EXAMPLES
    @given(orders())
    def check(made: tuple[list[Round], list[int]]) -> None:
        rounds, order = made
        torch.testing.assert_close(last(name, rounds, order), last(name, rounds, sorted(order)), rtol=1e-4, atol=1e-4)

    check()


@pytest.mark.parametrize("name", params([name for name in NAMES if promises(name).deterministic]))
def test_the_seed_does_not_matter(name: str) -> None:
    @EXAMPLES
    @given(st.integers(0, 10_000), st.integers(1, 10_000))
    def check(seed: int, other: int) -> None:
        rounds = [drawn(seed + index) for index in range(3)]
        assert torch.equal(last(name, rounds, [0, 1, 2]), last(name, rounds, [0, 1, 2], other))

    check()


@pytest.mark.parametrize("name", params([name for name in NAMES if promises(name).non_conflicting]))
def test_no_task_is_harmed(name: str) -> None:
    @settings(EXAMPLES, max_examples=100)
    @given(wild())
    def check(jacobian: Tensor) -> None:
        tasks = [f"t{row}" for row in range(len(jacobian))]
        gradient = make(name, tasks, {"t0": 3.0}).combine(jacobian)
        assert gradient.isfinite().all()
        assert harm(jacobian, gradient) < 1e-7

    check()


@pytest.mark.parametrize("name", params([name for name in NAMES if promises(name).non_conflicting]))
def test_no_task_is_harmed_in_single_precision(name: str) -> None:
    for seed in range(20):
        jacobian = drawn(seed, tasks=4, width=300)[0].float()
        jacobian[1] = -0.9 * jacobian[0] + 0.1 * jacobian[1]
        gradient = make(name, ["a", "b", "c", "d"], {}).combine(jacobian)
        assert gradient.any()
        assert harm(jacobian, gradient) < 1e-5


@pytest.mark.parametrize("name", EVERY)
def test_any_gradients_are_survived(name: str) -> None:
    @settings(EXAMPLES, max_examples=30)
    @given(wild())
    def check(jacobian: Tensor) -> None:
        tasks = [f"t{row}" for row in range(len(jacobian))]
        balancer = make(name, tasks, {})
        for _ in range(2):
            assert direction(balancer, jacobian, jacobian.abs().sum(1)).isfinite().all()

    check()


@pytest.mark.parametrize("name", params([name for name in NAMES if not promises(name).non_conflicting]))
def test_what_promises_no_peace_can_do_harm(name: str) -> None:
    cases = [drawn(seed, width=3) for seed in range(300)]
    assert any(harm(j, direction(make(name, TASKS, {}), j, losses)) > 1e-3 for j, losses in cases)


@pytest.mark.parametrize("name", params([name for name in NAMES if not promises(name).order_invariant]))
def test_what_promises_no_order_depends_on_it(name: str) -> None:
    cases = [[drawn(10 * case + index, width=3) for index in range(3)] for case in range(20)]
    assert any(not torch.allclose(last(name, c, [0, 1, 2]), last(name, c, [2, 1, 0]), rtol=1e-2) for c in cases)


@pytest.mark.parametrize("name", params([name for name in NAMES if not promises(name).deterministic]))
def test_what_draws_depends_on_the_seed_and_on_nothing_else(name: str) -> None:
    rounds, order = [drawn(index, width=2) for index in range(3)], [0, 1, 2]
    assert any(not torch.equal(last(name, rounds, order), last(name, rounds, order, seed)) for seed in range(1, 9))
    assert torch.equal(last(name, rounds, order, 5), last(name, rounds, order, 5))
