"""LEMoN: an image far from its label's text, and near images with other labels, is suspicious.

Paper: Zhang, Balagopalan, et al., "LEMoN: Label Error Detection using Multimodal Neighbors", ICML
2025, arXiv 2407.18941, equations 1-3, with the hyper-parameters for when no clean labels are known
(released notebooks/hparam_drop.ipynb): k 30, cosine, beta = gamma = 5, tau1 = 0.1, tau2 = 5.

Suspicion s = d1 + beta s_n + gamma s_m. d1 is the cosine distance of the image to its label's text.
s_n is the mean over the k nearest images of [labels differ] x exp(tau1 cos(x, x_j)) x
exp(-tau2 d1_j); s_m is the mean over the nearest texts of (1 - cos(x, x_j)) x exp(tau1) x
exp(-tau2 d1_j). The text distance is discrete, as in the paper's classification: 0 for the same
class, else 1. The sign at tau1 is the released code's: in cosine mode its neighbour distance is
minus the similarity, which is at -1 for an equal text.

Deviations:
1. with a discrete distance the nearest texts are all those of the same class, equally near; the
   released code takes the first k of them in the data's order, here it is the mean over all of
   them, which k drawn at random give on average;
2. a class's text is the normalised mean over its prompts, the paper's is a single prompt;
3. the threshold is a two-component mixture on the score, where the paper tunes it on labelled data.
`score` is minus s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nlbench import Knowledge, PromptSet, Selection, Selector, TrainingData
from nlbench.scoring import gmm_posterior, nearest_neighbours


@dataclass(frozen=True)
class Lemon(Selector):
    """Keep what is near to its label's text, and whose neighbours in both spaces agree.

    Attributes:
        k: Image neighbours, at most N - 1.
        beta: Weight of the neighbours by image.
        gamma: Weight of the neighbours by text.
        tau1: How much nearer neighbours count more.
        tau2: How much neighbours count less whose own image and text are far apart.
        theta: Least posterior of the less suspicious component.
        prompts: "templates" (class name in plain sentences), "descriptions" or "auto".
        encoder: "image-text" for the protocol's, or a full name.
    """

    version: ClassVar[int] = 1

    k: Annotated[int, Field(ge=1)] = 30
    beta: Annotated[float, Field(ge=0)] = 5.0
    gamma: Annotated[float, Field(ge=0)] = 5.0
    tau1: Annotated[float, Field(ge=0)] = 0.1
    tau2: Annotated[float, Field(ge=0)] = 5.0
    theta: Annotated[float, Field(ge=0, le=1)] = 0.5
    prompts: PromptSet = "templates"
    encoder: str = "image-text"

    knowledge: ClassVar[tuple[Knowledge, ...]] = ("class names", "image-text pre-training")

    def select(self, data: TrainingData) -> Selection:
        """Score by minus the suspicion; keep the better component of a mixture."""
        images, labels = data.embeddings(self.encoder), data.noisy_labels
        texts = torch.stack(
            [group.mean(dim=0) for group in data.text_embeddings(self.prompts, self.encoder)]
        )
        texts = torch.nn.functional.normalize(texts, dim=1)
        to_text = 1 - (images * texts[labels]).sum(dim=1)
        trust = torch.exp(-self.tau2 * to_text)
        suspicion = to_text + self.beta * self._by_images(images, labels, trust)
        suspicion += self.gamma * self._by_texts(images, labels, trust, data.n_classes)
        score = -suspicion
        return Selection(keep=gmm_posterior(score) >= self.theta, score=score)

    def _by_images(self, images: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Return s_n, (N,)."""
        places, similarities = nearest_neighbours(images, self.k)
        weights = torch.exp(self.tau1 * similarities) * trust[places]
        differs = labels[places] != labels[:, None]
        return (weights * differs).sum(dim=1) / max(1, places.shape[1])

    def _by_texts(self, images: Tensor, labels: Tensor, trust: Tensor, n_classes: int) -> Tensor:
        """Return s_m, (N,), over all others of the same class; 0 for a class's only sample.

        The sum of t_j (1 - <x, x_j>) is that of t_j minus <x, sum of t_j x_j>: one pass. The own
        term is 0, up to rounding, as cos(x, x) is 1.
        """
        total = torch.zeros(n_classes, dtype=torch.float64, device=images.device)
        total.index_add_(0, labels, trust.double())
        sums = torch.zeros(n_classes, images.shape[1], dtype=torch.float64, device=images.device)
        sums.index_add_(0, labels, (trust[:, None] * images).double())
        distance = total[labels] - (images * sums[labels].float()).sum(dim=1)
        n_others = (torch.bincount(labels, minlength=n_classes) - 1)[labels].clamp_min(1)
        return (math.exp(self.tau1) * distance.clamp_min(0) / n_others).to(images.dtype)
