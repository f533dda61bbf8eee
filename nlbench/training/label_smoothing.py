"""Cross-entropy against smoothed labels, for comparison: robust to some noise by itself.

Paper: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016 (arXiv 1512.00567),
section 7; against label noise: Lukasik et al., ICML 2020 (arXiv 2003.02819).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from nlbench.training.loss_trainer import LossTrainer, State
from nlbench.training.task import TrainingBatch


@dataclass(frozen=True)
class LabelSmoothing(LossTrainer):
    """Cross-entropy against labels mixed with the uniform distribution.

    Attributes:
        smoothing: Share of the uniform distribution in a target; all other settings are those of
            cross-entropy.
    """

    version: ClassVar[int] = 1

    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def batch_loss(
        self, batch: TrainingBatch, outputs: Tensor, labels: Tensor, state: State
    ) -> Tensor:
        """Return (M, B) cross-entropy in nats against smoothed labels."""
        return torch.stack(
            [
                nn.functional.cross_entropy(
                    each, labels, label_smoothing=self.smoothing, reduction="none"
                )
                for each in outputs
            ]
        )
