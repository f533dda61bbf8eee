"""Small-loss: early in training, clean samples have the smaller losses.

Papers: the rate schedule of Co-teaching (Han et al., NeurIPS 2018, arXiv 1804.06872) and the
mixture divider of DivideMix (Li, Socher, Hoi, ICLR 2020, arXiv 2002.07394), each with a single
network: what both methods choose with, without their two-network exchange. The rate schedule needs
a noise rate; left out, the true nominal rate is asked for and the leaderboard says so, as it says
of a rate that is estimated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nlbench import (
    Dynamics,
    Knowledge,
    NoiseRate,
    OnlineSelector,
    Selection,
    TrainingData,
    knowledge_of_rate,
)
from nlbench.scoring import gmm_posterior, keep_highest


@dataclass(frozen=True)
class SmallLoss(OnlineSelector):
    """Keep the samples with small loss, again after every epoch.

    Attributes:
        divider: "gmm" (two-component mixture on the losses) or "rate" (share 1 - R(t)).
        warmup_epochs: Epochs on everything before the first choice; at most half of all epochs.
        theta: Least posterior of the small-loss component ("gmm").
        noise_rate: Rate r of the schedule ("rate"); None takes the nominal rate of the noise,
            "estimated" the one that HOC estimates from image features.
        ramp_epochs: T_k: R(t) = min(t / T_k, 1) x r ("rate").
    """

    version: ClassVar[int] = 1

    divider: Literal["gmm", "rate"] = "gmm"
    warmup_epochs: Annotated[int, Field(ge=0)] = 10
    theta: Annotated[float, Field(ge=0, le=1)] = 0.5
    noise_rate: NoiseRate = None
    ramp_epochs: Annotated[int, Field(ge=1)] = 10

    def knowledge_used(self) -> tuple[Knowledge, ...]:
        """The schedule needs the noise rate, the mixture needs nothing."""
        return knowledge_of_rate(self.noise_rate) if self.divider == "rate" else ()

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        """Score by minus the loss; keep everything during warm-up."""
        score = -dynamics.losses
        warmup = min(self.warmup_epochs, dynamics.n_epochs // 2)
        if dynamics.epoch < warmup:
            return Selection(keep=torch.ones_like(score, dtype=torch.bool), score=score)
        keep = self._by_rate(data, dynamics) if self.divider == "rate" else self._by_gmm(score)
        facts: dict[str, float] = {"warmup_epochs": warmup}
        if self.divider == "rate" and self.noise_rate == "estimated":
            facts["estimated_noise_rate"] = data.rate("estimated")
        return Selection(keep=keep, score=score, diagnostics=facts)

    def _by_gmm(self, score: Tensor) -> Tensor:
        return gmm_posterior(score, max_iter=10, tol=1e-2, reg_covar=5e-4) > self.theta

    def _by_rate(self, data: TrainingData, dynamics: Dynamics) -> Tensor:
        dropped = min(dynamics.epoch / self.ramp_epochs, 1.0) * data.rate(self.noise_rate)
        return keep_highest(-dynamics.losses, 1 - dropped)
