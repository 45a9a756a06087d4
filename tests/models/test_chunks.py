"""Long texts in pieces: as one sequence under a mask would have it, in memory and time that grow with their length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ukulele import models
from ukulele.features.encode import Frozen, Pass
from ukulele.features.store import Computed
from ukulele.models import chunks
from ukulele.models.encoder_stages import LAYOUTS
from ukulele.tools.collate import collate
from ukulele.types import Model, Request, Rows, Tensors

Folders = Callable[..., Path]
Texts = Callable[..., list[str]]


def load(folder: Path, max_length: int = 10) -> Model:
    model = models.load(Request(str(folder), long="chunk", max_length=max_length), "text")
    for stage in model.stages:
        stage.module.eval()
    return model


def batch_of(model: Model, texts: Sequence[str]) -> Tensors:
    return collate(model.encode([(text,) for text in texts], [0] * len(texts)), model.inputs)


def masked(model: Model, live: Tensors) -> Tensors:
    """`prepare` for whole texts as one sequence each: a mask hides the tokens of other pieces."""
    piece, there = live["piece"], live["token_mask"] > 0
    same = (piece[:, :, None] == piece[:, None]) & there[:, None]
    same |= torch.eye(there.shape[1], dtype=torch.bool)
    begins = ((piece[:, None] < piece[:, :, None]) & there[:, None]).sum(-1)
    plain = {name: value for name, value in model.prepare(live).items() if name != "pieces"}
    first = int(plain["position"][0, 0])
    return {**plain, "attention": same[:, None], "position": (torch.arange(there.shape[1]) - begins + first) * there}


def trained(model: Model, live: Tensors) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Pooled vectors, and the gradients of all that is trained."""
    parameters = [p for stage in model.stages for p in stage.module.parameters()]
    for stage in model.stages:
        live = stage.module(live)
    weights = torch.linspace(-1, 1, live["pooled"].numel()).view_as(live["pooled"])
    found = torch.autograd.grad((live["pooled"] * weights).sum(), parameters, allow_unused=True, materialize_grads=True)
    return live["pooled"].detach(), list(found)


@pytest.mark.parametrize("kept", [0, 1 << 20], ids=["computed again", "kept"])
@pytest.mark.parametrize("family", LAYOUTS)
def test_values_and_gradients_are_those_of_one_masked_sequence(
    encoder_folder: Folders, texts: Texts, monkeypatch: pytest.MonkeyPatch, family: str, kept: int
) -> None:
    monkeypatch.setattr(chunks, "TOKENS", 25)
    monkeypatch.setattr(chunks, "KEPT", kept)
    model = load(encoder_folder(family))
    batch = batch_of(model, [*texts(4, longest=60), "tea"])
    assert model.prepare(batch)["pieces"].shape[1] > 3
    expected, slopes = trained(model, masked(model, batch))
    found, made = trained(model, model.prepare(batch))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for one, other in zip(made, slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_dropout_drops_the_same_where_values_are_computed_again(
    encoder_folder: Folders, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "TOKENS", 25)
    model, found = load(encoder_folder("bert")), []
    live = model.prepare(batch_of(model, texts(3, shortest=30, longest=60)))
    for stage in model.stages:
        stage.module.train()
    for kept in (0, 1 << 20):
        monkeypatch.setattr(chunks, "KEPT", kept)
        torch.manual_seed(3)
        found.append(trained(model, live))
    (again, slopes), (kept_values, kept_slopes) = found
    assert torch.equal(again, kept_values)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(slopes, kept_slopes, strict=True))


def test_no_block_is_given_more_of_a_long_text_than_of_others(encoder_folder: Folders) -> None:
    model, given = load(encoder_folder("bert", max_position_embeddings=64), 64), []

    def note(_module: Any, arguments: tuple[Any, ...]) -> None:
        x, mask = arguments
        given.append((x.shape[0] * x.shape[1], 0 if mask is None else mask.numel()))

    model.stages[1].module.layer.register_forward_pre_hook(note)
    batch = batch_of(model, ["tea rain " * 10_000, "rain " * 80])
    real = int(batch["token_mask"].sum())
    with torch.inference_mode():
        live = model.prepare(batch)
        assert all(value.numel() <= batch["ids"].numel() for value in live.values())
        model.run(batch)
    assert real > 5 * chunks.TOKENS
    assert all(tokens <= chunks.TOKENS and seen <= tokens for tokens, seen in given)
    assert sum(tokens for tokens, _ in given) < 1.2 * real


def test_the_gradient_can_be_asked_for_twice(
    encoder_folder: Folders, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "KEPT", 0)
    model = load(encoder_folder("bert"))
    live = model.run(batch_of(model, texts(2, shortest=30, longest=30)))
    (weight, *_) = model.stages[1].module.parameters()
    first, again = (torch.autograd.grad(live["pooled"][0, 0], weight, retain_graph=True)[0] for _ in range(2))
    assert first.abs().max() > 0
    assert torch.equal(first, again)


def test_rows_picked_from_what_is_prepared_are_prepared_anew(encoder_folder: Folders) -> None:
    model = load(encoder_folder("roberta"))
    live = model.prepare(batch_of(model, ["tea", "rain " * 30, "good tea"]))
    with torch.inference_mode():
        for picked in ([0, 2], [1]):
            mine = {name: value[picked] for name, value in live.items()}
            alone = model.run({name: mine[name] for name in (*model.inputs, "token_mask")})["pooled"]
            assert torch.equal(model.run(mine)["pooled"], alone)


def test_rows_computed_on_demand_pass_in_batches_of_like_length(
    encoder_folder: Folders, make_rows: Callable[..., Rows]
) -> None:
    model, sizes = load(encoder_folder("bert"), 64), []
    frozen = Frozen(model, Pass(2))
    rows = make_rows(["tea", "rain " * 3000, "good tea " * 1400, "good", "bad " * 2000])

    def run(some: Sequence[Tensors]) -> list[Tensors]:
        sizes.append(len(some) * max(len(row["ids"]) for row in some))
        return Frozen.run(frozen, some)

    frozen.run = run  # type: ignore[method-assign]
    made = Computed(frozen, rows, lambda _row: 0).rows(range(5))
    assert max(sizes) <= 4096
    for number, row in enumerate(made):
        (alone,) = Frozen.run(frozen, model.encode([rows[number].inputs], [0]))
        assert torch.equal(row["piece"], alone["piece"])
        torch.testing.assert_close(row["x"], alone["x"], rtol=1e-4, atol=1e-5)
