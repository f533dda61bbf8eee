"""Co-teaching once per epoch over all samples: each network keeps the other's small losses.

Paper: Han et al., "Co-teaching: Robust training of deep neural networks with extremely noisy
labels", NeurIPS 2018, arXiv 1804.06872, algorithm 1: the share 1 - R(t) of smallest losses, with
R(t) = min(t / T_k, 1) x r after t epochs and T_k = 10.

This is not the paper's method, which `co-teaching` is: here a network's samples are chosen once per
epoch among all training samples, by the other's losses in evaluation mode without augmentation. So
the choice is one set that can be measured, and any trainer can use it. Which of the two is better
depends on the training: with the board's, on digits, they are alike (docs/validation.md).
Results are of the first network, as for selectors
that have one; the mean of both is the curve `ensemble_test_accuracy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from nlbench import (
    Dynamics,
    Knowledge,
    NoiseRate,
    OnlineSelector,
    Selection,
    TrainingData,
    knowledge_of_rate,
)
from nlbench.scoring import keep_highest


@dataclass(frozen=True)
class CoTeachingEpoch(OnlineSelector):
    """Keep the samples with small loss in the other network.

    Attributes:
        noise_rate: r of the schedule; None takes the nominal rate of the noise, "estimated" the
            one that HOC estimates from image features.
        ramp_epochs: T_k.
    """

    version: ClassVar[int] = 1
    deviation: ClassVar[str] = "once per epoch over all samples, not per mini-batch"

    noise_rate: NoiseRate = None
    ramp_epochs: Annotated[int, Field(ge=1)] = 10

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("noise rate",)
    n_networks: ClassVar[int] = 2

    def knowledge_used(self) -> tuple[Knowledge, ...]:
        """The schedule needs the noise rate or what it is estimated from."""
        return knowledge_of_rate(self.noise_rate)

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        """Score by minus the other network's loss."""
        rate = data.rate(self.noise_rate)
        dropped = min(dynamics.epoch / self.ramp_epochs, 1.0) * rate
        score = -dynamics.peers[0].losses
        return Selection(
            keep=keep_highest(score, 1 - dropped),
            score=score,
            diagnostics={"dropped_fraction": dropped},
        )
