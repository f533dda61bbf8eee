"""Co-teaching: in every mini-batch, each of two networks learns from the other's small losses.

Paper: Han et al., "Co-teaching: Robust training of deep neural networks with extremely noisy
labels", NeurIPS 2018, arXiv 1804.06872, algorithm 1: both networks see the same batch in training
mode, each ranks its losses, and each learns from the share R(e) = 1 - min(e / T_k, 1) x r of
smallest losses of the other one; T_k = 10.

As in the released code, the first epoch that is trained forgets r / 9 already and r is reached at
epoch T_k - 1: the schedule is numpy's linspace from 0 to r over T_k epochs, the first entry
unused. Optimiser, learning rate and their schedule are the board's; the paper has Adam with
learning rate 1e-3, decayed linearly from epoch 80 of 200. The share that is kept of a batch is
rounded down, at least one sample; the released code divides the mean loss by that count once more,
which Adam does not notice and SGD would. Equal losses are ordered by the samples' keys.
`co-teaching-epoch` chooses once per epoch instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Batch, BatchSelector, Knowledge, NoiseRate, TrainingData, knowledge_of_rate


@dataclass(frozen=True)
class CoTeaching(BatchSelector):
    """Give each network the other's smallest losses of the batch.

    Attributes:
        noise_rate: r of the schedule; None takes the nominal rate of the noise, "estimated" the
            one that HOC estimates from image features.
        ramp_epochs: T_k.
    """

    version: ClassVar[int] = 2  # 1 chose once per epoch, now co-teaching-epoch

    noise_rate: NoiseRate = None
    ramp_epochs: Annotated[int, Field(ge=1)] = 10

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("noise rate",)
    n_networks: ClassVar[int] = 2

    def knowledge_used(self) -> tuple[Knowledge, ...]:
        """The schedule needs the noise rate or what it is estimated from."""
        return knowledge_of_rate(self.noise_rate)

    def choose(self, data: TrainingData, batch: Batch, losses: Tensor, logits: Tensor) -> Tensor:
        """Weigh the other network's small losses 1, the rest 0."""
        forgotten = batch.ramped(data.rate(self.noise_rate), self.ramp_epochs)
        n_keep = max(1, int((1 - forgotten) * losses.shape[1]))
        by_key = data.sample_ids[batch.positions].argsort()  # equal losses must not go by position
        smallest = by_key[losses[:, by_key].argsort(dim=1, stable=True)[:, :n_keep]]
        small = torch.zeros_like(losses).scatter(1, smallest, 1.0)
        return small.flip(0)
