"""In which order samples are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.checkpoints import Resumable
from nlbench.selector import Selection


class BatchOrder(Resumable):
    """Endless positions of kept samples: every pass is a fresh permutation, weights aside.

    The number of steps never depends on how many samples are kept.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def epoch(self, selection: Selection, n_draws: int) -> Tensor:
        """Return (n_draws,) positions of kept samples."""
        kept = selection.keep.nonzero().flatten().cpu()
        if selection.weights is not None:
            weights = selection.weights.cpu()[kept].double()
            drawn = torch.multinomial(weights, n_draws, replacement=True, generator=self._generator)
            return kept[drawn]
        return self.passes(kept, n_draws)

    def passes(self, positions: Tensor, n_draws: int) -> Tensor:
        """Return (n_draws,) of these positions, permutation after permutation."""
        passes = -(-n_draws // len(positions))
        orders = [torch.randperm(len(positions), generator=self._generator) for _ in range(passes)]
        return positions[torch.cat(orders)[:n_draws]]
