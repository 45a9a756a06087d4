"""The cache's contract with the disk: damage, too little room, and others at work in the same folder."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cache_kit import CUT, Folders, Make, close, equal, files, quiet, read

from ukulele import features, models
from ukulele.events import Progress, Said
from ukulele.features import Cache, Computed, Pass, Store, frozen_pass
from ukulele.types import Model, Request, Rows, Tensors

# ---------------------------------------------------------------- damage


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "first byte": lambda content: flip(content, 0),
    "middle": lambda content: flip(content, len(content) // 2),
    "index": lambda content: flip(content, len(content) - 60),
    "footer": lambda content: flip(content, len(content) - 20),
    "magic": lambda content: flip(content, len(content) - 1),
    "cut in half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "nearly empty": lambda content: content[:10],
    "empty": lambda _: b"",
    "longer": lambda content: content + b"more",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_noted_and_mended(model: Model, rows: Rows, cache_folder: Path, damage: str) -> None:
    whole = read(frozen_pass(model, rows, Pass(CUT), Cache(cache_folder), quiet))
    cache = Cache(cache_folder)
    file = files(cache)[0]
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    mended = frozen_pass(model, rows, Pass(CUT), cache, quiet)
    assert cache.damaged == [file.stem]
    assert equal(read(mended), whole)
    after = Cache(cache_folder)
    frozen_pass(model, rows, Pass(CUT), after, quiet)
    assert after.damaged == []


def test_a_damaged_block_of_a_read_only_cache_is_absent(
    model: Model, rows: Rows, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(cache_folder)
    frozen_pass(model, rows, Pass(CUT), cache, quiet)
    file = files(cache)[0]
    file.write_bytes(b"")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert cache.get(file.stem) is None
    assert cache.damaged == [file.stem]


def test_an_encoder_that_fails_leaves_nothing_half_written(model: Model, rows: Rows, cache_folder: Path) -> None:
    def fail(inputs: Sequence[tuple[Any, ...]], draws: Sequence[int]) -> list[Tensors]:
        if len(inputs) > 8:
            raise KeyboardInterrupt
        return model.encode(inputs, draws)

    with pytest.raises(KeyboardInterrupt):
        frozen_pass(replace(model, encode=fail), rows, Pass(CUT), Cache(cache_folder), quiet)
    assert [path for path in cache_folder.rglob("*") if path.is_file()] == []


# ---------------------------------------------------------------- room


def test_too_small_a_budget_computes_on_demand(model: Model, rows: Rows, cache_folder: Path) -> None:
    stored = frozen_pass(model, rows, Pass(CUT), Cache(cache_folder / "large"), quiet)
    cache = Cache(cache_folder / "small", budget=1000)
    computed = frozen_pass(model, rows, Pass(CUT), cache, quiet)
    assert isinstance(computed, Computed)
    assert files(cache) == []
    assert len(computed) == len(stored)
    assert computed.fields == stored.fields
    assert computed.lengths().tolist() == stored.lengths().tolist()  # hence the same steps
    close(read(computed), read(stored))
    together = frozen_pass(model, rows, Pass(4), cache, quiet)
    assert isinstance(together, Computed)
    torch.testing.assert_close(together.stack("pooled"), together.stack("pooled"))
    assert together.lengths().tolist() == [1] * len(rows)


def test_room_is_made_by_evicting_the_oldest_but_nothing_in_use(
    model: Model, make_rows: Make, texts: Callable[..., list[str]], cache_folder: Path
) -> None:
    sets = [make_rows(texts(40, seed=seed, shortest=10, longest=10)) for seed in range(4)]
    first = Cache(cache_folder)
    frozen_pass(model, sets[0], Pass(CUT), first, quiet)
    frozen_pass(model, sets[1], Pass(CUT), first, quiet)
    (oldest, size, _), (newer, _, _) = first.entries()
    budget = int(size * 3.2)
    later = Cache(cache_folder, budget)
    kept = frozen_pass(model, sets[1], Pass(CUT), later, quiet)
    frozen_pass(model, sets[2], Pass(CUT), later, quiet)  # fits beside them
    assert {oldest, newer} < set(files(later))
    frozen_pass(model, sets[3], Pass(CUT), later, quiet)
    assert oldest not in files(later)
    assert newer in files(later)
    assert sum(size for _, size, _ in later.entries()) <= budget
    full = frozen_pass(model, make_rows(texts(40, seed=9, shortest=10, longest=10)), Pass(CUT), later, quiet)
    assert isinstance(full, Computed)  # all that is there is in use
    assert len(files(later)) == 3
    assert equal(read(kept), read(frozen_pass(model, sets[1], Pass(CUT), Cache(cache_folder), quiet)))


def test_nothing_is_evicted_where_that_would_not_help(model: Model, rows: Rows, cache_folder: Path) -> None:
    frozen_pass(model, rows, Pass(CUT), Cache(cache_folder), quiet)
    cache = Cache(cache_folder, budget=100_000)
    assert not cache.has_room(200_000)
    assert len(files(cache)) == 1


def test_what_killed_runs_left_unfinished_is_counted_and_later_removed(cache_folder: Path) -> None:
    cache = Cache(cache_folder, budget=1000)
    parts = [cache_folder / place / ".one.part" for place in ("features/ab", "tables", "pictures")]
    for part in parts:
        part.parent.mkdir(parents=True)
        part.write_bytes(bytes(600))
    assert not cache.has_room(600)
    assert all(part.exists() for part in parts), "they may be under way"
    for part in parts:
        os.utime(part, (0, time.time() - 24 * 3600))
    assert cache.has_room(600)
    assert not any(part.exists() for part in parts)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, cache_folder: Path) -> Callable[[float], None]:
    """A disk with so many bytes for the cache alone."""

    def limit(size: float) -> None:
        def usage(_: object) -> Any:
            return SimpleNamespace(free=size - sum(taken for _, taken, _ in Cache(cache_folder).entries()))

        monkeypatch.setattr("ukulele.features.cache.shutil.disk_usage", usage)

    return limit


def test_old_blocks_make_room_on_a_full_disk(
    model: Model, make_rows: Make, texts: Callable[..., list[str]], cache_folder: Path, disk: Callable[[float], None]
) -> None:
    sets = [make_rows(texts(40, seed=seed, shortest=10, longest=10)) for seed in range(3)]
    for made in sets[:2]:
        frozen_pass(model, made, Pass(CUT), Cache(cache_folder), quiet)
    (oldest, size, _), (newer, _, _) = Cache(cache_folder).entries()
    disk(2.6 * size)
    cache = Cache(cache_folder)
    assert isinstance(frozen_pass(model, sets[2], Pass(CUT), cache, quiet), Store)
    assert oldest not in files(cache)
    assert newer in files(cache)
    disk(0.5 * size)
    assert not Cache(cache_folder).has_room(size)
    assert len(files(cache)) == 2, "nothing is evicted where that would not help"


def test_it_is_said_once_that_there_is_no_room(model: Model, rows: Rows, cache_folder: Path) -> None:
    heard: list[Any] = []
    for budget in (1000, 0):
        cache = Cache(cache_folder, budget)
        for cut in (CUT, 3):
            frozen_pass(model, rows, Pass(cut), cache, heard.append)
    frozen_pass(model, rows, Pass(CUT), Cache(cache_folder), heard.append)
    (said,) = [event for event in heard if isinstance(event, Said)]
    assert said.severity == "warning"
    assert "no room" in said.text


def test_a_block_that_another_run_evicts_at_once_is_computed(
    model: Model, rows: Rows, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cache, "get", lambda self, key: None)
    source = frozen_pass(model, rows, Pass(CUT), Cache(cache_folder), quiet)
    assert isinstance(source, Computed)
    assert len(source) == len(rows)


def test_clearing_leaves_open_blocks_readable(model: Model, rows: Rows, cache_folder: Path) -> None:
    cache = Cache(cache_folder)
    store = frozen_pass(model, rows, Pass(CUT), cache, quiet)
    size = files(cache)[0].stat().st_size
    before = read(store)
    for part in ("tables", "pictures"):
        (cache.folder / part).mkdir()
        (cache.folder / part / "one.arrow").write_bytes(b"12345")
    assert cache.parts()["tables"] == cache.parts()["pictures"] == (1, 5)
    assert cache.clear() == size + 10
    assert files(cache) == []
    assert equal(read(store), before)


def test_each_of_several_processes_encodes_its_share(
    model: Model, make_rows: Make, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ukulele.features.writer.BLOCK", 10)
    made, cache = make_rows([f"w{i}" for i in range(35)]), Cache(cache_folder)
    for rank, count in ((0, 2), (1, 3), (2, 4), (3, 4)):  # four blocks, three at work and one without
        features.encode_shard(model, made, Pass(CUT), cache, quiet, (rank, 3) if rank < 3 else (5, 6))
        assert len(files(cache)) == (count if rank else 2)
    heard: list[Progress] = []
    store = frozen_pass(model, made, Pass(CUT), cache, heard.append)
    assert heard == []
    assert len(store) == 35


def _encode(folder: str, cache: str, texts: list[str], barrier: Any, out: Any) -> None:
    from ukulele.types import Row, Where

    class Listed(list[Row]):
        def take(self, indices: Sequence[int]) -> Listed:
            return Listed(self[i] for i in indices)

    torch.set_num_threads(1)
    model = models.load(Request(folder), "text")
    rows = Listed(Row((text,), {}, Where("made")) for text in texts)
    barrier.wait()
    seen = Cache(Path(cache))
    store = frozen_pass(model, rows, Pass(CUT), seen, quiet)  # type: ignore[arg-type]
    out.put((isinstance(store, Store), seen.damaged, [row["x"].numpy().tobytes() for row in read(store)]))


@pytest.mark.slow
def test_two_runs_at_once_do_no_harm(
    encoder_folder: Folders, texts: Callable[..., list[str]], cache_folder: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, out = context.Barrier(2), context.Queue()
    given = (str(encoder_folder("bert")), str(cache_folder), texts(200, longest=20), barrier, out)
    workers = [context.Process(target=_encode, args=given, daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    (one, damaged, left), (two, spoilt, right) = out.get(timeout=600), out.get(timeout=600)
    for worker in workers:
        worker.join()
    assert one
    assert two
    assert damaged == spoilt == []
    assert left == right
    assert len(files(Cache(cache_folder))) == 1
