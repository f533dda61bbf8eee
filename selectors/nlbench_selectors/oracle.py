"""The bound: keeps exactly the samples whose label is clean, because it is told.

No method can know this. It is shown as a bound on every board and never ranked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nlbench import BoundSelector, Selection, TrainingData


@dataclass(frozen=True)
class Oracle(BoundSelector):
    """Keep the samples whose noisy label equals the clean one."""

    version: ClassVar[int] = 1

    conformance_exempt: ClassVar[dict[str, str]] = {
        "check_cannot_reach_clean_labels": "is told the clean labels by design: the bound",
    }

    def select_with_truth(self, data: TrainingData, clean_labels: Tensor) -> Selection:
        """Compare the labels with the truth."""
        keep = data.noisy_labels == clean_labels
        return Selection(keep=keep, score=keep.to(torch.float32))
