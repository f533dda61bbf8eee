"""UNICON's uniform selection: as many samples of every class, those closest to their label.

Paper: Karim et al., "UniCon: Combating Label Noise Through Uniform Selection and Contrastive
Learning", CVPR 2022, arXiv 2203.14542, section 3.1: the Jensen-Shannon divergence d of the mean
softmax of two networks and the one-hot label; a cut at its mean, lowered by (mean - min) / tau
where the mean is above d_u; R is the share below the cut, and the R N / K samples of lowest
divergence are kept in every class. After a warm-up of 10 epochs (CIFAR-10; CIFAR-100: 30), d_u =
0.7 and tau = 5 (the released code).

Against a one-hot label the divergence is a function of p, the label's probability, alone:
1/2 [(1 - p) + p log2(2 p / (1 + p)) + 1 - log2(1 + p)].

Only the selection: semi-supervised and contrastive learning on the rest is training, and a board
trains all selections alike. Deviations: in bits, so that d lies in [0, 1] as the paper says; the
released code has nats, where no mean exceeds 0.693 and d_u = 0.7 is never reached. Both networks
get the choice made between two epochs; the released code chooses again before it trains the second
one. A class with fewer samples than its part is kept whole and its rest is given to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Dynamics, OnlineSelector, Selection, TrainingData


@dataclass(frozen=True)
class Unicon(OnlineSelector):
    """Keep equally many of each class, those that the mean of two networks confirms most.

    Attributes:
        warmup_epochs: Epochs on everything before the first choice; at most half of all epochs.
        d_u: Mean divergence in bits above which the cut is lowered.
        tau: By one in so many parts of the way to the least divergence.
    """

    version: ClassVar[int] = 1
    deviation: ClassVar[str] = "selection only"
    n_networks: ClassVar[int] = 2

    warmup_epochs: Annotated[int, Field(ge=0)] = 10
    d_u: Annotated[float, Field(ge=0, le=1)] = 0.7
    tau: Annotated[float, Field(ge=1)] = 5.0

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        """Score by minus the divergence; keep everything during warm-up."""
        both = torch.stack([dynamics.losses, *(peer.losses for peer in dynamics.peers)])
        divergence = divergence_from_label(torch.exp(-both.double()).mean(dim=0))
        score = -divergence.float()
        if dynamics.epoch < min(self.warmup_epochs, dynamics.n_epochs // 2):
            return Selection(keep=torch.ones_like(score, dtype=torch.bool), score=score)
        mean = float(divergence.mean())
        cut = mean - (mean - float(divergence.min())) / self.tau if mean > self.d_u else mean
        # Equal divergences are not above their mean, whatever its last bits are.
        share = float((divergence <= cut + 1e-9).double().mean())
        per_class = max(1, int(share * data.n_samples / data.n_classes))
        diagnostics = {"share_below_cut": share, "n_per_class": per_class}
        return Selection(
            _lowest_of_each(divergence, data, per_class), score, diagnostics=diagnostics
        )


def divergence_from_label(p: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence in bits of probabilities and a one-hot label.

    Args:
        p: (N,) probability of the label.

    >>> divergence_from_label(torch.tensor([0.0, 1.0])).tolist()
    [1.0, 0.0]
    """
    p = p.clamp(0, 1)
    own = torch.xlogy(p, 2 * p / (1 + p)) / torch.log(torch.tensor(2.0, dtype=p.dtype))
    return 0.5 * ((1 - p) + own + 1 - torch.log2(1 + p))


def _lowest_of_each(divergence: Tensor, data: TrainingData, per_class: int) -> Tensor:
    """Mark so many samples of lowest divergence in every class, equal ones ordered by a draw."""
    keep = torch.zeros_like(data.noisy_labels, dtype=torch.bool)
    drawn = data.uniform("equal divergences").argsort()
    order = drawn[divergence[drawn].argsort(stable=True)]
    for label in range(data.n_classes):
        members = order[data.noisy_labels[order] == label]
        keep[members[:per_class]] = True
    return keep
