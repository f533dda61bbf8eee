"""JoCoR's joint loss: two networks fit the labels and each other's predictions.

Paper: Wei, Feng, Chen, An, "Combating noisy labels by agreement: A joint training method with
co-regularization", CVPR 2020, arXiv 2003.02752, equations 1 to 4:
(1 - lambda) (CE_1 + CE_2) + lambda (KL(p_1 || p_2) + KL(p_2 || p_1)) for each sample.

Both networks have the same loss. A gradient goes through either network's own row only, so that
the sum of the rows has the gradient of the joint loss, and each row can be weighed by itself.

The paper chooses lambda for each data set. The released code (hongxin001/JoCoR) has 0.1 where
nothing is set, the default here; its README names 0.9 for CIFAR-10 with 20 and 50 % symmetric and
40 % asymmetric noise, 0.65 with 80 %, 0.85 for CIFAR-100, and says that other networks need other
values. Those are for Adam, which does not notice that (1 - lambda) shrinks the gradient; the SGD of
a board does. The samples are chosen by the selector `jocor`.
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
class JoCoRLoss(LossTrainer):
    """Cross-entropy of two networks that are pulled towards each other.

    Attributes:
        agreement: lambda, the weight of the divergences; all other settings are those of
            cross-entropy.
    """

    version: ClassVar[int] = 1
    n_networks: ClassVar[int] = 2

    agreement: Annotated[float, Field(ge=0, le=1)] = 0.1

    def batch_loss(
        self, batch: TrainingBatch, outputs: Tensor, labels: Tensor, state: State
    ) -> Tensor:
        """Return (2, B): the joint loss, in the first row as a function of the first network."""
        first, second = outputs.float().log_softmax(dim=2).unbind()
        return torch.stack(
            [
                self._joint(first, second.detach(), labels),
                self._joint(second, first.detach(), labels),
            ]
        )

    def _joint(self, one: Tensor, other: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) from log-probabilities (B, K)."""
        fit = nn.functional.nll_loss(one, labels, reduction="none")
        fit = fit + nn.functional.nll_loss(other, labels, reduction="none")
        # KL(p || q) + KL(q || p) in one sum.
        apart = ((one.exp() - other.exp()) * (one - other)).sum(dim=1)
        return (1 - self.agreement) * fit + self.agreement * apart
