"""Control: keeps as many samples as asked, chosen blindly.

Tells how much of a method's gain or loss comes from training on fewer samples alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from nlbench import Selection, Selector, TrainingData
from nlbench.scoring import keep_highest


@dataclass(frozen=True)
class Random(Selector):
    """Keep a random share of the samples.

    Attributes:
        keep_fraction: Share of the samples to keep, in (0, 1].
    """

    version: ClassVar[int] = 1

    keep_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5

    conformance_exempt: ClassVar[dict[str, str]] = {
        "check_planted_noise_is_found": "blind by design: the control",
        "check_keeps_clean_samples": "blind by design: the control",
    }

    def select(self, data: TrainingData) -> Selection:
        """Keep the samples with the highest random numbers."""
        score = data.uniform("random")
        return Selection(keep=keep_highest(score, self.keep_fraction), score=score)
