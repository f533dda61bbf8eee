"""Neural Relation Graph: keeps a label that the samples related to it speak for.

Paper: Kim, Yun, Song, "Neural Relation Graph: A Unified Framework for Identifying Label Noise and
Outlier Data", NeurIPS 2023, arXiv 2301.12321, section 3. Two samples relate by
max(0, cos of features) x <p_i, p_j>, positive where their labels agree and negative where not; a
label's reliability is the sum of its relations. One refinement: samples whose reliability, as a
share of the largest absolute one, is below -0.05 form the noisy set, and twice their relations are
taken off all sums. That turns their votes round, and where most samples are in the noisy set, as
with over half of the labels wrong, the ranking with them.

Defaults are the released code's (argument.py, relation.py): power 4, relations up to 0.03 dropped,
noisy below -0.05. As there, a sample is related to itself. `probe_c` = 10 is ours: a network's
probabilities are sharp, and of a flat probe's all relations are under 0.03, every score then 0.

Deviations:
1. features of a frozen encoder and probabilities of a cross-fitted probe, where the paper takes
   both from one network trained on the noisy labels;
2. the paper ranks; `keep` is where the relations speak for the label on balance, a sum of at least
   0 (its -0.05 finds a sure noisy set, and would keep many wrong labels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from nlbench import Knowledge, Selection, Selector, TrainingData
from nlbench.scoring import probe_probabilities, relation_reliability, stratified_folds


@dataclass(frozen=True)
class NeuralRelationGraph(Selector):
    """Keep a label for which the sum of the sample's signed relations speaks.

    Attributes:
        power: Relations are raised to it; larger ones lean on the nearest samples.
        smallest: Relations up to this are dropped.
        noisy_below: Minus the share of the largest absolute reliability below which a sample is
            noisy.
        rounds: Refinements; 0 ranks by the plain sums.
        folds: Folds of the cross-fitted probe.
        probe_c: Inverse L2 strength of the probe.
        encoder: "image" for the protocol's, or a full name.
    """

    version: ClassVar[int] = 1

    power: Annotated[int, Field(ge=1)] = 4
    smallest: Annotated[float, Field(ge=0, lt=1)] = 0.03
    noisy_below: Annotated[float, Field(ge=0, lt=1)] = 0.05
    rounds: Annotated[int, Field(ge=0)] = 1
    folds: Annotated[int, Field(ge=2)] = 5
    probe_c: Annotated[float, Field(gt=0)] = 10.0
    encoder: str = "image"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image pre-training",)
    deviation: ClassVar[str] = "frozen features and a cross-fitted probe, no trained network"

    def select(self, data: TrainingData) -> Selection:
        """Sum the relations, then turn round those to the noisy set."""
        embeddings, labels = data.embeddings(self.encoder), data.noisy_labels
        folds = stratified_folds(labels, data.uniform("folds"), self.folds)
        probabilities = probe_probabilities(
            embeddings, labels, data.n_classes, c=self.probe_c, folds=folds
        )
        graph = (embeddings, probabilities, labels, self.power, self.smallest)
        first = score = relation_reliability(*graph)
        sizes = []
        for _ in range(self.rounds):
            noisy = self._noisy(score)
            sizes.append(int(noisy.sum()))
            score = first - 2 * relation_reliability(*graph, among=noisy)
        return Selection(
            keep=score >= 0,
            score=score,
            diagnostics={"noisy_set_sizes": sizes, "with_relations": int((first != 0).sum())},
        )

    def _noisy(self, reliability: Tensor) -> Tensor:
        largest = reliability.abs().max().clamp_min(1e-12)
        return reliability / largest < -self.noisy_below
