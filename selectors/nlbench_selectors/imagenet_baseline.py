"""Pretrained-image baseline: a probe on frozen image features, no text anywhere.

Tells how much of a CLIP selector's strength comes from good features alone. The probe is
cross-fitted: an in-sample one has seen the label it is asked to judge. The score is the probe's
logit margin of the label, log p_y - max over the other classes of log p, as AUM has it of a
network (arXiv 2001.10528, eq. 1); the cut is CLIPCleaner's consistency (arXiv 2408.10012).
CLIPCleaner's other criterion, a mixture on log p_y for each class, is off by default: on
CIFAR-10 it keeps few samples where little noise is (docs/features.md has what was measured).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Knowledge, ProbabilitySelector, Selection, TrainingData
from nlbench.scoring import (
    consistency,
    gmm_posterior_per_class,
    knn_probabilities,
    log_probability,
    margin,
    probe_probabilities,
    stratified_folds,
)


@dataclass(frozen=True)
class ImagenetBaseline(ProbabilitySelector):
    """Keep labels that a probe or neighbours on pretrained image features confirm.

    Attributes:
        criterion: "probe" (logistic regression) or "knn".
        folds: Folds of the cross-fitted probe; 0 fits and predicts in-sample.
        k: Neighbours of "knn", at most half the mean class size.
        theta_gmm: Least posterior of the better component of a mixture on log p_y for each class;
            0 fits none.
        theta_cons: Least p_y / max p.
        encoder: "image" for the protocol's, or a full name such as "timm:resnet50.a1_in1k".
    """

    version: ClassVar[int] = 2

    criterion: Literal["probe", "knn"] = "probe"
    folds: Annotated[int, Field(ge=0)] = 5
    k: Annotated[int, Field(ge=1)] = 200
    theta_gmm: Annotated[float, Field(ge=0, le=1)] = 0.0
    theta_cons: Annotated[float, Field(ge=0, le=1)] = 0.8
    encoder: str = "image"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image pre-training",)

    def decide(self, data: TrainingData, probabilities: Tensor) -> Selection:
        """Score by the margin of log p; keep what the criteria accept."""
        labels = data.noisy_labels
        keep = consistency(probabilities, labels) >= self.theta_cons
        if self.theta_gmm > 0:
            log_of_label = log_probability(probabilities, labels)
            keep &= gmm_posterior_per_class(log_of_label, labels) >= self.theta_gmm
        # Finite where p is 0, which neighbours often say.
        smallest = torch.finfo(probabilities.dtype).tiny
        score = margin(probabilities.clamp_min(smallest).log(), labels)
        return Selection(keep=keep, score=score)

    def probabilities(self, data: TrainingData) -> Tensor:
        """Return the probe's or the neighbours' (N, K)."""
        embeddings = data.embeddings(self.encoder)
        if self.criterion == "knn":
            k = max(1, min(self.k, data.n_samples // (2 * data.n_classes)))
            return knn_probabilities(embeddings, data.noisy_labels, data.n_classes, k=k)
        folds = None
        if self.folds >= 2:
            folds = stratified_folds(data.noisy_labels, data.uniform("folds"), self.folds)
        return probe_probabilities(embeddings, data.noisy_labels, data.n_classes, folds=folds)
