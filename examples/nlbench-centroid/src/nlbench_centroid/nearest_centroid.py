"""Nearest centroid: keeps a label whose class centre is the nearest one.

Classification by the nearest class mean: Mensink, Verbeek, Perronnin and Csurka, TPAMI 2013
("Distance-Based Image Classification: Generalizing to New Classes at Near-Zero Cost"), here on
frozen features by cosine similarity, without their learned metric. Ours: the means are made again
from the samples that were kept, so that wrong labels pull less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Knowledge, Selection, Selector, TrainingData


@dataclass(frozen=True)
class NearestCentroid(Selector):
    """Keep a label where no other class has a centre nearer to the sample.

    Attributes:
        n_rounds: How often the centres are made; all but the first time from what was kept.
        encoder: "image" for the protocol's, or a full name.
    """

    n_rounds: Annotated[int, Field(ge=1)] = 3
    encoder: str = "image"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image pre-training",)

    def select(self, data: TrainingData) -> Selection:
        """Score by how much nearer the own centre is than the nearest other."""
        features, labels = data.embeddings(self.encoder), data.noisy_labels
        keep = torch.ones_like(labels, dtype=torch.bool)
        for _ in range(self.n_rounds):
            similarity = features @ _centres(features[keep], labels[keep], data.n_classes).T
            own = similarity.gather(1, labels[:, None])[:, 0]
            others = similarity.scatter(1, labels[:, None], -1.0)
            score = own - others.max(dim=1).values
            keep = score >= 0
            if not bool(keep.any()):  # nothing is near its own: trust the best one
                keep = score == score.max()
        return Selection(keep=keep, score=score, diagnostics={"n_kept": int(keep.sum())})


def _centres(features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Return (K, d) mean directions; an absent class has none, and is near to nothing."""
    members = torch.nn.functional.one_hot(labels, n_classes).to(features)
    return torch.nn.functional.normalize(members.T @ features, dim=1)
