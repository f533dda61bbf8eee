"""Wrong event: a sample that the network often gets wrong while it learns has a wrong label.

Paper: Zhang et al., "Handling Label Noise via Instance-Level Difficulty Modeling and Dynamic
Optimization" (IDO), NeurIPS 2025, arXiv 2505.00812: a wrong event is a prediction in training mode
that is not the noisy label. Their number over the first epochs is min-max normalised, and a
two-component beta mixture (by moments, from Beta(1, 2) and Beta(2, 1), 20 iterations) tells few
events from many.

Only the first stage's selection. IDO goes on counting and weighs three losses by the posterior,
from a pretrained network; here the decision is made once. Deviations: the cut at a posterior of
0.5, since the paper has weights and no cut; the share of a sample's draws, not their number, since
a step of fixed size leaves some samples out of an epoch. Five epochs are the released
configurations' (CIFAR-10 and CIFAR-100, pretrained networks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from nlbench import Dynamics, Observation, OnlineSelector, Selection, TrainingData
from nlbench.scoring import bmm_posterior

_MOST_EPOCHS = 200


@dataclass(frozen=True)
class WrongEvent(OnlineSelector):
    """Keep what the network rarely got wrong in its first epochs.

    Attributes:
        counted_epochs: Epochs on everything that are counted, at most half of all epochs.
        theta: Least posterior of the component with few events, excluded.
    """

    version: ClassVar[int] = 1
    deviation: ClassVar[str] = "selection only, decided once"
    history_epochs: ClassVar[int] = _MOST_EPOCHS
    observes: ClassVar[tuple[Observation, ...]] = ("training predictions",)

    counted_epochs: Annotated[int, Field(ge=1, le=_MOST_EPOCHS)] = 5
    theta: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        """Score by minus the share of wrong events; keep everything until they are counted."""
        n_counted = max(1, min(self.counted_epochs, dynamics.n_epochs // 2))
        if dynamics.epoch > n_counted and dynamics.previous is not None:
            return dynamics.previous
        predictions = dynamics.training_predictions[-n_counted:]
        drawn = predictions >= 0
        wrong = drawn & (predictions != data.noisy_labels)
        score = -(wrong.sum(dim=0) / drawn.sum(dim=0).clamp_min(1))
        if dynamics.epoch < n_counted:
            return Selection(keep=torch.ones_like(drawn[0]), score=score)
        diagnostics = {"counted_epochs": n_counted}
        return Selection(bmm_posterior(score) > self.theta, score, diagnostics=diagnostics)
