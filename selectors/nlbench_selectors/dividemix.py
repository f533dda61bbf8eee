"""DivideMix's divider: two networks, each trained on what the other's losses call clean.

Paper: Li, Socher, Hoi, "DivideMix: Learning with Noisy Labels as Semi-supervised Learning", ICLR
2020, arXiv 2002.07394, section 3.1 (co-divide): a two-component mixture on the min-max normalised
losses of one network divides the samples for the other, posterior of the small-loss component
> 0.5, after a warm-up on everything (10 epochs on CIFAR-10, 30 on CIFAR-100).

Only the division: what DivideMix does with the rest (MixMatch on both networks) is training, and
a board trains all selections alike. As in the released code, both divisions are made between two
epochs, before either network is trained on; losses are normalised epoch by epoch, then averaged,
and the average starts after the warm-up. Deviations: no confidence penalty in the warm-up under
asymmetric noise; the released code averages (over 5 epochs) at 90 % noise only, here it is a
setting. Results are of the first network, as for selectors that have one; the mean of both is the
curve `ensemble_test_accuracy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from nlbench import Dynamics, OnlineSelector, Selection, TrainingData
from nlbench.scoring import gmm_posterior, min_max_normalise

_MOST_EPOCHS = 5


@dataclass(frozen=True)
class DivideMix(OnlineSelector):
    """Keep what the mixture on the other network's losses calls clean.

    Attributes:
        warmup_epochs: Epochs on everything before the first division; at most half of all epochs.
        theta: Least posterior of the small-loss component.
        average_epochs: Normalised losses are averaged over so many latest epochs, none of them from
            the warm-up; the paper takes 5 at 90 % symmetric noise, else 1.
    """

    version: ClassVar[int] = 2

    warmup_epochs: Annotated[int, Field(ge=0)] = 10
    theta: Annotated[float, Field(ge=0, le=1)] = 0.5
    average_epochs: Annotated[int, Field(ge=1, le=_MOST_EPOCHS)] = 1

    history_epochs: ClassVar[int] = _MOST_EPOCHS
    n_networks: ClassVar[int] = 2

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        """Score by minus the other network's normalised loss; keep everything during warm-up."""
        warmup = min(self.warmup_epochs, dynamics.n_epochs // 2)
        # The last epoch of the warm-up is followed by the first division.
        since_warmup = dynamics.epoch - max(warmup, 1) + 1
        n_averaged = min(self.average_epochs, max(since_warmup, 1))
        latest = dynamics.peers[0].loss_history[-n_averaged:]
        score = -torch.stack([min_max_normalise(losses) for losses in latest]).mean(dim=0)
        if dynamics.epoch < warmup:
            return Selection(keep=torch.ones_like(score, dtype=torch.bool), score=score)
        posterior = gmm_posterior(score, max_iter=10, tol=1e-2, reg_covar=5e-4, normalise=False)
        return Selection(
            keep=posterior > self.theta, score=score, diagnostics={"warmup_epochs": warmup}
        )
