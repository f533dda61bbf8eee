"""Pretrained-image baseline: a probe on frozen image features, no text anywhere.

Tells how much of a CLIP selector's strength comes from good features alone. The criteria are
CLIPCleaner's own (per-class mixture on log p_y, and consistency; arXiv 2408.10012), the probe is
cross-fitted: an in-sample probe has seen the label it is asked to judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from nlbench import Knowledge, Selection, Selector, TrainingData
from nlbench.scoring import (
    consistency,
    gmm_posterior_per_class,
    knn_probabilities,
    log_probability,
    probe_probabilities,
    stratified_folds,
)


@dataclass(frozen=True)
class ImagenetBaseline(Selector):
    """Keep labels that a probe or neighbours on pretrained image features confirm.

    Attributes:
        criterion: "probe" (logistic regression) or "knn".
        folds: Folds of the cross-fitted probe; 0 fits and predicts in-sample.
        k: Neighbours of "knn", at most half the mean class size.
        theta_gmm: Least posterior of the better mixture component.
        theta_cons: Least p_y / max p.
        encoder: "image" for the protocol's, or a full name such as "timm:resnet50.a1_in1k".
    """

    version: ClassVar[int] = 1

    criterion: Literal["probe", "knn"] = "probe"
    folds: Annotated[int, Field(ge=0)] = 5
    k: Annotated[int, Field(ge=1)] = 200
    theta_gmm: Annotated[float, Field(ge=0, le=1)] = 0.5
    theta_cons: Annotated[float, Field(ge=0, le=1)] = 0.8
    encoder: str = "image"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image pre-training",)

    def select(self, data: TrainingData) -> Selection:
        """Score by log p_y; keep what both criteria accept."""
        probabilities, labels = self._probabilities(data), data.noisy_labels
        score = log_probability(probabilities, labels)
        keep = gmm_posterior_per_class(score, labels) >= self.theta_gmm
        keep &= consistency(probabilities, labels) >= self.theta_cons
        return Selection(keep=keep, score=score)

    def _probabilities(self, data: TrainingData) -> Tensor:
        embeddings = data.embeddings(self.encoder)
        if self.criterion == "knn":
            k = max(1, min(self.k, data.n_samples // (2 * data.n_classes)))
            return knn_probabilities(embeddings, data.noisy_labels, data.n_classes, k=k)
        folds = None
        if self.folds >= 2:
            folds = stratified_folds(data.noisy_labels, data.uniform("folds"), self.folds)
        return probe_probabilities(embeddings, data.noisy_labels, data.n_classes, folds=folds)
