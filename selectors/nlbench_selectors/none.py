"""Trains on everything, labels as they are: what a method has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from nlbench import Selection, Selector, TrainingData


@dataclass(frozen=True)
class NoSelection(Selector):
    """Keep every sample; all scores equal."""

    version: ClassVar[int] = 1
    is_reference: ClassVar[bool] = True

    conformance_exempt: ClassVar[dict[str, str]] = {
        "check_planted_noise_is_found": "keeps everything by design: the lower reference",
        "check_ranks_all_samples": "prefers no sample to another by design",
        "check_keeps_clean_samples": "keeps everything by design: the lower reference",
    }

    def select(self, data: TrainingData) -> Selection:
        """Keep all N samples."""
        keep = torch.ones(data.n_samples, dtype=torch.bool, device=data.device)
        return Selection(keep=keep, score=torch.zeros_like(keep, dtype=torch.float32))
