"""The folder of cached blocks: its place, its budget, what it holds, and how it is cleared."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ukulele.errors import StorageError
from ukulele.events import Hear, Said
from ukulele.features.blocks import Block, DamagedBlockError
from ukulele.tools.files import disk_error

DEFAULT_BUDGET = 20 * 2**30
UNFINISHED = ".*.part"  # files of `replace_atomic` under way
ABANDONED = 12 * 3600  # seconds untouched, after which they are those of a run that was killed
FILLED = 0.9  # of what is free on the disk is used at most
SUFFIX = ".block"
PARTS = ("features", "tables", "pictures")  # what is kept: values at a cut, tables as read, verdicts on pictures


@dataclass
class Cache:
    """Blocks by key, least recently used ones making room for new ones within a budget of bytes."""

    folder: Path
    budget: int = DEFAULT_BUDGET
    damaged: list[str] = field(default_factory=list)  # keys of blocks that were found damaged and thrown away
    _used: set[Path] = field(default_factory=set)
    _said: bool = False

    @property
    def blocks(self) -> Path:
        """Where the blocks lie."""
        return self.folder / "features"

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.blocks / key[:2] / f"{key}{SUFFIX}"

    def get(self, key: str) -> Block | None:
        """The block, or None where there is none; a damaged one is removed and noted.

        Raises
        ------
        StorageError
            If it is there and cannot be read.
        """
        path = self.path(key)
        try:
            block = Block(path)
        except FileNotFoundError:
            return None
        except (DamagedBlockError, ValueError, KeyError):
            self.damaged.append(key)
            with contextlib.suppress(OSError):  # a read-only cache serves, but for this block
                path.unlink(missing_ok=True)
            return None
        except OSError as error:
            raise StorageError(
                f"cannot read {path}: {error.strerror or error}.",
                hint="Choose another place for the cache with --cache, or empty it: uke cache --clear",
            ) from error
        with contextlib.suppress(OSError):  # a read-only cache still serves; only the order of eviction is lost
            os.utime(path)
        self._used.add(path)
        return block

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes fit the budget and the disk, making room where that helps.

        Raises
        ------
        StorageError
            If the folder cannot be written to.
        """
        try:
            self.blocks.mkdir(parents=True, exist_ok=True)
            self._sweep()
            return self._make_room(size)
        except OSError as error:
            raise disk_error(self.blocks, error, "--cache") from error

    def _make_room(self, size: int) -> bool:
        held = self.entries()
        idle = [(path, bytes_) for path, bytes_, _ in held if path not in self._used]
        partly = sum(bytes_ for _, bytes_, _ in _facts(self.blocks.glob(f"*/{UNFINISHED}")))
        excess = sum(bytes_ for _, bytes_, _ in held) + partly + size - self.budget
        lack = max(excess, size / FILLED - shutil.disk_usage(self.blocks).free)
        if lack > sum(bytes_ for _, bytes_ in idle):
            return False
        for path, bytes_ in idle:
            if lack <= 0:
                break
            path.unlink(missing_ok=True)
            lack -= bytes_
        return size <= shutil.disk_usage(self.blocks).free * FILLED  # what another run has open is not free yet

    def say_full(self, hear: Hear) -> None:
        """Tell, once, that features are computed anew each time; a budget of nothing asked for that."""
        if self.budget and not self._said:
            text = f"features are not stored but computed each time, which is slower: there is no room in {self.blocks}"
            hear(Said(f"{text} (--cache-budget, or a full disk; uke cache --clear empties it)", "warning"))
        self._said = True

    def _sweep(self) -> None:
        """Remove what runs that were killed left unfinished; what is young may still be written to."""
        for part in PARTS:
            for path, _, touched in _facts((self.folder / part).rglob(UNFINISHED)):
                if time.time() - touched > ABANDONED:
                    with contextlib.suppress(OSError):  # another user's
                        path.unlink(missing_ok=True)

    def entries(self) -> list[tuple[Path, int, float]]:
        """(file, bytes, time of last use), oldest first."""
        return sorted(_facts(self.blocks.glob(f"*/*{SUFFIX}")), key=lambda entry: entry[2])

    def parts(self) -> dict[str, tuple[int, int]]:
        """(files, bytes) by part of the folder."""
        return {part: _held(self.folder / part) for part in PARTS}

    def clear(self) -> int:
        """Remove everything; the bytes that were freed. What a running process has open stays valid for it."""
        before = self.parts()
        for part in PARTS:
            shutil.rmtree(self.folder / part, ignore_errors=True)
        return sum(size for _, size in before.values()) - sum(size for _, size in self.parts().values())


def _facts(paths: Iterable[Path]) -> Iterator[tuple[Path, int, float]]:
    """(file, bytes, time of last use) of the files among some paths."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # another run made room meanwhile
            if path.is_file():
                facts = path.stat()
                yield path, facts.st_size, facts.st_mtime


def _held(folder: Path) -> tuple[int, int]:
    sizes = [size for _, size, _ in _facts(folder.rglob("*"))]
    return len(sizes), sum(sizes)
