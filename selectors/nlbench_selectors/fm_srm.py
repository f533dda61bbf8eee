"""FM-SRM's selection: prototypes of frozen features first, neighbours where they cannot tell.

Paper: FM-SRM (2026), its sample selection as its released code computes it. A class's prototype is
the normalised mean of the unit features that carry its label; a sample's margin is its cosine to
the own prototype minus the largest to another. A two-component mixture on the margins: posterior of
the upper component >= 0.8 is clean, of the lower >= 0.8 is noisy, the rest is ambiguous. Ambiguous
samples are judged by the share of their label among 20 cosine neighbours: a mixture of their own,
kept where the posterior of its lower component is < 0.5; with fewer than max(50, 2 x 20) of them,
kept where the share is at least their median.

Deviations:
1. mixtures start from the exact 2-means split, where the released code takes the best of ten random
   starts (n_init=10): no start is drawn, so no number of starts is needed;
2. posteriors saturate at 0 and 1 on most samples; those of equal score are ranked by their margin;
3. selection only: what the method does with the three groups in training is not part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Knowledge, Selection, Selector, TrainingData
from nlbench.scoring import gmm_posterior, knn_probabilities
from nlbench.scoring.scores import of_label

_FEWEST_FOR_MIXTURE = 50
_TIE = 1e-6


@dataclass(frozen=True)
class FmSrm(Selector):
    """Keep what prototypes call clean, and ambiguous samples that their neighbours confirm.

    Attributes:
        sure: Least posterior of a component for a sample not to be ambiguous.
        k: Neighbours that judge an ambiguous sample, at most N - 1.
        encoder: "image" for the protocol's, or a full name.
    """

    version: ClassVar[int] = 1

    sure: Annotated[float, Field(gt=0.5, le=1)] = 0.8
    k: Annotated[int, Field(ge=1)] = 20
    encoder: str = "image"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image pre-training",)
    deviation: ClassVar[str] = "selection only; mixtures start from the exact 2-means split"

    def select(self, data: TrainingData) -> Selection:
        """Score by clean minus noisy posterior; keep the clean and the hard but clean."""
        embeddings, labels = data.embeddings(self.encoder), data.noisy_labels
        margin = prototype_margin(embeddings, labels, data.n_classes).double()
        clean = gmm_posterior(margin)
        is_clean, is_noisy = clean >= self.sure, 1 - clean >= self.sure
        ambiguous = ~is_clean & ~is_noisy
        hard = torch.zeros_like(is_clean)
        if bool(ambiguous.any()):
            votes = knn_probabilities(embeddings, labels, data.n_classes, self.k, balance=False)
            hard[ambiguous] = self._hard_but_clean(of_label(votes, labels)[ambiguous])
        return Selection(
            keep=is_clean | hard,
            score=2 * clean - 1 + _TIE * margin,
            diagnostics={
                "clean": int(is_clean.sum()),
                "hard_clean": int(hard.sum()),
                "ambiguous": int(ambiguous.sum()),
            },
        )

    def _hard_but_clean(self, share: Tensor) -> Tensor:
        if len(share) < max(_FEWEST_FOR_MIXTURE, 2 * self.k):
            return share >= share.median()
        return 1 - gmm_posterior(share) < 0.5


def prototype_margin(embeddings: Tensor, noisy_labels: Tensor, n_classes: int) -> Tensor:
    """Return (N,) cosine to the own class's prototype minus the largest to another class's."""
    sums = torch.zeros(n_classes, embeddings.shape[1], device=embeddings.device)
    sums.index_add_(0, noisy_labels, embeddings)
    prototypes = torch.nn.functional.normalize(sums, dim=1)
    cosines = embeddings @ prototypes.T
    own = of_label(cosines, noisy_labels)
    absent = torch.bincount(noisy_labels, minlength=n_classes) == 0
    others = cosines.masked_fill(absent, -1).scatter(1, noisy_labels[:, None], -1)
    return own - others.amax(dim=1)
