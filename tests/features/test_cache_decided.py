"""What is decided once about a pass, what its name depends on, and what a disk that refuses is told from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cache_kit import CUT, Make, equal, files, quiet, read

from ukulele.errors import StorageError
from ukulele.features import Cache, Computed, Pass, Store, Writer, blocks, frozen_pass, model_key
from ukulele.features.encode import Frozen
from ukulele.types import Model, Rows


@pytest.mark.parametrize("stored", [True, False])
def test_a_pass_does_as_was_decided(model: Model, rows: Rows, cache_folder: Path, stored: bool) -> None:
    cache = Cache(cache_folder, budget=10**9 if not stored else 1000)
    writer = Writer(model, rows, Pass(CUT), cache, quiet)
    assert writer.fits() != stored
    assert isinstance(writer.source(stored), Store if stored else Computed)
    assert len(files(cache)) == stored


def test_all_blocks_there_need_no_room(model: Model, rows: Rows, cache_folder: Path) -> None:
    frozen_pass(model, rows, Pass(CUT), Cache(cache_folder), quiet)
    assert Writer(model, rows, Pass(CUT), Cache(cache_folder, budget=1), quiet).fits()


def test_several_fields_take_one_pass(
    model: Model, rows: Rows, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Pass(4, taps=True)
    store = frozen_pass(model, rows, wanted, Cache(cache_folder), quiet)
    computed = Writer(model, rows, wanted, Cache(cache_folder), quiet).computed()
    names, passed = ["tap.block0", "tap.block1", "pooled"], 0
    run = Frozen.run

    def counted(self: Frozen, some: list[dict[str, torch.Tensor]]) -> list[dict[str, torch.Tensor]]:
        nonlocal passed
        passed += len(some)
        return run(self, some)

    monkeypatch.setattr(Frozen, "run", counted)
    found = computed.stacks(names)
    assert passed == len(rows)
    for name, value in store.stacks(names).items():
        torch.testing.assert_close(found[name], value)


def test_blocks_keep_no_file_open(
    model: Model, make_rows: Make, texts: Callable[..., list[str]], cache_folder: Path
) -> None:
    made, cache = make_rows(texts(3, longest=5)), Cache(cache_folder)
    before = len(list(Path("/dev/fd").iterdir()))
    held = [frozen_pass(model, made, Pass(CUT, view, seed=1), cache, quiet) for view in range(4)]
    assert len(files(cache)) == 4
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert len(read(held[0])) == 3


def test_a_block_that_cannot_be_read_is_not_thrown_away(
    model: Model, rows: Rows, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = read(frozen_pass(model, rows, Pass(CUT), Cache(cache_folder), quiet))
    cache = Cache(cache_folder)

    def refuse(path: Path) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(blocks, "_mapped", refuse)
        with pytest.raises(StorageError, match="Too many open files"):
            frozen_pass(model, rows, Pass(CUT), cache, quiet)
    assert cache.damaged == []
    assert equal(read(frozen_pass(model, rows, Pass(CUT), cache, quiet)), stored)


def test_the_key_follows_the_arithmetic_but_not_the_number_of_the_device(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, tokens = model_key(model, CUT, "fp32", "cuda"), model_key(model, 0, "fp32", "cuda")
    assert model_key(model, CUT, "fp32", "cuda:1") == before
    with monkeypatch.context() as patched:
        patched.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT of long ago")
        assert model_key(model, CUT, "fp32", "cuda") != before
        assert model_key(model, 0, "fp32", "cuda") == tokens  # tokens are tokens everywhere
    other = replace(model)
    monkeypatch.setattr(other.net.config, "_attn_implementation_internal", "another", raising=False)
    assert model_key(other, CUT, "fp32", "cuda") != before
