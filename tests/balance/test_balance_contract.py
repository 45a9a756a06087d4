"""What every balancer keeps to: shapes, absent and resting tasks, weights, and going on after a stop."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
import torch
from balance_kit import EVERY, ON_GRADIENTS, ON_LOSSES, TASKS, Training, direction
from torch import Tensor

from ukulele.balance import NAMES, make, promises
from ukulele.balance.gramians import METHODS as GRAMIANS
from ukulele.balance.jacobians import METHODS as SUPPLIED
from ukulele.balance.losses import METHODS as LOSSES
from ukulele.errors import MissingExtraError, PlanError

LOSS = torch.tensor([0.7, 2.0, 1.2])


def rows(seed: int = 0) -> Tensor:
    return torch.randn(3, 6, generator=torch.Generator().manual_seed(seed))


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_every_name_has_a_method_and_the_default_comes_first() -> None:
    assert set(NAMES) == {*LOSSES, *GRAMIANS, *SUPPLIED}
    assert NAMES[0] == "first"


@pytest.mark.parametrize("name", ON_LOSSES)
def test_losses_become_a_scalar_with_a_graph(name: str) -> None:
    balancer, losses = make(name, TASKS, {}), LOSS.clone().requires_grad_()
    assert balancer.on == "losses"
    total = balancer.combine(losses)
    assert total.shape == ()
    total.backward()
    assert losses.grad is not None
    assert losses.grad.isfinite().all()
    assert (losses.grad > 0).all()


@pytest.mark.parametrize("name", ON_GRADIENTS)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_jacobian_becomes_a_gradient(name: str, precision: torch.dtype) -> None:
    balancer, jacobian = make(name, TASKS, {}), rows().to(precision).requires_grad_()
    gradient = balancer.combine(jacobian)
    assert balancer.on == "gradients"
    assert (gradient.shape, gradient.dtype, gradient.requires_grad) == ((6,), precision, False)
    assert gradient.isfinite().all()
    assert gradient.any()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("missing", [(0,), (1, 2), (0, 1, 2)], ids=str)
def test_a_task_without_rows_does_no_harm(name: str, missing: tuple[int, ...]) -> None:
    balancer, jacobian, losses = make(name, TASKS, {}), rows(), LOSS.clone()
    jacobian[list(missing)] = losses[list(missing)] = 0
    for _ in range(3):
        assert direction(balancer, jacobian, losses).isfinite().all()
        balancer.after(losses * 0.9)
        balancer.epoch_done(losses)
    found = direction(balancer, jacobian, losses)
    assert bool(found.any()) is (len(missing) < 3)
    assert direction(balancer, rows(), LOSS).isfinite().all()
    state = balancer.state()["memory"].values()
    assert all(value.isfinite().all() for value in state)


@pytest.mark.parametrize("name", ON_LOSSES)
def test_a_task_without_rows_has_no_pull_and_the_others_keep_theirs(name: str) -> None:
    balancer, losses = make(name, TASKS, {}), (LOSS * torch.tensor([1, 0, 1])).requires_grad_()
    learnt = balancer.parameters()
    balancer.combine(losses).backward()
    assert losses.grad is not None
    assert (losses.grad[[0, 2]] > 0.01).all()
    assert all(p.grad is not None and p.grad[1] == 0 for p in learnt)


@pytest.mark.parametrize("name", ON_GRADIENTS)
def test_a_row_of_zeros_is_as_good_as_none(name: str) -> None:
    jacobian = rows()
    jacobian[1] = 0
    torch.manual_seed(0)
    found = make(name, TASKS, {}).combine(jacobian)
    torch.manual_seed(0)
    expected = make(name, (TASKS[0], TASKS[2]), {}).combine(jacobian[[0, 2]])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ON_GRADIENTS)
def test_a_resting_task_is_left_out_of_the_jacobian(name: str) -> None:
    balancer = make(name, TASKS, {"tone": 3.0})
    balancer.rest({"mood"})
    torch.manual_seed(0)
    found = balancer.combine(rows())
    torch.manual_seed(0)
    expected = make(name, TASKS[1:], {"tone": 3.0}).combine(rows()[1:])
    torch.testing.assert_close(found, expected)
    assert found.any()


@pytest.mark.parametrize("name", ON_LOSSES)
def test_a_resting_task_has_no_pull(name: str) -> None:
    balancer = make(name, TASKS, {})
    for _ in range(2):
        balancer.combine(LOSS)
        balancer.after(LOSS * torch.tensor([0.5, 0.9, 0.8]))
        balancer.epoch_done(LOSS)
    balancer.rest({"mood"})
    losses = LOSS.clone().requires_grad_()
    balancer.combine(losses).backward()
    assert losses.grad is not None
    assert losses.grad[0] == 0
    assert (losses.grad[1:] > 0).all()
    assert all(p.grad is not None and p.grad[0] == 0 for p in balancer.parameters())


@pytest.mark.parametrize("name", EVERY)
def test_all_tasks_may_rest_in_the_end_and_rest_is_remembered(name: str) -> None:
    balancer = make(name, TASKS, {"mood": 2.0})
    assert (balancer.weight("mood"), balancer.weight("tone")) == (2.0, 1.0)
    balancer.rest({"mood"})
    balancer.rest({"topic", "tone"})
    again = make(name, TASKS, {"mood": 2.0})
    again.restore(balancer.state())
    for one in (balancer, again):
        assert [one.weight(task) for task in TASKS] == [0.0] * 3
        assert not direction(one, rows(), LOSS).any()


@pytest.mark.parametrize("name", EVERY)
def test_static_weights_have_effect(name: str) -> None:
    found = []
    for weights in ({}, {"topic": 5.0}, {"topic": 1.0}):
        torch.manual_seed(0)
        found.append(direction(make(name, TASKS, weights), rows(2), LOSS))
    assert not torch.allclose(found[0], found[1], rtol=1e-2)
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_training_that_goes_on_ends_bit_identical(name: str, stop: int) -> None:
    whole = Training(name).run(0, 6).values()
    file = io.BytesIO()
    torch.save(Training(name).run(0, stop).state(), file)
    file.seek(0)
    again = Training(name).restore(torch.load(file, weights_only=True)).run(stop, 6)
    assert same(again.values(), whole)
    assert not same(Training(name).values(), whole)


@pytest.mark.parametrize("name", ["first", "uncertainty", "dwa", "famo", "gradvac"])
def test_what_is_remembered_is_needed(name: str) -> None:
    whole = Training(name).run(0, 6, rests=False).values()
    state = Training(name).run(0, 5, rests=False).state()
    assert same(Training(name).restore(state).run(5, 6, rests=False).values(), whole)
    assert not same(Training(name).restore(state, balancer=False).run(5, 6, rests=False).values(), whole)


@pytest.mark.parametrize("name", EVERY)
def test_a_state_is_a_copy_and_can_be_used_twice(name: str) -> None:
    training = Training(name).run(0, 3)
    state = training.state()
    whole = training.run(3, 6).values()
    for _ in range(2):
        assert same(Training(name).restore(state).run(3, 6).values(), whole)


@pytest.mark.parametrize("name", ON_GRADIENTS)
@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_what_is_not_finite_passes_through(name: str, odd: float) -> None:
    jacobian = rows()
    jacobian[1, 2] = odd
    assert not make(name, TASKS, {}).combine(jacobian).isfinite().all()


@pytest.mark.parametrize("name", EVERY)
def test_one_task_alone_descends(name: str) -> None:
    found = direction(make(name, ("mood",), {}), rows()[:1], LOSS[:1])
    assert torch.cosine_similarity(found, rows()[0], dim=0) > 0.999


def test_only_the_parameters_of_uncertainty_are_learnt_and_only_famo_looks_again() -> None:
    own = [name for name in NAMES if name not in SUPPLIED]
    made = {name: make(name, TASKS, {}) for name in own}
    assert [name for name in own if made[name].parameters()] == ["uncertainty"]
    assert [name for name in own if made[name].wants_after] == ["famo"]


def test_an_unknown_name_is_told_with_those_near() -> None:
    for ask in (promises, lambda name: make(name, TASKS, {})):
        with pytest.raises(PlanError, match="no balancer 'pcgard'") as caught:
            ask("pcgard")
        assert "'pcgrad'" in caught.value.hint
        assert all(name in caught.value.hint for name in NAMES)


def test_all_that_is_wrong_with_weights_is_told_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        make("sum", TASKS, {"moode": 1.0, "topic": -1.0, "tone": float("nan")})
    for part in ("'moode'", "Did you mean 'mood'", "-1.0", "'topic'", "nan", "'tone'"):
        assert part in str(caught.value)
    with pytest.raises(PlanError, match="no task has a weight above 0"):
        make("sum", ("mood",), {"mood": 0.0})


def test_an_unknown_task_cannot_rest() -> None:
    with pytest.raises(PlanError, match="no task 'moode'"):
        make("sum", TASKS, {}).rest({"moode"})


@pytest.mark.parametrize("name", list(SUPPLIED))
def test_a_missing_library_is_told_before_training(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(MissingExtraError, match=name) as caught:
        make(name, TASKS, {})
    assert "ukulele[multitask]" in caught.value.hint


def test_names_and_promises_come_without_torch() -> None:
    code = "import sys; import ukulele.balance as b; b.promises('sum'); print({'torch', 'torchjd'} & {*sys.modules})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
