"""Batches in which every class is drawn equally often, as CLIPCleaner trains on its selection."""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.selector import Selection
from nlbench.training.order import BatchOrder


class ClassBalancedOrder(BatchOrder):
    """Every pass is a permutation in which each class is repeated up to the largest.

    Where the largest class is not a multiple of another, every pass draws anew which samples of
    the other one are repeated once more. Classes without a kept sample are left out. Weights count
    within a class.
    """

    def __init__(self, generator: torch.Generator, noisy_labels: Tensor) -> None:
        super().__init__(generator)
        self._noisy_labels = noisy_labels

    def epoch(self, selection: Selection, n_draws: int) -> Tensor:
        """Return (n_draws,) positions of kept samples."""
        kept = selection.keep.nonzero().flatten().cpu()
        labels = self._noisy_labels if selection.labels is None else selection.labels
        labels = labels.cpu()[kept]
        if selection.weights is not None:
            share = _shares_within(labels, selection.weights.cpu()[kept].double())
            drawn = torch.multinomial(share, n_draws, replacement=True, generator=self._generator)
            return kept[drawn]
        members = [kept[labels == label] for label in labels.unique()]
        largest = max(len(m) for m in members)
        passes = -(-n_draws // (largest * len(members)))
        return torch.cat([self._pass(members, largest) for _ in range(passes)])[:n_draws]

    def _pass(self, members: list[Tensor], largest: int) -> Tensor:
        drawn = torch.cat([self._repeated(m, largest) for m in members])
        return drawn[torch.randperm(len(drawn), generator=self._generator)]

    def _repeated(self, samples: Tensor, n: int) -> Tensor:
        rounds, rest = divmod(n, len(samples))
        extra = torch.randperm(len(samples), generator=self._generator)[:rest]
        return torch.cat([samples.repeat(rounds), samples[extra]])


def _shares_within(labels: Tensor, weights: Tensor) -> Tensor:
    """Return weights that sum to 1 in every class; a class of zero weight stays at zero."""
    totals = torch.zeros(int(labels.max()) + 1, dtype=weights.dtype)
    totals = totals.index_add(0, labels, weights)
    return weights / totals[labels].clamp_min(torch.finfo(weights.dtype).tiny)
