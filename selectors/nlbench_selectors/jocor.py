"""JoCoR: two networks learn from the same samples, those with a small joint loss.

Paper: Wei, Feng, Chen, An, "Combating noisy labels by agreement: A joint training method with
co-regularization", CVPR 2020, arXiv 2003.02752, algorithm 1: in every batch the share 1 - R(e) of
smallest joint losses (equation 4, the trainer `jocor`) is kept for both networks alike, with
R(e) = min(e / T_k, 1) x r and T_k = 10.

R(e) is that of `co-teaching`: as in the released code (hongxin001/JoCoR), the first epoch that is
trained forgets r / 9 and r is reached at epoch 9. The share that is kept is rounded down, at least
one sample. With another trainer the joint loss is the sum of the two networks' losses.

Deviations: the released code halves r under asymmetric noise, where half of the classes stay as
they are; here r is the nominal rate unless `noise_rate` says otherwise. Optimiser and learning rate
are the board's; the paper has Adam with 1e-3, decayed linearly from epoch 80 of 200.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Batch, BatchSelector, Knowledge, NoiseRate, TrainingData, knowledge_of_rate


@dataclass(frozen=True)
class JoCoR(BatchSelector):
    """Keep the smallest joint losses of the batch for both networks.

    Attributes:
        noise_rate: r of the schedule; None takes the nominal rate of the noise, "estimated" the
            one that HOC estimates from image features.
        ramp_epochs: T_k.
    """

    version: ClassVar[int] = 1

    noise_rate: NoiseRate = None
    ramp_epochs: Annotated[int, Field(ge=1)] = 10

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("noise rate",)
    n_networks: ClassVar[int] = 2
    trainer: ClassVar[str] = "jocor"

    def knowledge_used(self) -> tuple[Knowledge, ...]:
        """The schedule needs the noise rate or what it is estimated from."""
        return knowledge_of_rate(self.noise_rate)

    def choose(self, data: TrainingData, batch: Batch, losses: Tensor, logits: Tensor) -> Tensor:
        """Weigh the smallest joint losses 1 for both networks, the rest 0."""
        forgotten = batch.ramped(data.rate(self.noise_rate), self.ramp_epochs)
        n_keep = max(1, int((1 - forgotten) * losses.shape[1]))
        joint = losses.sum(dim=0)
        by_key = data.sample_ids[batch.positions].argsort()  # equal losses must not go by position
        smallest = by_key[joint[by_key].argsort(stable=True)[:n_keep]]
        small = torch.zeros_like(joint)
        small[smallest] = 1.0
        return small.expand_as(losses)
