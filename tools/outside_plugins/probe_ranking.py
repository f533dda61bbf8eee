"""Rankings of labels by confident-learning's cross-fitted probe: cleanlab's, and p_y / max p.

cleanlab's are those of `cleanlab.rank.get_label_quality_scores`; for outside_truth.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from cleanlab.rank import get_label_quality_scores

from nlbench import Knowledge, Selection, Selector, TrainingData
from nlbench.scoring import consistency
from nlbench_selectors.confident_learning import ConfidentLearning


@dataclass(frozen=True)
class ProbeRanking(Selector):
    """Keep everything, ranked.

    Attributes:
        by: cleanlab's word, or "ratio" for p_y / max p.
    """

    by: Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy", "ratio"] = (
        "self_confidence"
    )

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image pre-training",)

    def select(self, data: TrainingData) -> Selection:
        """Score the labels by the same probabilities as confident-learning and its kin."""
        labels, probabilities = data.noisy_labels, ConfidentLearning().probabilities(data)
        if self.by == "ratio":
            score = consistency(probabilities, labels)
        else:
            score = torch.from_numpy(
                get_label_quality_scores(
                    labels.cpu().numpy(), probabilities.cpu().numpy(), method=self.by
                )
            ).to(data.device)
        return Selection(keep=torch.ones_like(labels, dtype=torch.bool), score=score)
