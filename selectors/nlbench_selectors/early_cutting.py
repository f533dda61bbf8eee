"""Early Cutting: trust what is learned early, but not what looks confident and is wrong later on.

Paper: Yuan, Feng, Han, Liu, "Enhancing Sample Selection Against Label Noise by Cutting Mislabeled
Easy Examples", NeurIPS 2025, arXiv 2502.08227. A sample's learning time is the epoch of the first
three evaluations in a row, after a warm-up of 6 epochs, that predict its noisy label. A round ends
when a set share of its samples is learned, those are the next round's samples, and a new network is
trained on them. In the first round, of the earliest learned |S| / 1.5 the 3 000 of highest loss are
looked at again, and those are cut that are in the top 20 % of confidence and in the lowest 20 % of
the input gradient's norm. Three such rounds, then the measured training (the released code).

The share is 0.85 at a noise rate of 0.4 and 0.925 at 0.2 for CIFAR-10; in between and beyond, here,
the line through both, 1 - 0.375 r, which is 1 without noise. (Three rounds keep its cube: 0.61 and
0.79, about the clean share.) So the method is given the noise rate, unless `learned_share` is set.
The 3 000 are of CIFAR's 50 000 training images: here 6 % of N.

Deviations: one network in place of the released code's two with moving averages and mutual
distillation; candidates are judged by the network at the end of the round, not at its best epoch on
noisy validation samples; evaluation without augmentation; its code begins to count an epoch later
and decides an epoch after that; where the share is not reached, a
round ends with its last epoch, and where nothing is learned its samples stay; equal learning
times are ordered by a draw. The score is the round up to which a sample was kept, within it the
learning time, and for those dropped the probability of their label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import (
    Dynamics,
    Knowledge,
    NoiseRate,
    Observation,
    OnlineSelector,
    Selection,
    TrainingData,
    knowledge_of_rate,
)

_MOST_EPOCHS = 1000
_IN_A_ROW = 3


@dataclass(frozen=True)
class EarlyCutting(OnlineSelector):
    """Keep what is learned early in each of three rounds, without the confident mistakes.

    Attributes:
        learned_share: Share of a round's samples whose learning ends it; None takes the line
            through the published values at the noise rate.
        warmup_epochs: Evaluations that do not count, at most half of a round's.
        early_rate: One in so many of the learned samples is early.
        candidate_share: Early samples of highest loss that are looked at again, as a share of N.
        cut_share: Top share of confidence and lowest share of gradient norm of the candidates.
        noise_rate: For `learned_share`; None takes the nominal rate of the noise, "estimated" the
            one that HOC estimates from image features.
    """

    version: ClassVar[int] = 1
    deviation: ClassVar[str] = "one network, no distillation"
    knowledge: ClassVar[tuple[Knowledge, ...]] = ("noise rate",)
    history_epochs: ClassVar[int] = _MOST_EPOCHS
    observes: ClassVar[tuple[Observation, ...]] = ("prediction history", "input gradients")
    rounds: ClassVar[int] = 4

    learned_share: Annotated[float, Field(gt=0, le=1)] | None = None
    warmup_epochs: Annotated[int, Field(ge=0)] = 6
    early_rate: Annotated[float, Field(ge=1)] = 1.5
    candidate_share: Annotated[float, Field(ge=0, le=1)] = 0.06
    cut_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    noise_rate: NoiseRate = None

    def knowledge_used(self) -> tuple[Knowledge, ...]:
        """The share comes from the noise rate unless it is set."""
        return knowledge_of_rate(self.noise_rate) if self.learned_share is None else ()

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        """Train on the round's samples until enough of them are learned, then on those."""
        now = dynamics.previous or self.first(data)
        if dynamics.round == self.rounds:
            return now
        probability = torch.exp(-dynamics.losses)
        seen = dynamics.prediction_history[-dynamics.epoch :]
        warmup = min(self.warmup_epochs, dynamics.n_epochs // 2)
        times = learning_times(seen, data.noisy_labels, warmup)
        learned = now.keep & (times > 0)
        last = dynamics.epoch == min(dynamics.n_epochs, _MOST_EPOCHS)
        if int(learned.sum()) < max(1.0, self._share(data) * int(now.keep.sum())) and not last:
            score = probability if dynamics.round == 1 else now.score
            return Selection(now.keep, score, diagnostics=now.diagnostics)
        keep = learned if bool(learned.any()) else now.keep
        cut = torch.zeros_like(keep)
        if dynamics.round == 1:
            cut = self._confident_mistakes(data, dynamics, times.where(learned, 0))
            cut = cut if bool((keep & ~cut).any()) else torch.zeros_like(cut)
        earliness = (dynamics.n_epochs - times + probability) / dynamics.n_epochs
        ranked = dynamics.round - 1 + torch.where(keep & ~cut, 1 + earliness, probability)
        score = torch.where(now.keep, ranked, now.score)
        ended = {"ended_after": dynamics.epoch, "n_learned": int(learned.sum())}
        if dynamics.round == 1:
            ended["n_cut"] = int(cut.sum())
        diagnostics = {**now.diagnostics, f"round_{dynamics.round}": ended}
        return Selection(keep & ~cut, score, diagnostics=diagnostics, restart=True)

    def _share(self, data: TrainingData) -> float:
        if self.learned_share is not None:
            return self.learned_share
        return 1 - (0.925 - 0.85) / (0.4 - 0.2) * data.rate(self.noise_rate)

    def _confident_mistakes(self, data: TrainingData, dynamics: Dynamics, times: Tensor) -> Tensor:
        """Mark early samples of high loss that are confident and insensitive to the input."""
        draw, n_learned = data.uniform("equal values"), int((times > 0).sum())
        order = lowest(times.where(times > 0, _MOST_EPOCHS + 1), draw)
        early = order[: int(n_learned / self.early_rate)]
        high = lowest(-dynamics.losses[early], draw[early])
        candidates = early[high[: round(self.candidate_share * data.n_samples)]]
        n_cut = int(self.cut_share * len(candidates))
        confidence = dynamics.logits[candidates].softmax(dim=1).amax(dim=1)
        gradients = dynamics.input_gradients[candidates]
        both = torch.zeros((2, data.n_samples), dtype=torch.bool, device=data.device)
        for row, values in zip(both, (-confidence, gradients), strict=True):
            row[candidates[lowest(values, draw[candidates])[:n_cut]]] = True
        return both.all(dim=0)


def learning_times(predictions: Tensor, noisy_labels: Tensor, warmup_epochs: int) -> Tensor:
    """Return (N,) int64 the epoch, from 1, that completes three right predictions in a row.

    Args:
        predictions: (E, N) of a round's epochs.
        noisy_labels: (N,).
        warmup_epochs: First epochs that do not count.

    Returns:
        0 where there are none.
    """
    right = predictions[warmup_epochs:] == noisy_labels
    if len(right) < _IN_A_ROW:
        return torch.zeros_like(noisy_labels)
    in_a_row = right.unfold(0, _IN_A_ROW, 1).all(dim=2)
    first = in_a_row.int().argmax(dim=0) + warmup_epochs + _IN_A_ROW
    return first.where(in_a_row.any(dim=0), 0)


def lowest(values: Tensor, draw: Tensor) -> Tensor:
    """Return the positions of the values from the lowest on, equal ones ordered by a draw."""
    drawn = draw.argsort()
    return drawn[values[drawn].argsort(stable=True)]
