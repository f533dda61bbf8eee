"""Mixup: train on weighted means of two images and their labels.

Paper: Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018 (arXiv 1710.09412). lambda = max(lambda, 1 -
lambda) as in MixMatch (arXiv 1905.02249, equation 11); Beta(b, b) is symmetric, so this decides
only which image of a pair is called the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from scipy.special import betaincinv
from torch import Tensor, nn

from nlbench.training.sgd import SgdTrainer


def draw_mix(n: int, beta: float, generator: torch.Generator) -> tuple[float, Tensor]:
    """Draw one lambda in [0.5, 1] for a batch, and a partner for every image.

    Args:
        n: Images in the batch.
        beta: Both parameters of the Beta distribution, > 0.
        generator: On the CPU.

    Returns:
        max(lambda, 1 - lambda) with lambda ~ Beta(beta, beta), and a permutation (n,).
    """
    # By inversion: torch's own Beta draws from the global generator.
    uniform = float(torch.rand((), generator=generator, dtype=torch.float64))
    share = float(betaincinv(beta, beta, uniform))
    return max(share, 1 - share), torch.randperm(n, generator=generator)


def mix(batch: Tensor, partners: Tensor, share: float) -> Tensor:
    """Return share * batch + (1 - share) * batch[partners].

    Args:
        batch: (B, ...) float.
        partners: (B,) positions.
        share: lambda in [0, 1].

    >>> mix(torch.tensor([0.0, 8.0]), torch.tensor([1, 0]), share=0.75)
    tensor([2., 6.])
    """
    return torch.lerp(batch[partners], batch, share)


def mixup_loss(
    network: nn.Module, batch: Tensor, labels: Tensor, beta: float, draws: torch.Generator
) -> Tensor:
    """Return the cross-entropy of mixed images against mixed labels, in nats."""
    share, partners = draw_mix(len(batch), beta, draws)
    partners = partners.to(batch.device, non_blocking=True)
    logits = network(mix(batch, partners, share))
    own = nn.functional.cross_entropy(logits, labels)
    other = nn.functional.cross_entropy(logits, labels[partners])
    return share * own + (1 - share) * other


@dataclass(frozen=True)
class Mixup(SgdTrainer):
    """Cross-entropy on mixed pairs of the selection.

    Attributes:
        beta: Both parameters of lambda's Beta distribution; all other settings are those of
            cross-entropy.
    """

    version: ClassVar[int] = 1

    beta: Annotated[float, Field(gt=0)] = 1.0

    def loss(
        self, network: nn.Module, batch: Tensor, labels: Tensor, draws: torch.Generator
    ) -> Tensor:
        """Return the mean cross-entropy of mixed pairs in nats."""
        return mixup_loss(network, batch, labels, self.beta, draws)
