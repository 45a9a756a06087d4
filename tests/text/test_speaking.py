"""The loss of words in chunks against the library's own, and how much memory it takes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from largest import Largest
from ukulele.models import speaking
from ukulele.models.speaking import IGNORED, Bend, taught_loss, word_losses

ROWS, TOKENS, WIDTH, VOCABULARY = 3, 7, 5, 11


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaking, "ROOM", 4 * VOCABULARY)  # four places at a time


def material(seed: int = 0, *, bias: bool = False) -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(seed)
    head = nn.Linear(WIDTH, VOCABULARY, bias=bias)
    states = torch.randn(ROWS, TOKENS, WIDTH, requires_grad=True)
    labels = torch.randint(0, VOCABULARY, (ROWS, TOKENS))
    labels[0, 3:] = IGNORED
    labels[2] = IGNORED  # a row that teaches nothing
    return head, states, labels


def plain(head: nn.Linear, states: Tensor, labels: Tensor, smoothing: float, bias: Tensor | None) -> Tensor:
    scores = head(states) if bias is None else head(states) + bias
    losses = cross_entropy(
        scores.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none", label_smoothing=smoothing
    )
    return losses.view(labels.shape).sum(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("counts", [(1.0, 1.0, 1.0), (0.3, 2.0, 5.0)])
def test_losses_and_gradients_are_those_of_the_library(smoothing: float, bias: bool, counts: tuple[float, ...]) -> None:
    head, states, labels = material(bias=bias)
    more = torch.randn(VOCABULARY) if bias else None
    given = torch.tensor(counts)
    wanted = plain(head, states, labels, smoothing, more)
    expected = torch.autograd.grad((wanted * given).sum(), [states, *head.parameters()])
    loss = taught_loss(head, states, labels, labels != IGNORED, smoothing, more)
    found = torch.autograd.grad((loss.sums * given).sum(), [states, *head.parameters()])
    torch.testing.assert_close(loss.sums, wanted)
    assert loss.counts.tolist() == [3, 7, 0]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("bend", [Bend(0.25), Bend(1.0, 0.7), Bend(3.0, 2.0)])
@pytest.mark.parametrize("counts", [(1.0, 1.0, 1.0), (0.3, 2.0, 5.0)])
def test_scores_that_are_bent(bend: Bend, counts: tuple[float, ...]) -> None:
    head, states, labels = material(bias=True)
    given, scores = torch.tensor(counts), bend(head(states))
    losses = cross_entropy(
        scores.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none", label_smoothing=0.1
    )
    wanted = losses.view(labels.shape).sum(1)
    expected = torch.autograd.grad((wanted * given).sum(), [states, *head.parameters()])
    loss = taught_loss(head, states, labels, labels != IGNORED, 0.1, bend=bend)
    torch.testing.assert_close(loss.sums, wanted)
    found = torch.autograd.grad((loss.sums * given).sum(), [states, *head.parameters()])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_is_frozen_has_no_gradient_and_the_rest_has() -> None:
    head, states, labels = material()
    head.requires_grad_(False)
    taught_loss(head, states, labels, labels != IGNORED).sums.sum().backward()
    assert head.weight.grad is None
    assert states.grad is not None
    head, states, labels = material()
    head.requires_grad_(True)
    taught_loss(head, states.detach(), labels, labels != IGNORED).sums.sum().backward()
    assert head.weight.grad is not None
    assert float(head.weight.grad.abs().sum()) > 0


def test_the_same_graph_can_be_differentiated_twice() -> None:
    head, states, labels = material()
    sums = taught_loss(head, states, labels, labels != IGNORED).sums
    once = torch.autograd.grad(sums.sum(), [states, head.weight], retain_graph=True)
    again = torch.autograd.grad(2 * sums.sum(), [states, head.weight])
    for one, two in zip(once, again, strict=True):
        assert torch.equal(2 * one, two)


def test_under_autocast_it_is_near_the_library_too() -> None:
    head, states, labels = material()
    with torch.autocast("cpu", torch.bfloat16):
        loss = taught_loss(head, states, labels, labels != IGNORED)
    found = torch.autograd.grad(loss.sums.sum(), [states, head.weight])
    expected = torch.autograd.grad(plain(head, states, labels, 0.0, None).sum(), [states, head.weight])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.02)


def test_nothing_taught_costs_nothing() -> None:
    head, states, labels = material()
    loss = taught_loss(head, states, labels, torch.zeros_like(labels, dtype=torch.bool))
    loss.sums.sum().backward()
    assert loss.sums.tolist() == [0, 0, 0]
    assert head.weight.grad is None or not head.weight.grad.any()


def test_no_tensor_is_as_large_as_the_scores_of_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensor that any operator makes, forward and backward, does not grow with tokens times words."""
    monkeypatch.setattr(speaking, "ROOM", 8 * 500)

    def largest(tokens: int) -> int:
        torch.manual_seed(0)
        head, states = nn.Linear(16, 500, bias=False), torch.randn(tokens, 16, requires_grad=True)
        with Largest() as seen:
            word_losses(head, states, torch.zeros(tokens, dtype=torch.long)).sum().backward()
        return seen.numbers

    assert largest(100) == largest(400) == 500 * 16  # the layer's own gradient; all scores are 50,000 and 200,000
