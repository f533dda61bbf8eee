"""DivideMix's divider: two networks, each trained on what the other's losses call clean.

Paper: Li, Socher, Hoi, "DivideMix: Learning with Noisy Labels as Semi-supervised Learning", ICLR
2020, arXiv 2002.07394, section 3.1 (co-divide): a two-component mixture on the min-max normalised
losses of one network divides the samples for the other, posterior of the small-loss component
> 0.5, after a warm-up on everything (10 epochs on CIFAR-10, 30 on CIFAR-100).

Only the division: what DivideMix does with the rest (MixMatch on both networks) is training, and
a board trains all selections alike. Deviations: no confidence penalty in the warm-up; both
divisions are made at the end of an epoch, where the released code divides for the second network
after the first has been trained for one more. Results are of the first network, as for selectors
that have one; the mean of both is the curve `ensemble_test_accuracy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from nlbench import Dynamics, OnlineSelector, Selection, TrainingData
from nlbench.scoring import gmm_posterior

_MOST_EPOCHS = 5


@dataclass(frozen=True)
class DivideMix(OnlineSelector):
    """Keep what the mixture on the other network's losses calls clean.

    Attributes:
        warmup_epochs: Epochs on everything before the first division; at most half of all epochs.
        theta: Least posterior of the small-loss component.
        average_epochs: Losses are averaged over so many latest epochs; the paper takes 5 at 90 %
            symmetric noise, else 1.
    """

    version: ClassVar[int] = 1

    warmup_epochs: Annotated[int, Field(ge=0)] = 10
    theta: Annotated[float, Field(ge=0, le=1)] = 0.5
    average_epochs: Annotated[int, Field(ge=1, le=_MOST_EPOCHS)] = 1

    history_epochs: ClassVar[int] = _MOST_EPOCHS
    n_networks: ClassVar[int] = 2

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        """Score by minus the other network's loss; keep everything during warm-up."""
        losses = dynamics.peers[0].loss_history[-self.average_epochs :].mean(dim=0)
        score = -losses
        warmup = min(self.warmup_epochs, dynamics.n_epochs // 2)
        if dynamics.epoch < warmup:
            return Selection(keep=torch.ones_like(score, dtype=torch.bool), score=score)
        posterior = gmm_posterior(score, max_iter=10, tol=1e-2, reg_covar=5e-4)
        return Selection(
            keep=posterior > self.theta, score=score, diagnostics={"warmup_epochs": warmup}
        )
