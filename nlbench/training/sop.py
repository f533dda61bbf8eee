"""SOP: every sample has parameters of its own that can explain its label instead of the network.

Paper: Liu, Zhu, Qu, You, "Robust Training under Label Noise by Over-parameterization", ICML 2022,
arXiv 2202.14026, algorithm 1: the label is fitted by p + u*u on the labelled class and -v*v on the
others. From values near zero and with learning rates of their own, u and v grow where the network
does not explain a label, which is the noise.

As in the released code (shengliu66/SOP, model/loss.py and train.py): one u and K v for each
sample, drawn with deviation 1e-8, squares clipped to [0, 1]; cross-entropy against p + u*u - v*v,
v without a gradient, clipped at 1e-4, normalised and clipped again; plus the squared distance of
the predicted class + u*u - v*v from the label. Plain SGD at a constant rate, without momentum and
weight decay, moves u and v. Rates of 10 and 10 are those for CIFAR-10 in noisypy's
re-implementation (KlemenVovk/noisy-labels); the released code has 1 and 10 for CIFAR-100 with
symmetric noise, 0.1 and 100 with asymmetric. They belong to batches of 128: the loss is a mean.

Left out: SOP+, which adds the consistency of two augmentations and the balance of classes. The
draws of u and v are the same in every run: only their size matters. Network, steps and the
network's optimiser are the board's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from nlbench.seeds import derive_seed
from nlbench.training.loss_trainer import LossTrainer, State
from nlbench.training.task import TrainingBatch

_SMALLEST = 1e-4
_DEVIATION = 1e-8


@dataclass(frozen=True)
class Sop(LossTrainer):
    """Cross-entropy in which sparse parameters of the samples take the noise.

    Attributes:
        lr_u: Learning rate of u, constant.
        lr_v: Learning rate of v, constant; all other settings are those of cross-entropy.
    """

    version: ClassVar[int] = 1
    is_method: ClassVar[bool] = True

    lr_u: Annotated[float, Field(ge=0)] = 10.0
    lr_v: Annotated[float, Field(ge=0)] = 10.0

    def make_state(self, n: int, k: int) -> State:
        """Return u (N, 1) and v (N, K), nearly zero: at zero their squares would not grow."""
        draws = torch.Generator().manual_seed(derive_seed("sop", n, k))
        return {
            "u": torch.randn(n, 1, generator=draws) * _DEVIATION,
            "v": torch.randn(n, k, generator=draws) * _DEVIATION,
        }

    def extra_parameters(self, state: State) -> Iterable[dict[str, Any]]:
        """Return u and v with their rates."""
        return (
            {"params": [state["u"]], "lr": self.lr_u},
            {"params": [state["v"]], "lr": self.lr_v},
        )

    def batch_loss(
        self, batch: TrainingBatch, outputs: Tensor, labels: Tensor, state: State
    ) -> Tensor:
        """Return (M, B); several networks share u and v."""
        p = outputs.float().softmax(dim=2)
        label = nn.functional.one_hot(labels, p.shape[2]).to(p.dtype)
        u = (state["u"][batch.positions] ** 2 * label).clamp(0, 1)
        v = (state["v"][batch.positions] ** 2 * (1 - label)).clamp(0, 1)
        explained = (p + u - v.detach()).clamp_min(_SMALLEST)
        explained = nn.functional.normalize(explained, p=1, dim=2, eps=_SMALLEST)
        fit = -(label * explained.clamp(_SMALLEST, 1).log()).sum(dim=2)
        predicted = nn.functional.one_hot(p.argmax(dim=2), p.shape[2]).to(p.dtype)
        return fit + (predicted + u - v - label).square().sum(dim=2)
