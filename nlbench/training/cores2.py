"""CORES2's loss: cross-entropy minus the loss on all classes, which makes predictions confident.

Paper: Cheng, Zhu, Li, Gong, Sun, Liu, "Learning with Instance-Dependent Label Noise: A Sample Sieve
Approach", ICLR 2021, arXiv 2010.02347, equations 2 and 3: CE(f(x), y) - beta x E_k CE(f(x), k), the
mean over the classes as often as they are labels. The samples are chosen by the selector `cores2`.

As in the released code (haochenglouis/cores, loss.py, phase1.py): beta is 0 in the first 10 epochs
of 100, numpy.linspace(0, 2, 30) in the next 30, then 2; -log(p + 1e-8) in the mean; the learning
rate is divided by 1 + beta. A training of fewer than 100 epochs has the schedule in proportion, a
longer one has it as it is.

Deviations: the released code takes samples that the sieve dropped in the last epoch out of the
class frequencies; here they are those of all labels that were seen so far. Learning rate, momentum
and weight decay are the board's (there: 0.1, then 0.01 from epoch 50, none and none).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nlbench.training.loss_trainer import LossTrainer, State
from nlbench.training.task import TrainingBatch

_EPOCHS_OF_THE_PAPER = 100
_UNSEEN = -1


@dataclass(frozen=True)
class Cores2Loss(LossTrainer):
    """Cross-entropy with a reward for confident predictions, whatever they say.

    Attributes:
        beta: Weight of the reward after the ramp.
        warmup_epochs: Epochs without it, of 100.
        ramp_epochs: Epochs in which it grows, of 100.
        prior: How classes count in the mean: as often as they are "labels", or "uniform". All other
            settings are those of cross-entropy.
    """

    version: ClassVar[int] = 1

    beta: Annotated[float, Field(ge=0)] = 2.0
    warmup_epochs: Annotated[int, Field(ge=0)] = 10
    ramp_epochs: Annotated[int, Field(ge=1)] = 30
    prior: Literal["labels", "uniform"] = "labels"

    def make_state(self, n: int, k: int) -> State:
        """Return the labels seen so far: none."""
        return {"labels": torch.full((n,), _UNSEEN)}

    def lr_factor(self, done: int, n_steps: int) -> float:
        """Return the board's factor, divided by 1 + beta of the epoch."""
        epoch = done * self.epochs // n_steps + 1
        return super().lr_factor(done, n_steps) / (1 + self.beta_at(epoch, self.epochs))

    def beta_at(self, epoch: int, n_epochs: int) -> float:
        """Return beta in an epoch.

        Args:
            epoch: From 1.
            n_epochs: Of the whole training.
        """
        passed = (epoch - 1) / min(1.0, n_epochs / _EPOCHS_OF_THE_PAPER)
        ramp = (passed - self.warmup_epochs) / max(self.ramp_epochs - 1, 1)
        return self.beta * min(max(ramp, 0.0), 1.0)

    def batch_loss(
        self, batch: TrainingBatch, outputs: Tensor, labels: Tensor, state: State
    ) -> Tensor:
        """Return (M, B)."""
        logits = outputs.float()
        losses = torch.stack(
            [nn.functional.cross_entropy(each, labels, reduction="none") for each in logits]
        )
        state["labels"][batch.positions] = labels
        beta = self.beta_at(batch.epoch, batch.n_epochs)
        if beta == 0:
            return losses
        of_each_class = -(logits.softmax(dim=2) + 1e-8).log()
        return losses - beta * (of_each_class * self._shares(state, logits.shape[2])).sum(dim=2)

    def _shares(self, state: State, k: int) -> Tensor:
        """Return (K,) that sums to 1."""
        seen = state["labels"]
        if self.prior == "uniform":
            return torch.full((k,), 1 / k, device=seen.device)
        counts = torch.bincount(seen[seen != _UNSEEN], minlength=k).float()
        return counts / counts.sum()
