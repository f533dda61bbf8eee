"""WANN's reliability: how small a neighbourhood is enough to confirm the label.

Paper: Di Salvo, Doerrich, Rieger, Ledig, "An Embedding is Worth a Thousand Noisy Labels", TMLR
2025, arXiv 2408.14358, section 3. k_i is the smallest of 11, 13, ..., 49 neighbours whose most
frequent label is the sample's own; 51 where none is; the reliability is 1 / k_i.

Only the reliability: the paper's weighted adaptive classifier and its feature reduction are not
part. Defaults are the released code's (k from 11 up to, but not at, 51 in steps of 2).
Deviations:
1. the paper weights and does not drop; `keep` is k_i < 51, the labels that some neighbourhood
   confirms;
2. reliabilities take 21 values, so the share of the label among the most neighbours that were
   looked at ranks those of equal reliability;
3. a tie of votes does not confirm the label, where the released code leaves ties to a library;
4. cosine distance, since embeddings here are of unit norm; of small data sets all other samples
   are the largest neighbourhood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import ConfigError, Knowledge, Selection, Selector, TrainingData
from nlbench.scoring import nearest_neighbours

_ROWS = 4096


@dataclass(frozen=True)
class Wann(Selector):
    """Keep labels that are the most frequent one in a neighbourhood of some size.

    Attributes:
        k_min: Smallest neighbourhood.
        k_max: Sizes grow by 2 and stay below it; the k_i of a label that no size confirms.
        encoder: "image" for the protocol's, or a full name.
    """

    version: ClassVar[int] = 1

    k_min: Annotated[int, Field(ge=1)] = 11
    k_max: Annotated[int, Field(ge=2)] = 51
    encoder: str = "image"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("image pre-training",)
    deviation: ClassVar[str] = "the reliability alone, cut where no neighbourhood confirms"

    def __post_init__(self) -> None:
        if self.k_min >= self.k_max:
            raise ConfigError(
                f"`k_min` must be below `k_max`, got {self.k_min} and {self.k_max}. The paper's "
                "are 11 and 51."
            )

    def select(self, data: TrainingData) -> Selection:
        """Score by the reliability, ties by the label's share of the largest neighbourhood."""
        sizes = [k for k in range(self.k_min, self.k_max, 2) if k < data.n_samples]
        sizes = sizes or [data.n_samples - 1]
        places, _ = nearest_neighbours(data.embeddings(self.encoder), sizes[-1])
        votes = data.noisy_labels[places]
        k_of = self._smallest_confirming(votes, data.noisy_labels, data.n_classes, sizes)
        share = (votes == data.noisy_labels[:, None]).double().mean(dim=1)
        # Half the smallest step between two reliabilities: ties are broken, no order is changed.
        step = 0.5 * (1 / max(self.k_max - 2, 1) - 1 / self.k_max)
        return Selection(keep=k_of < self.k_max, score=1 / k_of.double() + step * share)

    def _smallest_confirming(
        self, votes: Tensor, noisy_labels: Tensor, n_classes: int, sizes: list[int]
    ) -> Tensor:
        """Return (N,) int64 the first size whose votes go to the label more than to any other."""
        out = torch.full_like(noisy_labels, self.k_max)
        # Counts are of rows at once, since N x K may not fit into memory.
        for rows in torch.arange(len(votes), device=votes.device).split(_ROWS):
            own = noisy_labels[rows, None]
            counts = torch.zeros(len(rows), n_classes, dtype=torch.int32, device=votes.device)
            counted = 0
            for k in sizes:
                more = votes[rows, counted:k]
                counts.scatter_add_(1, more, torch.ones_like(more, dtype=counts.dtype))
                counted = k
                rest = counts.scatter(1, own, -1).amax(dim=1)
                confirmed = counts.gather(1, own).squeeze(1) > rest
                out[rows] = torch.where((out[rows] == self.k_max) & confirmed, k, out[rows])
        return out
