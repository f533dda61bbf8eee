"""Co-teaching+: the two networks exchange small losses only where their predictions differ.

Paper: Yu, Han, Yao, Niu, Tsang, Sugiyama, "How does Disagreement Help Generalization against Label
Corruption?", ICML 2019, arXiv 1901.04215, algorithm 1: as in Co-teaching, but after a warm-up the
samples of a batch on which both networks predict the same class are left out before losses are
ranked. So the networks stay different, where Co-teaching's become alike.

As in the released code (xingruiyu/coteaching_plus): plain Co-teaching in the epochs before
`warmup_epochs` (20 of 200 on CIFAR-10, 5 on CIFAR-100, none on MNIST); of n disagreeing samples
int((1 - R(e)) n) are kept, all n where that is none; where no prediction differs, both networks
learn from the whole batch as long as epoch x (step - 1) < 5000, and after that from none of it.
R(e) is that of `co-teaching`, with T_k = 10.

Deviations: the released code gives the softmax of the softmax to the loss after the warm-up, and
divides the mean loss by the number of kept samples once more; here both phases have the board's
plain cross-entropy. The warm-up is at most half of all epochs. Optimiser and learning rate are the
board's; the paper has Adam. What the record has as kept is what was learned from in the last epoch,
which is little, since the networks agree on most samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Batch, BatchSelector, Knowledge, NoiseRate, TrainingData, knowledge_of_rate

_LEARN_FROM_AGREEMENT_BELOW = 5000


@dataclass(frozen=True)
class CoTeachingPlus(BatchSelector):
    """Give each network the other's smallest losses among samples on which they disagree.

    Attributes:
        noise_rate: r of the schedule; None takes the nominal rate of the noise, "estimated" the
            one that HOC estimates from image features.
        ramp_epochs: T_k.
        warmup_epochs: The first epoch that looks for disagreement; at most half of all epochs.
    """

    version: ClassVar[int] = 1

    noise_rate: NoiseRate = None
    ramp_epochs: Annotated[int, Field(ge=1)] = 10
    warmup_epochs: Annotated[int, Field(ge=0)] = 20

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("noise rate",)
    n_networks: ClassVar[int] = 2
    conformance_exempt: ClassVar[Mapping[str, str]] = {
        "check_planted_noise_is_found": "it learns from disagreement, clean or not",
        "check_keeps_clean_samples": "networks agree on clean samples, which are then left out",
    }

    def knowledge_used(self) -> tuple[Knowledge, ...]:
        """The schedule needs the noise rate or what it is estimated from."""
        return knowledge_of_rate(self.noise_rate)

    def choose(self, data: TrainingData, batch: Batch, losses: Tensor, logits: Tensor) -> Tensor:
        """Weigh the other network's small losses under disagreement 1, the rest 0."""
        first, second = logits.argmax(dim=2)
        differs = first != second
        if batch.epoch < min(self.warmup_epochs, batch.n_epochs // 2):
            differs = torch.ones_like(differs)
        n_differ = int(differs.sum())
        if n_differ == 0:
            early = batch.epoch * (batch.step - 1) < _LEARN_FROM_AGREEMENT_BELOW
            return torch.full_like(losses, float(early))
        forgotten = batch.ramped(data.rate(self.noise_rate), self.ramp_epochs)
        n_keep = int((1 - forgotten) * n_differ) or n_differ
        ranked = losses.masked_fill(~differs, torch.inf)
        by_key = data.sample_ids[batch.positions].argsort()  # equal losses must not go by position
        smallest = by_key[ranked[:, by_key].argsort(dim=1, stable=True)[:, :n_keep]]
        small = torch.zeros_like(losses).scatter(1, smallest, 1.0)
        return (small * differs).flip(0)
