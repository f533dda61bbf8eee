"""CLIP+kNN: keeps a label that the nearest neighbours in CLIP's image space confirm.

Paper: the neighbour vote of SSR (Feng, Tzimiropoulos, Patras, BMVC 2022, arXiv 2111.11288) on
frozen CLIP features instead of features in training; class-balanced histogram of the k = 200
nearest, keep where the label's share is `consistency_cut` of the largest (SSR's theta_s = 1).
Deviation: k is capped at half the mean class size, since 200 neighbours in a class of 130
samples are no neighbourhood; the k in use is in the diagnostics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from nlbench import Knowledge, Selection, Selector, TrainingData
from nlbench.scoring import consistency, knn_probabilities
from nlbench.scoring.scores import of_label


@dataclass(frozen=True)
class ClipKnn(Selector):
    """Keep labels that their neighbourhood in CLIP's image space confirms.

    Attributes:
        k: Neighbours, at most half the mean class size.
        consistency_cut: Keep where p_y / max p is at least this, in (0, 1].
        encoder: "image-text" for the protocol's, or a full name.
    """

    version: ClassVar[int] = 1

    k: Annotated[int, Field(ge=1)] = 200
    consistency_cut: Annotated[float, Field(gt=0, le=1)] = 1.0
    encoder: str = "image-text"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image-text pre-training",)

    def select(self, data: TrainingData) -> Selection:
        """Score by the label's share among the neighbours, keep by consistency."""
        k = max(1, min(self.k, data.n_samples // (2 * data.n_classes)))
        probabilities = knn_probabilities(
            data.embeddings(self.encoder), data.noisy_labels, data.n_classes, k=k
        )
        return Selection(
            keep=consistency(probabilities, data.noisy_labels) >= self.consistency_cut,
            score=of_label(probabilities, data.noisy_labels),
            diagnostics={"k": k},
        )
