"""CLIP zero-shot: keeps a sample when CLIP, without any training, agrees with its label.

Paper: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021, arXiv 2103.00020. The rule "keep where the prediction is the label" is
`consistency_cut` = 1; smaller cuts also keep labels that come close to the most probable class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nlbench import Knowledge, PromptSet, Selection, Selector, TrainingData
from nlbench.scoring import consistency, log_probability, zero_shot_probabilities


@dataclass(frozen=True)
class ClipZeroShot(Selector):
    """Keep labels that CLIP's zero-shot prediction confirms.

    Attributes:
        temperature: Softmax temperature; CLIP's own is 0.01; "model" is the encoder's own,
            1 / logit scale; a bias as SigLIP's cancels in the softmax over classes.
        consistency_cut: Keep where p_y / max p is at least this, in (0, 1].
        prompts: "templates" (class name in plain sentences), "descriptions" or "auto".
        encoder: "image-text" for the protocol's, or a full name.
    """

    version: ClassVar[int] = 1

    temperature: Annotated[float, Field(gt=0)] | Literal["model"] = 0.01
    consistency_cut: Annotated[float, Field(gt=0, le=1)] = 1.0
    prompts: PromptSet = "templates"
    encoder: str = "image-text"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("class names", "image-text pre-training")

    def select(self, data: TrainingData) -> Selection:
        """Score by log p_y, keep by consistency."""
        probabilities = zero_shot_probabilities(
            data.embeddings(self.encoder),
            data.text_embeddings(self.prompts, self.encoder),
            self._temperature(data),
        )
        return Selection(
            keep=consistency(probabilities, data.noisy_labels) >= self.consistency_cut,
            score=log_probability(probabilities, data.noisy_labels),
            diagnostics={"zero_shot_agreement": _agreement(probabilities, data)},
        )

    def _temperature(self, data: TrainingData) -> float:
        if self.temperature == "model":
            return 1 / data.logit_scale(self.encoder)[0]
        return self.temperature


def _agreement(probabilities: object, data: TrainingData) -> float:
    predicted = probabilities.argmax(dim=1)  # type: ignore[attr-defined]
    return float((predicted == data.noisy_labels).float().mean())
