"""Every way in which attention is computed gives the same values, and none of them holds the scores of all pairs."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from largest import Largest
from ukulele.models import attention
from ukulele.models.attention import Attention

ROWS, HEADS, TOKENS, WIDTH = 2, 3, 9, 4
LENGTHS = torch.tensor([[9], [5]])


def material(tokens: int = TOKENS) -> tuple[list[Tensor], Tensor]:
    torch.manual_seed(0)
    given = [torch.randn(ROWS, HEADS, tokens, WIDTH, requires_grad=True) for _ in range(3)]
    return given, torch.randn(1, HEADS, 2 * tokens - 1, requires_grad=True)


def spread(bias: Tensor) -> Tensor:
    """What stands for each distance, for each pair."""
    tokens = (bias.shape[2] + 1) // 2
    return torch.stack([bias[:, :, tokens - 1 - at : 2 * tokens - 1 - at] for at in range(tokens)], 2)


@pytest.mark.parametrize("mask", ["all", "padded", "causal"])
@pytest.mark.parametrize("biased", ["", "by distance", "by pair"])
@pytest.mark.parametrize(("short", "room"), itertools.product([0, 128], [1 << 23, 2 * ROWS * HEADS * TOKENS]))
def test_values_and_gradients_are_the_library_s(
    mask: str, biased: str, short: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "SHORT", dict.fromkeys(attention.SHORT, short))
    monkeypatch.setattr(attention, "WHOLE", 1)
    monkeypatch.setattr(attention, "ROOM", room)  # two tokens at a time, or all
    given, bias = material()
    seen = {
        "all": None,
        "padded": (torch.arange(TOKENS)[None] < LENGTHS)[:, None, None],
        "causal": torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()[None, None],
    }[mask]
    added = seen
    if biased:
        whole = spread(bias)
        added = whole if seen is None else whole.masked_fill(~seen, torch.finfo(whole.dtype).min)
    wanted = scaled_dot_product_attention(*given, added).transpose(1, 2)
    handed = {"": None, "by distance": bias, "by pair": spread(bias)}[biased]
    asked = Attention(seen if mask == "padded" else None, handed, 0.0, WIDTH**-0.5, causal=mask == "causal")
    found = asked.of(given[0], given[1], given[2])
    torch.testing.assert_close(found, wanted)
    trained, slope = [*given, *([bias] if biased else [])], torch.randn_like(wanted)
    theirs = torch.autograd.grad(wanted, trained, slope, retain_graph=True)
    for ours, other in zip(torch.autograd.grad(found, trained, slope), theirs, strict=True):
        torch.testing.assert_close(ours, other)


@pytest.mark.parametrize("queries", [40, 1])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("size", [1.0, 2.0, 8.0, 1e3])  # the last two of scores too large to be left as they are
def test_in_bf16_without_a_gradient_it_is_about_as_near_to_the_exact_values(
    padded: bool, size: float, queries: int
) -> None:
    (query, key, value), _ = material(40)
    mask = (torch.arange(40)[None] < torch.tensor([[40], [9]]))[:, None, None] if padded else None
    given = [(x * size).to(torch.bfloat16).detach() for x in (query[:, :, :queries], key)]
    given.append(value.to(torch.bfloat16).detach())
    exact = scaled_dot_product_attention(*(x.double() for x in given), mask).transpose(1, 2)
    asked = Attention(mask, None, 0.0, WIDTH**-0.5, causal=False)
    with torch.enable_grad():
        usual = asked.of(*given)
    with torch.no_grad():
        found = asked.of(*given)
        alone = asked._unshifted(*given)
    assert alone is None or size < 1e3
    assert alone is not None or size > 2
    assert found.is_contiguous() or alone is None
    assert (found.double() - exact).norm() <= 1.5 * (usual.double() - exact).norm() + 1e-9


def test_rows_of_which_nothing_is_seen_are_left_to_the_usual_way() -> None:
    (query, key, value), _ = material()
    mask = torch.zeros(ROWS, 1, 1, TOKENS, dtype=torch.bool)
    mask[0] = True
    given = [x.to(torch.bfloat16).detach() for x in (query, key, value)]
    with torch.no_grad():
        found = Attention(mask, None, 0.0, 0.5, causal=False).of(*given)
    assert found.isfinite().all()
    torch.testing.assert_close(found[1], given[2][1].mean(1).expand(TOKENS, -1, -1), atol=0.02, rtol=0)


def test_keys_that_several_heads_share() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, 6, 4) for heads in (4, 2, 2))
    wanted = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(Attention(None, None, 0.0, 0.5, causal=True).of(query, key, value), wanted)
    dropped = Attention(None, None, 1e-9, 0.5, causal=True).of(query, key, value)
    torch.testing.assert_close(dropped, wanted)


def test_what_is_dropped_is_the_same_when_stretches_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "WHOLE", 1)
    monkeypatch.setattr(attention, "ROOM", 2 * ROWS * HEADS * TOKENS)
    (query, key, value), _ = material()
    torch.manual_seed(1)
    found = Attention(None, None, 0.5, 1.0, causal=False).of(query, key, value)
    (slope,) = torch.autograd.grad(found.sum(), value)  # each key's weights, summed: what was kept forward
    torch.manual_seed(1)
    with torch.no_grad():
        weights = Attention(None, None, 0.5, 1.0, causal=False).of(query, key, torch.eye(TOKENS).expand(2, 3, 9, 9))
    torch.testing.assert_close(slope[..., 0], weights.sum(1))


@pytest.mark.parametrize(("dropout", "biased"), [(0.0, False), (0.0, True), (0.1, False)])
def test_no_tensor_grows_with_the_square_of_the_tokens(
    dropout: float, biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "WHOLE", 1)
    monkeypatch.setattr(attention, "ROOM", 1 << 14)

    def largest(tokens: int) -> int:
        given, bias = material(tokens)
        with Largest() as seen:
            Attention(None, bias if biased else None, dropout, 0.5, causal=True).of(*given).sum().backward()
        return seen.numbers

    assert largest(800) < 2.5 * largest(400)  # the square would be four times as many
