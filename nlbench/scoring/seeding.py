"""Seeded draws where a library takes no generator, such as the first weights of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Seed torch's global random state from a generator, and put it back at the end.

    For what only draws globally: the first weights of `torch.nn` layers, dropout. A selector that
    seeded or moved the global state would change the weights and batches of the run's training.

    Args:
        generator: Such as `data.generator("weights")`; one number is drawn from it.

    >>> def weights() -> list[float]:
    ...     with seeded(torch.Generator().manual_seed(0)):
    ...         return torch.nn.Linear(2, 1).weight.flatten().tolist()
    >>> weights() == weights()
    True
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
