"""Threads that work beside the one that computes, without slowing it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

_own = threading.local()


def processors() -> int:
    """How many threads the work at hand may take: also within `helpers`, those of the thread that it was begun in."""
    found: int = getattr(_own, "processors", 0) or torch.get_num_threads()
    return found


@contextmanager
def helpers(workers: int = 1) -> Iterator[ThreadPoolExecutor]:
    """Threads whose tensor operations take one thread each.

    Each thread that runs one in several starts a team of its own, and where OpenMP (libgomp) counts more threads than
    processors its teams sleep between operations instead of waiting: each one, small or large, then takes tens of
    microseconds more (of a step of training on two processors a fifth to a third).
    """
    count, mine, all_there = torch.get_num_threads(), processors(), threading.Barrier(workers)

    def alone(_: int) -> None:
        all_there.wait(60)  # each of them takes one of these; not for ever, where a thread cannot be begun
        _own.processors = mine
        torch.get_num_threads()  # what a thread has by default is set when it first asks, whatever was set before
        torch.set_num_threads(1)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(alone, range(workers)))
        torch.set_num_threads(count)  # else threads that are begun elsewhere would have one, too
        try:
            yield pool
        finally:
            torch.set_num_threads(count)  # work begun within may have begun threads of its own
