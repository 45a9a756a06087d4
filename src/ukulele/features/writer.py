"""The one pass: all rows through the frozen stages, block by block, into the cache or on from what is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from ukulele.events import Hear, Progress
from ukulele.features import blocks, keys
from ukulele.features.blocks import Block
from ukulele.features.cache import Cache
from ukulele.features.encode import ANSWERS, Frozen, Pass, Read, batches, encoding, fields_of
from ukulele.features.store import BLOCK, Computed, Source, Store
from ukulele.types import Model, Rows, Tensors


def frozen_pass(model: Model, rows: Rows, wanted: Pass, cache: Cache, hear: Hear) -> Source:
    """The values of all rows at a cut: read from the cache, computed and stored where absent, or,
    where they do not fit the budget, computed on demand.
    """
    writer = Writer(model, rows, wanted, cache, hear)
    return writer.source(writer.fits())


def encode_shard(
    model: Model, rows: Rows, wanted: Pass, cache: Cache, hear: Hear, shard: tuple[int, int]
) -> None:  # fmt: skip
    """Write the blocks of one of several processes, `shard` being (rank, world): behind a barrier,
    `frozen_pass` then finds those of all.
    """
    writer = Writer(model, rows, wanted, cache, hear)
    if writer.fits():
        writer.share(shard)


class Writer:
    """Blocks of one pass, from the cache or, where they are absent, made and put there: from the raw rows, or from
    `base`, the same rows stored at a lower cut, whose stages are not run again. The bits are the same.

    Whether rows are stored or computed decides which of them pass the trunk together, and so the last bits:
    `fits` tells what to do, once, and `source` does as it was told.
    """

    def __init__(
        self, model: Model, rows: Rows, wanted: Pass, cache: Cache, hear: Hear, base: tuple[int, Store] | None = None
    ) -> None:
        self.model, self.rows, self.wanted, self.cache, self.hear = model, rows, wanted, cache, hear
        self._base = base
        self.fields = fields_of(model, wanted)
        kind = f"{wanted.dtype}{' taps' if wanted.taps else ''}"
        if ANSWERS in self.fields and model.answers is not None:
            kind = f"{kind} {keys.weights_hash(model.answers)}"
        self.key = keys.model_key(model, wanted.cut, kind, wanted.device)
        self._names: dict[int, str] = {}
        self._held: dict[int, Block] = {}
        self._made_room = False

    @cached_property
    def frozen(self) -> Frozen:
        return Frozen(self.model, self.wanted, self._base[0] if self._base else 0)

    def draw(self, row: int) -> int:
        return keys.draw(self.wanted.seed, row, self.wanted.view)

    def fits(self) -> bool:
        """Whether all blocks are in the cache, or there is room for those that are not."""
        first = self._absent()
        return first is None or self.make_room(first)

    def whole(self) -> bool:
        """Whether all blocks are in the cache."""
        return self._absent() is None

    def _absent(self) -> int | None:
        return next((start for start in range(0, len(self.rows), BLOCK) if self.found(start) is None), None)

    def source(self, stored: bool) -> Source:
        """The rows, stored or computed on demand."""
        held = []
        for start in range(0, len(self.rows) if stored else 0, BLOCK):
            block = self.block(start)
            if block is None:  # another run made room for itself at that moment
                stored = False
                break
            held.append(block)
        if not stored:
            self.cache.say_full(self.hear)
        return Store(held, self.fields) if stored else self.computed()

    def computed(self) -> Computed:
        """The rows, computed each time."""
        return Computed(Frozen(self.model, self.wanted), self.rows, self.draw)

    def share(self, shard: tuple[int, int]) -> None:
        """Write the blocks that are this process's, `shard` being (rank, world)."""
        for start in range(shard[0] * BLOCK, len(self.rows), shard[1] * BLOCK):
            self.block(start)

    def block(self, start: int) -> Block | None:
        """The block that begins at a row."""
        found = self.found(start)
        if found is not None:
            return found
        if not self._made_room:
            self.make_room(start)
        count, read = self._reading(start)
        encoded = _counted(self.frozen, count, read, (start, len(self.rows)), self.hear)
        blocks.write(self.cache.path(self._names[start]), count, self.fields, encoded)
        return self.found(start)

    def _reading(self, start: int) -> tuple[int, Read]:
        if self._base is None:
            picked = self.picked(start)
            return len(picked), encoding(self.model, picked, lambda i: self.draw(start + i))
        store = self._base[1]
        return min(BLOCK, len(self.rows) - start), lambda numbers: store.rows([start + i for i in numbers])

    def found(self, start: int) -> Block | None:
        """The block that begins at a row, if it is in the cache."""
        if start not in self._held:
            if start not in self._names:
                picked = self.picked(start)
                draws = [self.draw(start + i) for i in range(len(picked))]
                self._names[start] = f"{self.key}-{keys.rows_key(picked, draws)}"
            block = self.cache.get(self._names[start])
            if block is None:
                return None
            self._held[start] = block
        return self._held[start]

    def picked(self, start: int) -> Rows:
        """Rows of a block, read when touched."""
        return self.rows.take(range(start, min(start + BLOCK, len(self.rows))))

    def make_room(self, start: int) -> bool:
        """Make room for all rows from `start` on; whether that worked."""
        self._made_room = True
        count, read = self._reading(start)
        sample = [row for _, rows in batches(self.frozen, min(8, count), read) for row in rows]
        size = sum(row[name].nbytes for row in sample for name in self.fields) / len(sample)
        return self.cache.has_room(int(size * (len(self.rows) - start) * 1.1))


def _counted(
    frozen: Frozen, count: int, read: Read, at: tuple[int, int], hear: Hear
) -> Iterator[tuple[Sequence[int], list[Tensors]]]:
    done, total = at
    for numbers, values in batches(frozen, count, read):
        yield numbers, values
        done += len(numbers)
        hear(Progress("encode", done, total))
