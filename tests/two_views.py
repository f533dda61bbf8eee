"""Two augmented views, guessed labels for dropped samples, and how often each sample was seen.

For tests: three forward passes of a network before each backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

import nlbench


@dataclass(frozen=True)
class TwoViews(nlbench.LossTrainer):
    """Cross-entropy of two views, and of dropped samples against the network's own guess."""

    n_views: ClassVar[int] = 2
    uses_unlabelled: ClassVar[bool] = True

    def make_state(self, n, k):
        return {"seen": torch.zeros(n)}

    def batch_loss(self, batch, outputs, labels, state):
        state["seen"].index_add_(0, batch.positions, torch.ones(len(labels)))
        losses = sum(
            torch.stack([nn.functional.cross_entropy(o, labels, reduction="none") for o in view])
            for view in outputs
        )
        losses = losses / len(outputs)
        rest = batch.unlabelled
        if rest is None:
            return losses
        (network,) = batch.networks
        with torch.no_grad():
            guessed = network(rest.images[0]).softmax(dim=1)
        other = nn.functional.cross_entropy(network(rest.images[1]), guessed)
        return losses + 0.1 * other
