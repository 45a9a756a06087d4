"""Threads beside the one that computes take one processor each, and leave the others' as they were."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ukulele.tools.threads import helpers, processors


@pytest.fixture
def three() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def elsewhere() -> int:
    """The threads of a thread that is begun now."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.mark.usefixtures("three")
def test_each_has_one_and_the_others_keep_theirs() -> None:
    with helpers(4) as pool:
        assert list(pool.map(lambda _: (torch.get_num_threads(), processors()), range(50))) == [(1, 3)] * 50
        assert torch.get_num_threads() == processors() == elsewhere() == 3
    assert torch.get_num_threads() == processors() == elsewhere() == 3


def nested() -> tuple[int, int, int]:
    with helpers(2) as pool:
        inside = pool.submit(processors).result()
    return inside, processors(), torch.get_num_threads()


@pytest.mark.usefixtures("three")
def test_helpers_of_helpers() -> None:
    with helpers() as pool:
        assert pool.submit(nested).result() == (3, 3, 1)
    assert torch.get_num_threads() == elsewhere() == 3


def test_what_goes_wrong_is_raised_and_nothing_is_left_changed() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), helpers() as pool:
        pool.submit(lambda: 1 / 0).result()
    assert torch.get_num_threads() == elsewhere() == before
