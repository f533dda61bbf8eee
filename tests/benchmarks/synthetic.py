"""Embeddings as CLIP gives them, drawn: for timings, where no encoder is to be run.

All share a direction (CLIP's cone), each class has one more, and the rest is noise whose variance
falls from dimension to dimension. With the default spread a probe is right on about 95 % of the
clean labels and zero-shot on about 60 to 90 %, so that no criterion is trivial.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nlbench import TrainingData, corrupt

N_PROMPTS = 7
_BLOCK = 65536


@dataclass(frozen=True)
class Given:
    """Embeddings in memory, as the cache hands them out: not checked and not copied again."""

    images: Tensor
    texts: tuple[Tensor, ...]

    def embeddings(self, encoder: str) -> Tensor:
        return self.images

    def text_embeddings(self, prompts: object, encoder: str) -> list[Tensor]:
        return list(self.texts)

    def logit_scale(self, encoder: str) -> tuple[float, float]:
        return 100.0, 0.0


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


def synthetic(
    n: int, n_classes: int, d: int = 512, noise_rate: float = 0.4, device: str = "cpu"
) -> tuple[TrainingData, Tensor]:
    """Return training data with symmetric noise, and the clean labels (N,)."""
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, d + 1).float().pow(-0.5)
    spectrum /= spectrum.norm()
    shared = unit(torch.randn(1, d, generator=generator))
    centres = unit(torch.randn(n_classes, d, generator=generator))
    separation = 0.06 * n_classes**0.2  # more classes would be harder to tell apart
    clean = torch.randint(n_classes, (n,), generator=generator)
    images = torch.empty(n, d)
    for part in torch.arange(n).split(_BLOCK):
        spread = 0.6 + 0.8 * torch.rand(len(part), 1, generator=generator)
        noise = spread * spectrum * torch.randn(len(part), d, generator=generator)
        images[part[0] : part[-1] + 1] = unit(shared + separation * centres[clean[part]] + noise)
    texts = tuple(
        unit(0.6 * shared + c + 0.015 * torch.randn(N_PROMPTS, d, generator=generator))
        for c in centres
    )
    noisy = torch.from_numpy(corrupt(clean, n_classes, "symmetric", noise_rate).labels).to(device)
    data = TrainingData(
        noisy_labels=noisy,
        n_classes=n_classes,
        class_names=tuple(f"class {k}" for k in range(n_classes)),
        sample_ids=torch.arange(n, device=device),
        device=noisy.device,
        seed=0,
        _features=Given(images.to(device), tuple(t.to(device) for t in texts)),
    )
    return data, clean.to(device)
