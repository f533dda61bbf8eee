"""ELR: early-learning regularisation keeps a network at what it said before it memorised.

Paper: Liu, Niles-Weed, Razavian, Fernandez-Granda, "Early-Learning Regularization Prevents
Memorization of Noisy Labels", NeurIPS 2020, arXiv 2007.00151, equations 6 and 9: the loss is
cross-entropy + lambda x log(1 - <p_i, t_i>), where the target t_i of a sample is the running
average of its predictions, t_i <- beta t_i + (1 - beta) p_i.

As in the released code, p is clipped to [1e-4, 1 - 1e-4], in the target renormalised and without a
gradient, and the target is updated before it is used. Defaults are the paper's for CIFAR-10
(beta 0.7, lambda 3; CIFAR-100 has 0.9 and 7). Steps, network and optimiser are the board's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from nlbench.training.loss_trainer import LossTrainer, State
from nlbench.training.task import TrainingBatch

_SMALLEST = 1e-4


@dataclass(frozen=True)
class Elr(LossTrainer):
    """Cross-entropy with a pull towards each sample's own earlier predictions.

    Attributes:
        beta: How much of a sample's target stays in each step.
        strength: lambda; all other settings are those of cross-entropy.
    """

    version: ClassVar[int] = 1
    is_method: ClassVar[bool] = True

    beta: Annotated[float, Field(ge=0, lt=1)] = 0.7
    strength: Annotated[float, Field(ge=0)] = 3.0

    def make_state(self, n: int, k: int) -> State:
        """Return targets of zeros: nothing has been predicted yet."""
        return {"target": torch.zeros(n, k)}

    def batch_loss(
        self, batch: TrainingBatch, outputs: Tensor, labels: Tensor, state: State
    ) -> Tensor:
        """Return (M, B); with several networks the target is the mean of their predictions."""
        p = outputs.float().softmax(dim=2).clamp(_SMALLEST, 1 - _SMALLEST)
        seen = p.detach()
        seen = (seen / seen.sum(dim=2, keepdim=True)).mean(dim=0)
        target = self.beta * state["target"][batch.positions] + (1 - self.beta) * seen
        state["target"][batch.positions] = target
        pull = (1 - (target * p).sum(dim=2)).log()
        losses = [nn.functional.cross_entropy(each, labels, reduction="none") for each in outputs]
        return torch.stack(losses) + self.strength * pull
