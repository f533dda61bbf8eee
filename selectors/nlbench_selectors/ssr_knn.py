"""SSR's rule on frozen image features: relabel by a confident probe, keep by the neighbours' vote.

Paper: Feng, Tzimiropoulos, Patras, "SSR: An Efficient and Robust Framework for Learning with
Unknown Label Noise", BMVC 2022, arXiv 2111.11288, sections 3.2 and 3.3: samples of which the
classifier is confident above theta_r take the class that it predicts; then the label histogram of
the k nearest neighbours by cosine is divided by the class prior, and a label is kept where its
share is theta_s of the largest. k = 200 and theta_s = 1 are the paper's. It sets theta_r = 0.9 or
0.8 on CIFAR and 0.95 on Animal-10N; here relabelling is off by default, since a regularised probe's
largest probability is rarely above those (`relabelled` in the diagnostics counts).

Deviations: frozen features and a cross-fitted probe instead of a network in training, once instead
of after every epoch; k is capped at half the mean class size, since 200 neighbours in a class of
130 samples are not a neighbourhood. `score` is the share of the noisy label, not of the new one: it
tells whether the noisy label is right.

`clip-knn` is the same vote on CLIP's features, without relabelling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Knowledge, Selection, Selector, TrainingData
from nlbench.scoring import (
    consistency,
    knn_probabilities,
    of_label,
    probe_probabilities,
    stratified_folds,
)


@dataclass(frozen=True)
class SsrKnn(Selector):
    """Keep labels, corrected ones among them, that their neighbourhood confirms.

    Attributes:
        k: Neighbours, at most half the mean class size.
        theta_s: Keep where p_y / max p is at least this, in (0, 1].
        theta_r: Relabel where the probe's largest probability is above this; None relabels nothing.
        folds: Folds of the cross-fitted probe.
        probe_c: Inverse L2 strength of the probe.
        encoder: "image" for the protocol's, or a full name such as "timm:resnet50.a1_in1k".
    """

    version: ClassVar[int] = 1
    deviation: ClassVar[str] = "once on frozen features, not after every epoch of training"

    k: Annotated[int, Field(ge=1)] = 200
    theta_s: Annotated[float, Field(gt=0, le=1)] = 1.0
    theta_r: Annotated[float, Field(ge=0, lt=1)] | None = None
    folds: Annotated[int, Field(ge=2)] = 5
    probe_c: Annotated[float, Field(gt=0)] = 1.0
    encoder: str = "image"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image pre-training",)

    def select(self, data: TrainingData) -> Selection:
        """Relabel, then keep by consistency."""
        k = max(1, min(self.k, data.n_samples // (2 * data.n_classes)))
        embeddings = data.embeddings(self.encoder)
        labels = data.noisy_labels
        if self.theta_r is not None:
            labels = self._relabelled(data, embeddings, self.theta_r)
        votes = knn_probabilities(embeddings, labels, data.n_classes, k=k)
        return Selection(
            keep=consistency(votes, labels) >= self.theta_s,
            score=of_label(votes, data.noisy_labels),
            labels=None if self.theta_r is None else labels,
            diagnostics={"k": k, "relabelled": int((labels != data.noisy_labels).sum())},
        )

    def _relabelled(self, data: TrainingData, embeddings: Tensor, theta_r: float) -> Tensor:
        folds = stratified_folds(data.noisy_labels, data.uniform("folds"), self.folds)
        probabilities = probe_probabilities(
            embeddings, data.noisy_labels, data.n_classes, c=self.probe_c, folds=folds
        )
        confidence, predicted = probabilities.max(dim=1)
        return torch.where(confidence > theta_r, predicted, data.noisy_labels)
