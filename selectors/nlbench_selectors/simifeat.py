"""SimiFeat: labels that the nearest neighbours in a frozen feature space do not share are dropped.

Paper: Zhu, Dong, Liu, "Detecting Corrupted Labels Without Training a Model to Predict", ICML 2022,
arXiv 2110.06283, algorithm 1: the soft label of a sample is the sum of its k = 10 nearest
neighbours' labels, itself among them, weighted by cosine similarity. "vote" (SimiFeat-V) drops
where its largest class is another than the label; "rank" (SimiFeat-R) scores by -log of the soft
label's entry at the label, and drops of each class j the share 1 - P(true = j | label = j) with the
largest scores, by the transition matrix and the prior that HOC estimates (Zhu, Song, Liu, ICML
2021, arXiv 2102.05291). k, the sample's own weight 2 s1 - s2 from its two nearest similarities, the
soft label's L2 norm, and shares of 5 % to 95 % are the released code's.

Deviations: one pass over all samples, where the paper votes over 21 epochs of randomly augmented
images: on frozen features each would be the same; no random number is added to the shares; they are
kept within 5 % and 95 %, where the released code takes these for shares of 0 and 1 alone. Ties are
dropped by a draw that stays with the sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Knowledge, Selection, Selector, TrainingData
from nlbench.scoring import hoc_transition_matrix, log_probability, nearest_neighbours

_LEAST_SHARE, _LARGEST_SHARE = 0.05, 0.95


@dataclass(frozen=True)
class SimiFeat(Selector):
    """Keep labels that similar images share.

    Attributes:
        method: "rank" (drop each class's estimated share of wrong labels) or "vote" (drop where
            the neighbours' winner is another class).
        k: Neighbours, the sample itself among them.
        encoder: "image" for the protocol's, or a full name such as "timm:resnet50.a1_in1k".
    """

    version: ClassVar[int] = 1
    deviation: ClassVar[str] = "one pass over frozen features, not 21 over augmented images"

    method: Literal["rank", "vote"] = "rank"
    k: Annotated[int, Field(ge=3)] = 10
    encoder: str = "image"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image pre-training",)

    def select(self, data: TrainingData) -> Selection:
        """Score by the log of the soft label at the label."""
        embeddings, labels = data.embeddings(self.encoder), data.noisy_labels
        soft = _soft_labels(embeddings, labels, data.n_classes, self.k)
        score = log_probability(soft.clamp_min(0), labels)
        if self.method == "vote":
            return Selection(keep=soft.argmax(dim=1) == labels, score=score)
        transition, prior = hoc_transition_matrix(embeddings, labels, data.n_classes)
        counts = torch.bincount(labels, minlength=data.n_classes)
        right = prior * transition.diagonal() * len(labels) / counts.clamp_min(1)
        dropped = (1 - right).clamp(_LEAST_SHARE, _LARGEST_SHARE)
        keep = _without_lowest(score, labels, dropped, data.uniform("ties"))
        return Selection(keep=keep, score=score)


def _soft_labels(embeddings: Tensor, noisy_labels: Tensor, n_classes: int, k: int) -> Tensor:
    """Return the similarity-weighted votes of the k nearest, oneself among them, (N, K) unit-norm.

    One's own weight goes on from the two nearest: it would else be 1 and outvote the rest.
    """
    positions, similarities = nearest_neighbours(embeddings, k - 1)
    own = 2 * similarities[:, :1] - similarities[:, 1:2]
    votes = torch.cat([noisy_labels[:, None], noisy_labels[positions]], dim=1)
    soft = torch.zeros(len(embeddings), n_classes, device=embeddings.device)
    soft.scatter_add_(1, votes, torch.cat([own, similarities], dim=1))
    return torch.nn.functional.normalize(soft, dim=1)


def _without_lowest(score: Tensor, labels: Tensor, dropped: Tensor, ties: Tensor) -> Tensor:
    """Mark all but the share `dropped` (K,) of each class that scores lowest."""
    keep = torch.ones_like(labels, dtype=torch.bool)
    order = torch.argsort(ties)
    order = order[torch.argsort(score[order], stable=True)]
    for label in labels.unique():
        lowest_first = order[labels[order] == label]
        keep[lowest_first[: round(float(dropped[label]) * len(lowest_first))]] = False
    return keep
