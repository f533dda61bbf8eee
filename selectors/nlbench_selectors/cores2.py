"""CORES2: a sieve keeps samples whose own loss is below the mean of their losses on all classes.

Paper: Cheng, Zhu, Li, Gong, Sun, Liu, "Learning with Instance-Dependent Label Noise: A Sample Sieve
Approach", ICLR 2021, arXiv 2010.02347, equations 4 and 5: a sample is kept while
l(f(x), y) <= mean over k of l(f(x), k). The threshold is the sample's own, so no noise rate is
needed. The loss that makes this work is the trainer `cores2`.

As in the released code (haochenglouis/cores, phase1.py): losses are of the batch in training mode,
-log(p + 1e-8) on the other side, the mean is over all classes alike, and the sieve starts after the
epochs 0 to 30 of 100. A training of fewer than 100 epochs has them in proportion, a longer one as
they are. A batch of which nothing passes teaches nothing.

Deviation: only the sieve (phase 1 of the released code); what phase 2 does, consistency training on
the samples that it dropped, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Batch, BatchSelector, TrainingData

_EPOCHS_OF_THE_PAPER = 100


@dataclass(frozen=True)
class Cores2(BatchSelector):
    """Keep the samples whose label costs less than classes do on average.

    Attributes:
        warmup_epochs: Epochs on everything before the sieve, of 100.
    """

    version: ClassVar[int] = 1
    deviation: ClassVar[str] = "phase 1 only: no consistency training on the dropped samples"

    warmup_epochs: Annotated[int, Field(ge=0)] = 31

    trainer: ClassVar[str] = "cores2"
    conformance_exempt: ClassVar[Mapping[str, str]] = {
        "check_planted_noise_is_found": "a sieve ranks little: most samples pass always or never",
    }

    def choose(self, data: TrainingData, batch: Batch, losses: Tensor, logits: Tensor) -> Tensor:
        """Weigh what passes the sieve of a network 1 for this network, the rest 0."""
        pace = min(1.0, batch.n_epochs / _EPOCHS_OF_THE_PAPER)
        if batch.epoch - 1 < self.warmup_epochs * pace:
            return torch.ones_like(losses)
        labels = data.noisy_labels[batch.positions].expand(losses.shape)
        own = -logits.log_softmax(dim=2).gather(2, labels[..., None]).squeeze(2)
        mean = -(logits.softmax(dim=2) + 1e-8).log().mean(dim=2)
        return (own <= mean).to(losses.dtype)
