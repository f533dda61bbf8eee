"""What a network draws while it learns, as dropout does, where several processes share a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nlbench.machine.ranks import Ranks


@contextmanager
def own_draws(ranks: Ranks) -> Iterator[None]:
    """Inside, torch's generators are this process's own; afterwards all processes have the same.

    The seed of each comes from a draw that all of them make, so that a checkpoint of one has the
    draws of all. Where nothing was drawn inside, the generators are as before, as in one process.
    """
    before = _states(ranks.device)
    seed = int(torch.randint(2**62, ()))
    after = _states(ranks.device)
    torch.default_generator.manual_seed(seed + ranks.index)
    if ranks.device.type == "cuda":
        with torch.cuda.device(ranks.device):
            torch.cuda.manual_seed(seed + ranks.index)
    seeded = _states(ranks.device)
    try:
        yield
    finally:
        drawn = any(
            not torch.equal(a, b) for a, b in zip(seeded, _states(ranks.device), strict=True)
        )
        _put_back(after if drawn else before, ranks.device)


def _states(device: torch.device) -> list[Tensor]:
    of_cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *of_cuda]


def _put_back(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
