"""Generalised cross-entropy: between cross-entropy and the mean absolute error.

Paper: Zhang, Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
Labels", NeurIPS 2018, arXiv 1805.07836, equation 6: (1 - p_y^q) / q. It tends to -log p_y for q
to 0, and is 1 - p_y for q = 1, which no mislabelled sample can pull far; q = 0.7 is the paper's.

Left out: the truncated loss (equation 9), which also prunes samples with p_y <= 0.5 every 10
epochs. Steps, network and optimiser are the board's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from nlbench.training.loss_trainer import LossTrainer, State
from nlbench.training.task import TrainingBatch


@dataclass(frozen=True)
class Gce(LossTrainer):
    """A loss that grows less than cross-entropy where the network is sure of another class.

    Attributes:
        q: 1 for the mean absolute error; all other settings are those of cross-entropy.
    """

    version: ClassVar[int] = 1
    is_method: ClassVar[bool] = True

    q: Annotated[float, Field(gt=0, le=1)] = 0.7

    def batch_loss(
        self, batch: TrainingBatch, outputs: Tensor, labels: Tensor, state: State
    ) -> Tensor:
        """Return (M, B) in [0, 1 / q]."""
        log_p = outputs.float().log_softmax(dim=2)
        own = log_p.gather(2, labels.expand(log_p.shape[:2])[..., None]).squeeze(2)
        return (1 - (self.q * own).exp()) / self.q
