"""TURN's cleansing: a linear head with a robust loss on frozen features, classes cut to one size.

Paper: Ahn, Kim, Ko, Yun, "Fine-tuning Pre-trained Models for Robustness under Noisy Labels", IJCAI
2024, arXiv 2310.17668. First step: only the linear head is trained, with the generalised
cross-entropy (q = 0.7); then a two-component mixture on the losses of each class, the low component
is kept, and every class is cut to the smallest number that a class kept.

Deviations:
1. the second step, full fine-tuning on what was kept, is training and not part;
2. the head is solved over all samples from zero weights, with L2, instead of some epochs of
   mini-batches: no draw, and the same answer in any order;
3. a class that kept none does not set the size.
The posterior cut is 0.5 (the paper's text that we could read says no more than "low component"),
and `probe_c` = 10 is ours: the loss is bounded, and with 1 the penalty outweighs it on close
features. The paper gives a decision and no ranking; `score` is minus the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Knowledge, Selection, Selector, TrainingData
from nlbench.scoring import gce_probe_probabilities, gmm_posterior_per_class
from nlbench.scoring.scores import of_label


@dataclass(frozen=True)
class Turn(Selector):
    """Keep the samples of small robust loss, as many of every class.

    Attributes:
        q: Of the loss (1 - p_y^q) / q; towards 0 it is the cross-entropy.
        probe_c: Inverse L2 strength of the head.
        theta: Least posterior of the low-loss component, per class.
        balance: Cut every class to the smallest number that a class kept.
        encoder: "image" for the protocol's, or a full name.
    """

    version: ClassVar[int] = 1

    q: Annotated[float, Field(gt=0, le=1)] = 0.7
    probe_c: Annotated[float, Field(gt=0)] = 10.0
    theta: Annotated[float, Field(ge=0, le=1)] = 0.5
    balance: bool = True
    encoder: str = "image"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image pre-training",)
    deviation: ClassVar[str] = "the cleansing step alone, no full fine-tuning"

    def select(self, data: TrainingData) -> Selection:
        """Score by minus the loss of the head; keep the low component, balanced."""
        labels = data.noisy_labels
        probabilities = gce_probe_probabilities(
            data.embeddings(self.encoder), labels, data.n_classes, self.q, self.probe_c
        )
        score = (of_label(probabilities, labels).double().pow(self.q) - 1) / self.q
        keep = gmm_posterior_per_class(score, labels) > self.theta
        kept = torch.bincount(labels[keep], minlength=data.n_classes)
        if self.balance and bool(keep.any()):
            keep = _highest_of_each_class(score, keep, data, int(kept[kept > 0].min()))
        return Selection(keep=keep, score=score, diagnostics={"kept_by_mixture": kept.tolist()})


def _highest_of_each_class(score: Tensor, keep: Tensor, data: TrainingData, n: int) -> Tensor:
    """Mark the n highest scores of each class among those kept; ties by a draw of the sample's."""
    labels = data.noisy_labels
    order = torch.argsort(data.uniform("ties"), stable=True)
    for key in (-score, labels):
        order = order[torch.argsort(key[order], stable=True)]
    order = order[keep[order]]
    sizes = torch.bincount(labels[order], minlength=data.n_classes)
    first = torch.repeat_interleave(torch.cumsum(sizes, 0) - sizes, sizes)
    rank = torch.arange(len(order), device=order.device) - first
    out = torch.zeros_like(keep)
    out[order[rank < n]] = True
    return out
