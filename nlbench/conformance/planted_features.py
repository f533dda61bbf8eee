"""The feature source of planted data: that of plain arrays, with a model and views beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nlbench.conformance.planted_prompts import LOGIT_BIAS, LOGIT_SCALE, PlantedPrompts
from nlbench.seeds import derive_seed
from nlbench.selector import PromptModel, PromptSet, TrainingData, ViewKind

# How far a view is from its image at most, by each draw; unit-norm embeddings of two samples of a
# class are about 1 apart.
_VIEW_REACH = 0.2


def with_planted_model(data: TrainingData) -> TrainingData:
    """Return data from arrays that answers `prompt_model`, `view_embeddings` and `logit_scale`.

    Args:
        data: With embeddings, text embeddings, class names and images.
    """
    return replace(data, _features=PlantedFeatures(data))


@dataclass(frozen=True, eq=False)
class PlantedFeatures:
    """Features of planted data, whatever encoder is asked for."""

    data: TrainingData = field(repr=False)

    def embeddings(self, encoder: str) -> Tensor:
        """Return (N, d)."""
        return self.data.embeddings(encoder)

    def text_embeddings(
        self, prompts: PromptSet | Sequence[Sequence[str]], encoder: str
    ) -> list[Tensor]:
        """Return K tensors (P_k, d)."""
        return self.data.text_embeddings(prompts, encoder)

    def logit_scale(self, encoder: str) -> tuple[float, float]:
        """Return the scale and the bias of the planted model."""
        return LOGIT_SCALE, LOGIT_BIAS

    def prompt_model(self, encoder: str) -> PromptModel:
        """Return a new planted model, with copies of all that it is made of."""
        texts = self.data.text_embeddings("auto", encoder)
        names = (name.lower() for name in self.data.class_names or ())
        return PlantedPrompts(
            names={
                name: normalize(rows.mean(dim=0), dim=0)
                for name, rows in zip(names, texts, strict=True)
            },
            images=self.data.images(torch.arange(self.data.n_samples)).clone(),
            embeddings=self.data.embeddings(encoder).clone(),
        )

    def view_embeddings(self, encoder: str, kind: ViewKind, draws: Tensor) -> Tensor:
        """Return (V, N, d): each embedding moved by its own draws, by two for "shift".

        Where all images are alike, so are their views: plans with one embedding mean that nothing
        made from features tells two samples apart.
        """
        rows = self.data.embeddings(encoder)
        if bool((rows == rows[0]).all()):
            return rows.expand(len(draws), -1, -1).clone()
        n_moves = 2 if kind == "shift" else 3
        basis = np.random.default_rng(derive_seed("planted", "views", 0))
        moves = torch.from_numpy(basis.standard_normal((n_moves, rows.shape[1]))).to(rows.device)
        shifts = (2 * draws[:, :, :n_moves] - 1).to(rows.device).double()
        moved = rows.double() + _VIEW_REACH * (shifts @ normalize(moves, dim=1))
        return normalize(moved, dim=2).float()
