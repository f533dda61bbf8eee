"""AUM: wrong labels are learned against the pull of their look-alikes, so their margins stay low.

Paper: Pleiss, Zhang, Elenberg, Weinberger, "Identifying Mislabeled Data using the Area Under the
Margin Ranking", NeurIPS 2020, arXiv 2001.10528, equations 1 and 2: the margin of the assigned
label over the largest other logit, in training mode, averaged over the epochs up to the first drop
of the learning rate. Section 4: N / (K + 1) samples are given a class K of their own, which is
wrong for all of them; a sample is dropped whose AUM is below the 99th percentile of theirs. A
second training with other such samples judges the first ones too, a third one is on what is left.

As in the released code, the percentile is an order statistic and a sample that both trainings
judge is dropped only where both would. So the score is the larger of its two leads over the
threshold, kept from 0 on. A sample that was never drawn leads by 0: nothing speaks against it.
Where no sample leads, as with random labels, nothing is told apart and all stay (`n_above` is 0).

How many epochs count: the paper's protocol for small images trains 300 epochs and first drops the
learning rate at 150, and its trainings for AUM end there. A board's cosine has no drop; half of
the epochs is the same share, and there the rate is still half of the highest. So a selection round
ends after half of the epochs (500 at most), and all of them count.

Deviations: the board's network, optimiser and schedule, not a ResNet-32 at a constant rate of 0.1
with batches of 64; of a sample drawn twice in an epoch the last margin counts; the measured
network has an output for the extra class, which no label of its round names. With
threshold="mixture" there is no extra class, one training instead of two, and the divider is a
two-component mixture on the AUMs; the paper has no such variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Dynamics, Observation, OnlineSelector, Selection, TrainingData
from nlbench.scoring import gmm_posterior

_MOST_EPOCHS = 500


@dataclass(frozen=True)
class Aum(OnlineSelector):
    """Keep what leads its rivals by more than samples do whose label is wrong by design.

    Attributes:
        threshold: "fake class" (the paper's) or "mixture" (posterior of the higher of two
            Gaussians > 0.5).
        percentile: Of the AUMs of the samples with the extra class ("fake class").
        counted_share: Share of a round's epochs whose margins count, after which it ends.
    """

    version: ClassVar[int] = 1
    history_epochs: ClassVar[int] = 2 * _MOST_EPOCHS
    observes: ClassVar[tuple[Observation, ...]] = ("margin history",)
    rounds: ClassVar[int] = 3
    extra_classes: ClassVar[int] = 1

    threshold: Literal["fake class", "mixture"] = "fake class"
    percentile: Annotated[float, Field(gt=0, lt=100)] = 99.0
    counted_share: Annotated[float, Field(gt=0, le=1)] = 0.5

    def rounds_used(self) -> int:
        """Two trainings with an extra class, or one without; and the measured one."""
        return 3 if self.threshold == "fake class" else 2

    def first(self, data: TrainingData) -> Selection:
        """Everything, the first block with its extra class from the first step on."""
        everything = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return self._training(data, 1, everything.float())

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        """Train on everything until all samples are judged, then on those that lead."""
        measured, previous = self.rounds_used(), dynamics.previous
        if dynamics.round == measured and previous is not None:
            return previous
        aum = mean_where_drawn(dynamics.margin_history[-dynamics.epoch :])
        n_counted = min(max(1, round(self.counted_share * dynamics.n_epochs)), _MOST_EPOCHS)
        if dynamics.epoch < n_counted:
            return self._training(data, dynamics.round, aum.nan_to_num(0.0))
        if dynamics.round + 1 < measured:
            return self._training(data, dynamics.round + 1, aum.nan_to_num(0.0), restart=True)
        if self.threshold == "mixture":
            score = aum.nan_to_num(float(aum.nanmedian().nan_to_num(0.0)))
            return Selection(keep=gmm_posterior(score) > 0.5, score=score, restart=True)
        before = mean_where_drawn(dynamics.margin_history[: -dynamics.epoch][-n_counted:])
        score, thresholds = self._leads(data, [before, aum])
        keep = score >= 0
        diagnostics = {"aum_thresholds": thresholds, "n_above": int(keep.sum())}
        keep = keep if bool(keep.any()) else torch.ones_like(keep)
        return Selection(keep=keep, score=score, restart=True, diagnostics=diagnostics)

    def _training(
        self, data: TrainingData, number: int, score: Tensor, restart: bool = False
    ) -> Selection:
        """Return everything, with the extra class where the round's block has it."""
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        if self.threshold == "mixture":
            return Selection(keep=keep, score=score, restart=restart)
        labels = torch.where(block(data, number), data.n_classes, data.noisy_labels)
        return Selection(keep=keep, score=score, labels=labels, restart=restart)

    def _leads(self, data: TrainingData, aums: list[Tensor]) -> tuple[Tensor, list[float]]:
        """Return (N,) the larger lead over the thresholds of the trainings that judge a sample."""
        leads, thresholds = [], []
        for number, aum in enumerate(aums, 1):
            fake = block(data, number)
            drawn = aum[fake & ~aum.isnan()]
            rank = int((1 - self.percentile / 100) * len(drawn) + 1e-9)
            threshold = drawn.sort(descending=True).values[rank : rank + 1].sum()
            leads.append((aum - threshold).nan_to_num(0.0).masked_fill(fake, -torch.inf))
            thresholds.append(round(float(threshold), 4))
        return torch.stack(leads).amax(dim=0), thresholds


def block(data: TrainingData, number: int) -> Tensor:
    """Mark the N / (K + 1) samples of one round (1, 2) whose class is the extra one."""
    size = max(1, data.n_samples // (data.n_classes + 1))
    order = data.uniform("samples with the extra class").argsort()
    marked = torch.zeros_like(data.noisy_labels, dtype=torch.bool)
    marked[order[(number - 1) * size : number * size]] = True
    return marked


def mean_where_drawn(margins: Tensor) -> Tensor:
    """Return the (N,) mean over epochs of (E, N) margins, NaN where a sample never was drawn."""
    return margins.double().nanmean(dim=0).float()
