"""FINE: clean samples of a class point along the first singular vector of its features.

Paper: Kim, Ko, Choi, Cho, Yun, "FINE Samples for Learning with Noisy Labels", NeurIPS 2021,
arXiv 2102.11628, algorithm 1: for each noisy class the first right singular vector u of its feature
matrix (uncentred), alignment <u, x>^2 of each sample, a two-component Gaussian mixture on the
alignments of the class, and what belongs to the upper component with a posterior above zeta = 0.5
is kept. The mixture's 100 steps and tolerance of 1e-6 are the released code's.

Deviations: features are frozen, so one pass is all, where the paper does it again every few epochs;
alignments are squared as in the paper, where the released code takes absolute values; they are
scaled to [0, 1] within the class before the mixture, whose start is the best split in two instead
of a random one. The paper does not compare samples of different classes; `score`, the scaled
alignment, does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Knowledge, Selection, Selector, TrainingData
from nlbench.scoring import gmm_posterior_per_class, min_max_normalise_per_class


@dataclass(frozen=True)
class Fine(Selector):
    """Keep samples that point along the main direction of their class.

    Attributes:
        zeta: Least posterior of the well-aligned component, exclusive.
        encoder: "image" for the protocol's, or a full name such as "timm:resnet50.a1_in1k".
    """

    version: ClassVar[int] = 1
    deviation: ClassVar[str] = "once on frozen features, not every few epochs of training"

    zeta: Annotated[float, Field(ge=0, lt=1)] = 0.5
    encoder: str = "image"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image pre-training",)

    def select(self, data: TrainingData) -> Selection:
        """Score by the squared cosine to the class's vector, scaled within the class."""
        labels = data.noisy_labels
        aligned = _alignment(data.embeddings(self.encoder), labels)
        posterior = gmm_posterior_per_class(aligned, labels, max_iter=100, tol=1e-6)
        return Selection(
            keep=posterior > self.zeta, score=min_max_normalise_per_class(aligned, labels)
        )


def _alignment(embeddings: Tensor, noisy_labels: Tensor) -> Tensor:
    """Return each sample's squared cosine to the first singular vector of its class, (N,)."""
    out = torch.empty(len(embeddings), device=embeddings.device)
    for label in noisy_labels.unique():
        members = noisy_labels == label
        x = embeddings[members].double()
        # Of x = U S V', the first column of V is the last eigenvector of x'x, d x d.
        main = torch.linalg.eigh(x.T @ x).eigenvectors[:, -1]
        out[members] = (x @ main).square().to(out)
    return out
