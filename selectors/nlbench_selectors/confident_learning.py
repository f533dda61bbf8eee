"""Confident learning: counts which labels a cross-fitted probe is confident are another class.

Paper: Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
JAIR 70, 2021, arXiv 1911.00068: the confident joint (equations 1 and 2), pruning by noise rate
(section 3.2, method 4), score p_y (self-confidence). Defaults are those of cleanlab 2.9: 5 folds,
`prune_by_noise_rate`, one sample left in every class. The tests hold the decision equal to
cleanlab's on the same probabilities.

Deviations: probabilities are those of a logistic probe on frozen image features instead of a
network that is trained once per fold; samples with equal probabilities are pruned by a draw that
stays with the sample instead of by position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Knowledge, ProbabilitySelector, Selection, TrainingData
from nlbench.scoring import (
    confident_joint,
    find_label_issues,
    noise_rate_of_joint,
    of_label,
    probe_probabilities,
    stratified_folds,
)


@dataclass(frozen=True)
class ConfidentLearning(ProbabilitySelector):
    """Drop the labels that confident learning calls issues.

    Attributes:
        filter_by: "prune_by_noise_rate", "prune_by_class", "both" or "confident_learning", as in
            `nlbench.scoring.find_label_issues`.
        folds: Folds of the cross-fitted probe.
        probe_c: Inverse L2 strength of the probe.
        encoder: "image" for the protocol's, or a full name such as "timm:resnet50.a1_in1k".
    """

    version: ClassVar[int] = 1
    deviation: ClassVar[str] = "a probe on frozen features, not a network trained per fold"

    filter_by: Literal["prune_by_noise_rate", "prune_by_class", "both", "confident_learning"] = (
        "prune_by_noise_rate"
    )
    folds: Annotated[int, Field(ge=2)] = 5
    probe_c: Annotated[float, Field(gt=0)] = 1.0
    encoder: str = "image"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image pre-training",)

    def decide(self, data: TrainingData, probabilities: Tensor) -> Selection:
        """Score by the out-of-fold probability of the label."""
        labels = data.noisy_labels
        order = torch.argsort(data.uniform("ties"))
        issues = torch.empty_like(labels, dtype=torch.bool)
        issues[order] = find_label_issues(probabilities[order], labels[order], self.filter_by)
        rate = noise_rate_of_joint(confident_joint(probabilities, labels))
        return Selection(
            keep=~issues,
            score=of_label(probabilities, labels),
            diagnostics={"estimated_noise_rate": rate},
        )

    def probabilities(self, data: TrainingData) -> Tensor:
        """Return the cross-fitted probe's (N, K)."""
        folds = stratified_folds(data.noisy_labels, data.uniform("folds"), self.folds)
        return probe_probabilities(
            data.embeddings(self.encoder),
            data.noisy_labels,
            data.n_classes,
            c=self.probe_c,
            folds=folds,
        )
