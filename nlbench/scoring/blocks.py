"""Rows in blocks of fixed size, on all cores: the same bits whatever the number of threads.

A matrix product on several threads adds in another order than on one. Here every block is worked on
by one thread and the blocks' answers come back in order, so that threads decide only how long it
takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def over_blocks(
    function: Callable[[slice], T], n_rows: int, block: int, device: torch.device
) -> Iterator[T]:
    """Return function(rows) for one block of rows after another, in order.

    Args:
        function: Works on a slice of rows; on the CPU it runs on one thread.
        n_rows: Rows in all.
        block: Rows in a block; part of the answer's bits, so never chosen by the number of cores.
        device: Where the tensors are; a GPU needs no threads.
    """
    parts = [slice(s, min(s + block, n_rows)) for s in range(0, n_rows, block)]
    n_threads = torch.get_num_threads() if device.type == "cpu" else 1
    if n_threads == 1:
        yield from map(function, parts)
        return
    try:
        # torch keeps the number of threads of an operation by thread, MKL for the process.
        torch.set_num_threads(1)
        if len(parts) == 1:
            yield function(parts[0])
            return
        yield from _in_order(_pool(n_threads), function, parts, ahead=2 * n_threads)
    finally:
        torch.set_num_threads(n_threads)


@lru_cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    """Return the threads, the same ones every time: what new ones allocate is not used again."""
    return ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,))


# A forked process has the pool, but not its threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[slice], T], parts: list[slice], ahead: int
) -> Iterator[T]:
    """Return the answers in order; at most `ahead` wait in memory."""
    waiting: list[Future[T]] = []
    try:
        for part in parts:
            waiting.append(pool.submit(function, part))
            if len(waiting) >= ahead:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        for answer in waiting:
            answer.cancel()
        wait(waiting)


def rows_from_blocks(
    function: Callable[[slice], Tensor],
    n_rows: int,
    block: int,
    device: torch.device,
    out: Tensor | None = None,
) -> Tensor:
    """Return the blocks' answers as one tensor, a new one or `out`, written as they come."""
    start = 0
    for part in over_blocks(function, n_rows, block, device):
        if out is None:
            out = torch.empty((n_rows, *part.shape[1:]), dtype=part.dtype, device=device)
        out[start : start + len(part)] = part
        start += len(part)
    if out is None:
        raise ValueError("there are no rows")
    return out


def sum_over_blocks(
    function: Callable[[slice], Tensor], n_rows: int, block: int, device: torch.device
) -> Tensor:
    """Return the sum of the blocks' answers in float64."""
    parts = over_blocks(lambda rows: function(rows).double(), n_rows, block, device)
    total = next(parts)
    for part in parts:
        total += part
    return total
