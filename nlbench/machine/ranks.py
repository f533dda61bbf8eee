"""The processes of one run, one for each device: all do the same, and share out what is costly.

Every process, called a rank as in torch.distributed, draws the same batches from the same seeds and
keeps the same state of every sample. What is shared out comes back to all of them in order, so that
nothing above it knows of more than one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")

_active: Ranks | None = None


class Ranks:
    """This process among those of its run.

    Args:
        fabric: A launched `lightning_fabric.Fabric`.

    Attributes:
        index: Of this process, from 0, which is the one that writes and speaks.
        n: Number of processes.
        device: Of this process.
        has_shared: Whether a network was shared out in this run.
    """

    def __init__(self, fabric: Any) -> None:
        self.fabric = fabric
        self.index: int = fabric.global_rank
        self.n: int = fabric.world_size
        self.device: torch.device = fabric.device
        self.has_shared = False

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.index == 0

    def share(self, n_rows: int, index: int | None = None) -> slice:
        """Return the rows of one process, this one where left out: contiguous, equal up to one."""
        i = self.index if index is None else index
        return slice(i * n_rows // self.n, (i + 1) * n_rows // self.n)

    def whole(self, rows: Tensor, n_rows: int) -> Tensor:
        """Return all rows in order, from the share of each process; same bits in all of them.

        Args:
            rows: (r, ...) this process's, r as `share` says.
            n_rows: Of all processes, at least one of each.
        """
        sizes = [len(range(n_rows)[self.share(n_rows, i)]) for i in range(self.n)]
        # All to one size, since backends gather tensors of one shape.
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = self.each(padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def each(self, values: Tensor) -> list[Tensor]:
        """Return every process's tensor, all of one shape."""
        parts = [torch.empty_like(values) for _ in range(self.n)]
        dist.all_gather(parts, values.contiguous())
        return parts

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of every process's tensor; it is made in place."""
        dist.all_reduce(values)
        return values

    def from_first(self, value: Value) -> Value:
        """Return the first process's value; what the others give is not looked at.

        It travels as a pickle, between processes of one run that started each other.
        """
        answer: Value = self.fabric.broadcast(value, src=0)
        return answer

    def to_first(self, value: Value) -> list[Value] | None:
        """Return every process's value in the first one, None in the others."""
        values: list[Any] | None = [None] * self.n if self.is_first else None
        dist.gather_object(value, values)
        return values


def active() -> Ranks | None:
    """Return the processes of the run under way; None where it has this one alone."""
    return _active


@contextmanager
def acting_as(ranks: Ranks | None) -> Iterator[None]:
    """Inside, runs are those of these processes together."""
    global _active
    before, _active = _active, ranks
    if ranks is not None:
        ranks.has_shared = False
    try:
        yield
    finally:
        _active = before
