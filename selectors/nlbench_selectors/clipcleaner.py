"""CLIPCleaner: keeps what zero-shot CLIP and a probe on CLIP's features both call clean.

Paper: Feng, Tzimiropoulos, Patras, "CLIPCleaner: Cleaning Noisy Labels with CLIP", ACM MM 2024,
arXiv 2408.10012. Four criteria, all must pass: {zero-shot, logistic probe} x {per-class mixture on
log p_y with posterior >= 0.5; consistency p_y / max p >= 0.8}.

Deviations from the released code (`faithful=True` keeps its behaviour instead):
1. zero-shot scores are the mean over a class's prompts, not the sum, which favours classes with
   more prompts;
2. a class left empty is refilled with its highest zero-shot samples, not its lowest;
3. a probability of 0 has a finite logarithm, where the released code gets NaN;
4. a class that no label names is passed over, where the released code crashes;
5. the probe is solved to its optimum, where the released code stops scikit-learn's solver at a
   gradient of 1e-4, which leaves probabilities up to 3e-3 off on its golden data.
Each criterion can be switched off, for the paper's ablation; with both of an estimate off it is not
computed, and the other one refills and ranks alone.
The paper gives a decision and no ranking; `score` is ours: the mean of the two log p_y, each
min-max normalised within the noisy class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nlbench import ConfigError, Knowledge, PromptSet, RunError, Selection, Selector, TrainingData
from nlbench.scoring import (
    consistency,
    gmm_posterior_per_class,
    log_probability,
    min_max_normalise_per_class,
    probe_probabilities,
    zero_shot_probabilities,
)
from nlbench.scoring.scores import of_label


@dataclass(frozen=True)
class ClipCleaner(Selector):
    """Keep the intersection of four criteria on CLIP's features.

    Attributes:
        temperature: Of the zero-shot softmax; "model" is the encoder's own,
            1 / logit scale; a bias as SigLIP's cancels in the softmax over classes.
        theta_gmm: Least posterior of the better mixture component, per class.
        theta_cons: Least p_y / max p.
        probe_c: Inverse L2 strength of the logistic probe.
        prompts: "auto" (descriptions where the data set has them), "descriptions", "templates".
        encoder: "image-text" for the protocol's, or a full name.
        faithful: Keep the five deviations of the released code.
        zero_shot_loss: Use the mixture on the zero-shot log p_y.
        zero_shot_consistency: Use the consistency of the zero-shot probabilities.
        probe_loss: Use the mixture on the probe's log p_y.
        probe_consistency: Use the consistency of the probe's probabilities.
    """

    version: ClassVar[int] = 1

    temperature: Annotated[float, Field(gt=0)] | Literal["model"] = 0.07
    theta_gmm: Annotated[float, Field(ge=0, le=1)] = 0.5
    theta_cons: Annotated[float, Field(ge=0, le=1)] = 0.8
    probe_c: Annotated[float, Field(gt=0)] = 1.0
    prompts: PromptSet = "auto"
    encoder: str = "image-text"
    faithful: bool = False
    zero_shot_loss: bool = True
    zero_shot_consistency: bool = True
    probe_loss: bool = True
    probe_consistency: bool = True

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("class names", "image-text pre-training")

    def __post_init__(self) -> None:
        if not any([*self._switches(self._zero_shot), *self._switches(self._probe)]):
            raise ConfigError(
                "clipcleaner must use at least one criterion, got all four switched off. Leave one "
                "of zero_shot_loss, zero_shot_consistency, probe_loss, probe_consistency on."
            )

    def knowledge_used(self) -> tuple[Knowledge, ...]:
        """The probe alone needs no class names."""
        every = type(self).knowledge
        return every if any(self._switches(self._zero_shot)) else every[1:]

    def select(self, data: TrainingData) -> Selection:
        """Apply the criteria, then refill classes left empty."""
        if self.faithful:
            _refuse_absent_classes(data)
        # One table of probabilities after the other: with many classes they are what takes memory.
        judged = [
            self._judge(estimate(data), data.noisy_labels, *self._switches(estimate))
            for estimate in (self._zero_shot, self._probe)
            if any(self._switches(estimate))
        ]
        keeps, scores, of_labels = zip(*judged, strict=True)
        keep = torch.stack(keeps).all(dim=0)
        refilled = self._refill(keep, of_labels[0], data)
        return Selection(
            keep=keep,
            score=torch.stack(scores).mean(dim=0),
            diagnostics={"refilled_classes": refilled},
        )

    def _switches(self, estimate: Callable[[TrainingData], Tensor]) -> tuple[bool, bool]:
        """Return whether an estimate's loss and consistency are used."""
        if estimate == self._zero_shot:
            return self.zero_shot_loss, self.zero_shot_consistency
        return self.probe_loss, self.probe_consistency

    def probabilities(self, data: TrainingData) -> tuple[Tensor, Tensor]:
        """Return zero-shot and in-sample probe probabilities, (N, K) each."""
        return self._zero_shot(data), self._probe(data)

    def _zero_shot(self, data: TrainingData) -> Tensor:
        return zero_shot_probabilities(
            data.embeddings(self.encoder),
            data.text_embeddings(self.prompts, self.encoder),
            self._temperature(data),
            "sum" if self.faithful else "mean",
        )

    def _temperature(self, data: TrainingData) -> float:
        if self.temperature == "model":
            return 1 / data.logit_scale(self.encoder)[0]
        return self.temperature

    def _probe(self, data: TrainingData) -> Tensor:
        embeddings = data.embeddings(self.encoder)
        if self.faithful:
            return _released_probe(embeddings, data.noisy_labels, self.probe_c)
        return probe_probabilities(embeddings, data.noisy_labels, data.n_classes, c=self.probe_c)

    def _judge(
        self, probabilities: Tensor, labels: Tensor, by_loss: bool, by_consistency: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the criteria keep, the score and the probability of the label, (N,) each."""
        score = self._class_score(probabilities, labels)
        keep = torch.ones_like(labels, dtype=torch.bool)
        if by_loss:
            keep &= gmm_posterior_per_class(score, labels) >= self.theta_gmm
        if by_consistency:
            keep &= consistency(probabilities, labels) >= self.theta_cons
        return keep, score, of_label(probabilities, labels)

    def _class_score(self, probabilities: Tensor, labels: Tensor) -> Tensor:
        if not self.faithful:
            return min_max_normalise_per_class(log_probability(probabilities, labels), labels)
        score = min_max_normalise_per_class(of_label(probabilities, labels).log(), labels)
        if bool(score.isnan().any()):
            raise RunError(
                "a class probability is exactly 0 and the released CLIPCleaner code gets NaN "
                "from its logarithm. Use faithful=False, which handles it."
            )
        return score

    def _refill(self, keep: Tensor, likelihood: Tensor, data: TrainingData) -> list[int]:
        """Fill classes left empty, in place; return their ids."""
        present = torch.bincount(data.noisy_labels, minlength=data.n_classes)
        kept = torch.bincount(data.noisy_labels[keep], minlength=data.n_classes)
        empty = ((kept == 0) & (present > 0)).nonzero().flatten().tolist()
        smallest = int(kept[kept > 0].min()) if bool((kept > 0).any()) else 0
        n_refilled = max(data.n_samples // data.n_classes**2, smallest, 1)
        for label in empty:
            members = (data.noisy_labels == label).nonzero().flatten()
            order = torch.argsort(likelihood[members], descending=not self.faithful, stable=True)
            keep[members[order[:n_refilled]]] = True
        return empty


def _released_probe(embeddings: Tensor, noisy_labels: Tensor, c: float) -> Tensor:
    from sklearn.linear_model import LogisticRegression

    x, y = embeddings.float().cpu().numpy(), noisy_labels.cpu().numpy()
    probe = LogisticRegression(C=c, class_weight="balanced", max_iter=1000).fit(x, y)
    return torch.from_numpy(probe.predict_proba(x)).to(embeddings.device, torch.float32)


def _refuse_absent_classes(data: TrainingData) -> None:
    counts = torch.bincount(data.noisy_labels, minlength=data.n_classes)
    absent = (counts == 0).nonzero().flatten().tolist()
    if absent:
        raise RunError(
            f"no label names the classes {absent[:5]} and the released CLIPCleaner code crashes "
            "on absent classes. Use faithful=False, which passes over them."
        )
