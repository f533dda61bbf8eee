"""Rows in blocks of fixed size, on all cores: the same bits whatever the number of threads.

A matrix product on several threads adds in another order than on one. Here every block is worked on
by one thread and the blocks' answers come back in order, so that threads decide only how long it
takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def over_blocks(
    function: Callable[[slice], T], n_rows: int, block: int, device: torch.device
) -> Iterator[T]:
    """Give function(rows) for one block of rows after another, in order.

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
        with ThreadPoolExecutor(
            n_threads, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            yield from _in_order(pool, function, parts, ahead=2 * n_threads)
    finally:
        torch.set_num_threads(n_threads)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[slice], T], parts: list[slice], ahead: int
) -> Iterator[T]:
    """Give the answers in order; at most `ahead` wait in memory."""
    waiting: list[Future[T]] = []
    for part in parts:
        waiting.append(pool.submit(function, part))
        if len(waiting) >= ahead:
            yield waiting.pop(0).result()
    for answer in waiting:
        yield answer.result()


def rows_from_blocks(
    function: Callable[[slice], Tensor], n_rows: int, block: int, device: torch.device
) -> Tensor:
    """Give the blocks' answers as one tensor, written in place as they come."""
    out: Tensor | None = None
    start = 0
    for part in over_blocks(function, n_rows, block, device):
        if out is None:
            out = torch.empty((n_rows, *part.shape[1:]), dtype=part.dtype, device=device)
        out[start : start + len(part)] = part
        start += len(part)
    if out is None:
        raise ValueError("there are no rows")
    return out
