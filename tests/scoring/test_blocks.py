"""Rows in blocks on all cores: in order, after an error, and in a forked process."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator

import pytest
import torch

from nlbench.scoring.blocks import over_blocks, rows_from_blocks, sum_over_blocks

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_answers_come_in_order_and_whole() -> None:
    got = rows_from_blocks(lambda rows: torch.arange(rows.start, rows.stop), 1003, 10, CPU)
    assert torch.equal(got, torch.arange(1003))


def test_sum_is_that_of_all_blocks() -> None:
    x = torch.arange(1003.0)
    assert float(sum_over_blocks(lambda rows: x[rows].sum(), 1003, 10, CPU)) == float(x.sum())


def test_several_threads_work_and_none_splits_its_operations() -> None:
    together = threading.Barrier(2, timeout=20)  # passed only where two are at work at once

    def meet(rows: slice) -> int:
        together.wait()
        return torch.get_num_threads()

    assert list(over_blocks(meet, 4, 1, CPU)) == [1, 1, 1, 1]
    assert torch.get_num_threads() == 2


def test_an_error_leaves_nothing_at_work_and_the_next_call_works() -> None:
    under_way: set[int] = set()

    def failing(rows: slice) -> None:
        under_way.add(rows.start)
        try:
            if rows.start == 3:
                raise ValueError("no")
        finally:
            under_way.remove(rows.start)

    with pytest.raises(ValueError, match="no"):
        list(over_blocks(failing, 20, 1, CPU))
    assert not under_way
    assert torch.get_num_threads() == 2
    assert list(over_blocks(lambda rows: rows.start, 3, 1, CPU)) == [0, 1, 2]


def test_blocks_within_a_block_run_on_its_thread() -> None:
    def nested(rows: slice) -> list[int]:
        return list(over_blocks(lambda inner: inner.start, 3, 1, CPU))

    assert list(over_blocks(nested, 8, 1, CPU)) == [[0, 1, 2]] * 8


def _count_in_child(found: multiprocessing.SimpleQueue[list[int]]) -> None:
    torch.set_num_threads(2)
    found.put(list(over_blocks(lambda rows: rows.start, 3, 1, CPU)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    """A DataLoader of a plugin forks; without threads it would wait for ever."""
    assert list(over_blocks(lambda rows: rows.start, 3, 1, CPU)) == [0, 1, 2]
    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()
    child = context.Process(target=_count_in_child, args=(found,))
    child.start()
    child.join(timeout=60)
    alive = child.is_alive()
    child.kill()
    assert not alive
    assert found.get() == [0, 1, 2]
